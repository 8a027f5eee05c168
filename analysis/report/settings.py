"""The settings of a study's runs: what all share, what differs between arms, and by which axis."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pdstudy.analysis.data.runs import teacher_outcomes
from pdstudy.analysis.data.study_record import Record, axis_column
from pdstudy.analysis.tables.table import Table
from pdstudy.core.format import si

MOST_VALUES = 8
"""Most values of a setting that are listed; of more numbers the ends are."""

NAMES = {
    "non_embedding": "student, non-embedding parameters",
    "config.objective.is": "objective",
    "config.objective.loss.is": "distillation loss",
    "config.objective.alpha": "alpha (share of distillation)",
    "config.objective.mix.is": "alpha over training",
    "config.objective.truncation.p": "p (mass kept)",
    "config.objective.truncation.k": "k (logits kept)",
    "config.objective.temperature.is": "temperature",
    "config.objective.temperature.tau": "tau",
    "config.optimiser.is": "optimiser",
    "config.optimiser.lr": "learning rate, peak",
    "config.schedule.is": "schedule",
    "config.schedule.warmup_tokens": "warm-up, tokens",
    "config.optimiser.weight_decay": "weight decay",
    "config.optimiser.betas": "betas",
    "config.optimiser.clip": "gradient clipped at",
    "config.tokens_per_step": "batch, tokens",
    "config.view.context": "context, tokens",
    "tokens": "training tokens",
    "config.precision": "precision",
}
"""Columns of `load_runs` that a reader asks for first, in their order, and their names."""

_WORDS = {"Temperature": "the same for all tokens"}
"""Of classes whose name says less than it might."""

_COUNTS = {"non_embedding", "tokens", "config.schedule.warmup_tokens"}

_APART = ("config.seed", "config.is", "config.tokens", "config.steps", "config.data.start")
"""Settings that follow from others, or differ by nature."""


def settings_table(workspace: Path, record: Record, runs: pd.DataFrame) -> Table | None:
    """A row per setting; None where no run has been configured yet. `runs` is the table of `load_runs`."""
    if "config.is" not in runs or runs["config.is"].isna().all():
        return None
    rows = [("teacher", each, "") for each in _teachers(workspace, record)]
    known = [c for c in NAMES if c in runs]
    others = [c for c in map(str, runs) if c.startswith("config.") and c not in NAMES and not c.startswith(_APART)]
    rows += [(NAMES[c], *said) for c in known if (said := _describe(record, runs, c))]
    rows += [
        (c.removeprefix("config."), *said)
        for c in others
        if runs[c].dropna().astype(str).nunique() > 1 and (said := _describe(record, runs, c))
    ]
    rows += [("seeds", ", ".join(map(str, sorted(set(runs["seed"])))), "")]
    rows += [("text", ", ".join(c["name"] for c in record["corpora"]), "")] if record["corpora"] else []
    rows += [("evaluated on", ", ".join(evaluated), "")] if (evaluated := _evaluated(record)) else []
    caption = "Settings of the runs. Where a setting has several values, the axis that they go by is named."
    return Table(("setting", "value", "differs by"), tuple(rows), caption)


def _describe(record: Record, runs: pd.DataFrame, column: str) -> tuple[str, str] | None:
    """The values of a setting and the axis that they go by; None where no run has it."""
    part = runs.dropna(subset=[column])
    if not len(part):
        return None
    values = list(dict.fromkeys(part[column]))
    return _list_values(values, column), "" if len(values) == 1 else _find_axes(record, part, column)


def _list_values(values: Sequence[Any], column: str) -> str:
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)
    values = sorted(values) if numbers else values
    shown = [si(v) if column in _COUNTS else f"{v:,.10g}" if numbers else _WORDS.get(v, str(v)) for v in values]
    if len(shown) <= MOST_VALUES:
        return ", ".join(shown)
    if numbers:
        return f"{shown[0]} to {shown[-1]}, {len(shown)} values"
    return f"{', '.join(shown[:MOST_VALUES])}, {len(shown) - MOST_VALUES} more"


def _find_axes(record: Record, runs: pd.DataFrame, column: str) -> str:
    """The axis whose level tells the value, else all axes together, else the seed."""
    axes = [axis for axis in record["axes"] if axis_column(axis) in runs]
    for group in ([[axis] for axis in axes] + [axes]) if axes else []:
        if (runs.groupby([axis_column(a) for a in group], sort=False)[column].nunique() <= 1).all():
            return " and ".join(group)
    return "seed"


def _teachers(workspace: Path, record: Record) -> list[str]:
    """Each teacher with its size and its own losses."""
    names = {t["run"]: t["name"] for t in record["teachers"]}
    names |= {each["key"]: each["name"] for each in record.get("models", ())}
    found = []
    for key, each in teacher_outcomes(workspace, record).items():
        if not names.get(key, "teacher").startswith("student"):
            scores = {split: each[f"{split}_loss"] for split in ("validation", "test")}
            losses = [f"{split} loss {score:.3f}" for split, score in scores.items() if score is not None]
            found.append(", ".join([names.get(key, key).removeprefix("teacher, "), *losses]))
    return found


def _evaluated(record: Record) -> list[str]:
    """Splits of text that runs are evaluated on, with their tokens."""
    found = []
    for each in record["evaluations"]:
        tokens = each["heldout"].get("data", {}).get("tokens")
        if each["heldout"]["is"] == "Heldout" and tokens:
            found.append(f"{each['split'].replace('_', ' ')} ({si(tokens)} tokens)")
    return found
