"""The methods of a study in words, from what its runs were configured to do, and the works that they rest on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from pdstudy.analysis.compare.comparison import Comparison
from pdstudy.analysis.data.study_record import Record
from pdstudy.analysis.errors import AnalysisError
from pdstudy.analysis.report.study_outputs import Outputs
from pdstudy.analysis.tables.table import latex

REFERENCES = Path(__file__).with_name("references.bib")
"""Works that methods may rest on, a BibTeX entry each."""

OPTIMISERS = {"AdamW": "loshchilov2019adamw"}
SCHEDULES = {"Cosine": ("cosine", "loshchilov2017sgdr"), "WSD": ("warmup-stable-decay", "hu2024minicpm")}
OPTIMISER_FIELDS = {"betas": r"$\beta$", "weight_decay": "weight decay", "clip": "gradients clipped at"}
LOSSES = {"NLL": "cross-entropy", "KLD": "Kullback-Leibler divergence", "MSE": "mean squared error"}


def methods(report: Outputs) -> tuple[str, list[str]]:
    """A paragraph of LaTeX, which needs siunitx, and the keys of the BibTeX entries that it cites."""
    runs, record = report.runs, report.record
    sentences = [*_say_training(runs, record), *_say_distillation(runs), *_say_statistics(report)]
    text = "\n".join(sentences)
    return text, [key for key in known_references() if f"{{{key}}}" in text]


def known_references() -> dict[str, str]:
    """BibTeX entries by key."""
    entries = REFERENCES.read_text(encoding="utf-8").strip().split("\n\n")
    return {entry.partition("{")[2].partition(",")[0]: entry for entry in entries}


def _say_training(runs: pd.DataFrame, record: Record) -> list[str]:
    sizes, tokens = _list(runs, "non_embedding"), _list(runs, "tokens")
    text = ", ".join(latex(c["name"]) for c in record["corpora"])
    of_text = f" of {text}" if text else ""
    found = [f"Students of {sizes} non-embedding parameters are trained on {tokens} tokens{of_text}."]
    if "config.optimiser.is" not in runs or runs["config.optimiser.is"].isna().all():
        return found
    batch, context = _list(runs, "config.tokens_per_step"), _list(runs, "config.view.context")
    optimisers = [latex(name) + _cite(OPTIMISERS.get(name, "")) for name in _levels(runs, "config.optimiser.is")]
    shown = _assign(runs, OPTIMISER_FIELDS)
    found.append(
        f"A step takes {batch} tokens in sequences of {context}; the optimiser is {' or '.join(optimisers)}"
        f"{f' ({shown})' if shown else ''} with a peak learning rate of {_list(runs, 'config.optimiser.lr')}."
    )
    shapes = [SCHEDULES.get(name, (latex(name), "")) for name in _levels(runs, "config.schedule.is")]
    named = " or ".join(name + _cite(key) for name, key in shapes)
    warm = _list(runs, "config.schedule.warmup_tokens")
    found.append(f"The learning rate follows a {named} schedule{f' after {warm} tokens of warm-up' if warm else ''}.")
    count, precision = runs["seed"].nunique(), " or ".join(map(latex, _levels(runs, "config.precision")))
    found.append(f"Every arm is trained with {count} seed{'s' if count > 1 else ''}, in {precision}.")
    return found


def _cite(key: str) -> str:
    return rf"~\cite{{{key}}}" if key else ""


def _say_distillation(runs: pd.DataFrame) -> list[str]:
    if "config.objective.is" not in runs or "KD" not in set(runs["config.objective.is"]):
        return []
    losses = [LOSSES.get(name, latex(name)) for name in _levels(runs, "config.objective.loss.is")]
    parts = [f"the distillation loss is {' or '.join(losses)}"]
    for column, name in (("alpha", r"its share $\alpha$"), ("truncation.p", "$p$"), ("truncation.k", "$k$"),
                         ("temperature.tau", r"the temperature $\tau$")):  # fmt: skip
        if values := _list(runs, f"config.objective.{column}"):
            parts.append(f"{name} is {values}")
    teacher = "Distillation~\\cite{hinton2015distilling} during pre-training follows~\\cite{peng2024pretraining}: "
    return [f"{teacher}{', '.join(parts)}."]


def _say_statistics(report: Outputs) -> list[str]:
    try:
        comparison: Comparison = report.comparisons.find("test", "loss")[0]
    except AnalysisError:
        return []
    baseline = latex("/".join(report.record["baseline"].values()))
    return [
        f"Arms are compared with {baseline} on held-out text, paired by seed; {comparison.level * 100:.0f}\\,\\% $t$ "
        f"intervals are {latex(comparison.parts())}, and verdicts are adjusted for {comparison.family} comparisons "
        "of a metric~\\cite{holm1979simple}."
    ]


def _levels(runs: pd.DataFrame, column: str) -> list[str]:
    return [str(v) for v in dict.fromkeys(runs[column].dropna())] if column in runs else []


def _list(runs: pd.DataFrame, column: str) -> str:
    """The numbers of a column, or its ends where they are many; empty where no run has it."""
    if column not in runs or runs[column].isna().all():
        return ""
    values = sorted({float(v) for v in runs[column].dropna()})
    shown = [rf"\num{{{v:.10g}}}" for v in values]
    if len(shown) > 4:
        return f"{shown[0]} to {shown[-1]}"
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} or {shown[-1]}"


def _assign(runs: pd.DataFrame, names: dict[str, str]) -> str:
    parts: list[Any] = []
    for field, name in names.items():
        levels = _levels(runs, f"config.optimiser.{field}")
        if levels:
            parts.append(f"{name} {' or '.join(latex(level.strip('[]')) for level in levels)}")
    return ", ".join(parts)
