"""Answers to downstream tasks, from a workspace's files to tables.

A record names, for each arm and seed, the folders below `downstream/` that hold its model's answers, or will:
`results.json` (per task) and `items.jsonl` (per item). `suite` is the place of a `Downstream` in the study; two suites
may share a task.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pdstudy.analysis.data.study_record import Record, axis_column
from pdstudy.analysis.errors import DataError
from pdstudy.core.files import read_json, read_jsonl
from pdstudy.core.run_files import whole_answers


@dataclass(frozen=True)
class Items:
    """One model's answers to one task: arrays of one length, items in their order.

    `names` (part and number of the item), `correct` 0 or 1 in the metric shown, `bits` (NaN where the gold answer is
    not scored by likelihood) and `bytes` of the gold answer.
    """

    names: tuple[tuple[str, int], ...]
    correct: np.ndarray
    bits: np.ndarray
    bytes: np.ndarray
    choices: np.ndarray

    @property
    def chance(self) -> float:
        """The accuracy of guessing; 0 for open answers."""
        return float(np.mean(np.where(self.choices > 1, 1 / self.choices, 0.0)))

    def check_same(self, other: Items, what: str) -> None:
        """Raise `DataError` where the two hold different items."""
        if self.names != other.names or not np.array_equal(self.bytes, other.bytes, equal_nan=True):
            raise DataError(
                f"{what}: the two models were evaluated on different items; delete both below downstream/ and run again"
            )


def load_answers(workspace: Path, record: Record, suite: int | None = None) -> pd.DataFrame:
    """One row per evaluated task, model, arm and seed: `cell`, axis labels, `seed`, `run`, `suite`, `key`,
    `step`, `tokens` (training tokens of the model), `final`, `task`, `metric`, `items`, `value`, `bits_per_byte`, `cut`
    (share of prompts longer than the model's context). All suites, or the one named.
    """
    axes = [axis_column(axis) for axis in record["axes"]]
    rows = []
    for cell in record["cells"]:
        labels = {axis_column(axis): label for axis, label in cell["labels"].items()}
        for each in cell.get("downstream", ()):
            if suite not in (None, each["suite"]):
                continue
            found = whole_answers(workspace / "downstream" / each["key"]) or {"tasks": {}}
            for task, part in found["tasks"].items():
                row = {"cell": cell["name"], **labels, "seed": cell["seed"], "run": cell["run"]}
                row |= {name: each[name] for name in ("suite", "key", "step", "tokens", "final")}
                row |= {"task": task, **{name: part[name] for name in ("metric", "items", "value")}}
                rows.append(row | {"bits_per_byte": part.get("bits_per_byte", np.nan), "cut": part.get("cut", 0.0)})
    heads = ("cell", *axes, "seed", "run", "suite", "key", "step", "tokens", "final", "task", "metric", "items",
             "value", "bits_per_byte", "cut")  # fmt: skip
    return pd.DataFrame(rows, columns=list(heads))


def load_items(workspace: Path, key: str) -> dict[str, Items]:
    """The items of each task of a folder of answers, in the metric shown. Raises `DataError` where there are none."""
    folder = workspace / "downstream" / key
    rows: dict[str, list[dict[str, Any]]] = {}
    path = folder / "items.jsonl"
    if not path.exists():
        raise DataError(f"{path} is missing, though results.json is beside it; delete that, and run again")
    for row in read_jsonl(path):
        rows.setdefault(row["task"], []).append(row)
    shown = {task: part["metric"] for task, part in read_json(folder / "results.json")["tasks"].items()}
    columns = {task: "correct_norm" if metric == "acc_norm" else "correct" for task, metric in shown.items()}
    return {task: _items(rows[task], column) for task, column in columns.items()}


def _items(rows: list[dict[str, Any]], column: str) -> Items:
    return Items(
        names=tuple((row["part"], row["doc"]) for row in rows),
        correct=np.array([row[column] for row in rows], dtype=np.int64),
        bits=np.array([row.get("bits", np.nan) for row in rows], dtype=np.float64),
        bytes=np.array([row.get("bytes", np.nan) for row in rows], dtype=np.float64),
        choices=np.array([len(row.get("loglikelihoods", [0.0])) for row in rows]),
    )


def answer_columns(answers: pd.DataFrame) -> pd.DataFrame:
    """Scores of the finished models, one row per arm and seed (index `cell`).

    Per suite a share `tasks.NAME` and `tasks.NAME.bits_per_byte` of each task, and their unweighted means over tasks,
    `tasks.mean` and `tasks.mean.bits_per_byte`; the second suite's begin with `tasks2.`, and so on.
    """
    if not len(answers):
        return pd.DataFrame(index=pd.Index([], name="cell"))
    final = answers[answers["final"]]
    columns: dict[str, pd.Series] = {}
    for suite in sorted(set(final["suite"])):
        part = final[final["suite"] == suite]
        prefix = "tasks" if suite == 0 else f"tasks{suite + 1}"
        for value, suffix in (("value", ""), ("bits_per_byte", ".bits_per_byte")):
            wide = part.pivot_table(index="cell", columns="task", values=value, sort=False, dropna=False)
            for task in dict.fromkeys(part["task"]):
                if wide[task].notna().any():
                    columns[f"{prefix}.{task}{suffix}"] = wide[task]
            scored = wide.dropna(axis=1, how="all")
            if scored.shape[1]:
                columns[f"{prefix}.mean{suffix}"] = scored.mean(axis=1, skipna=False)
    return pd.DataFrame(columns)


def task_columns(runs: pd.DataFrame) -> list[str]:
    """Columns of a table of runs that come from `answer_columns`."""
    return [c for c in runs.columns if re.match(r"tasks\d*\.", str(c))]


def shown_answers(runs: pd.DataFrame, columns: Sequence[str]) -> dict[str, str]:
    """Some of `task_columns`, as text: means over the evaluated runs, accuracies in per cent."""
    found = {}
    for column in columns:
        factor, places = (1, 3) if column.endswith(".bits_per_byte") else (100, 1)
        values = factor * runs[column].dropna()
        found[column] = f"{values.mean():.{places}f}" if len(values) else "-"
    return found
