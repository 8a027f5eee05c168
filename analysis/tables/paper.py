"""Peng et al. 2024's published numbers, and a study's own beside them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from pdstudy.analysis.compare.comparison import Comparison
from pdstudy.analysis.data.study_record import axis_column
from pdstudy.analysis.errors import AnalysisError
from pdstudy.analysis.tables.builders import fixed
from pdstudy.analysis.tables.table import Table, TableCell
from pdstudy.analysis.tables.verdicts import describe_effect

TASKS = {
    "hellaswag": "HellaSwag",
    "winogrande": "WinoGrande",
    "piqa": "PIQA",
    "mmlu": "MMLU",
    "kbqa": "KBQA",
    "c3": "C3",
    "ceval-valid": "C-Eval",
    "gsm8k": "GSM8k",
}
"""Our names of the paper's tasks, in its order."""


FILE = Path(__file__).parent / "published" / "peng2024.json"


def published() -> dict[str, Any]:
    """`source`, `note`, `columns`, `tables` by number (title, rows of a name, eight accuracies and their average)."""
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def paper_table(number: str) -> Table:
    """One of the paper's tables as printed. Raises `AnalysisError` for a number that is not kept."""
    known, table = published(), _read_table(number)
    printed: dict[str, float] = table.get("printed", {})
    rows = [(row[0], *(TableCell(f"{v:.1f}", v) for v in row[1:])) for row in table["rows"]]
    caption = f"The paper's table {number}, {table['title']}: accuracy in per cent, one run each"
    if not printed:
        return Table(tuple(known["columns"]), tuple(rows), f"{caption}. {known['source']}.", f"tab:paper-{number}")
    over = table["rows"][0][0]
    shown = {name: TableCell(fixed(gain, 1, signed=True), gain) for name, gain in printed.items()}
    wide = tuple((*row, shown.get(row[0], "")) for row in rows)
    caption += f"; Δ over {over}, as printed. {known['source']}."
    return Table((*known["columns"], "Δ (%)"), wide, caption, f"tab:paper-{number}")


def _read_table(number: str) -> dict[str, Any]:
    tables: dict[str, dict[str, Any]] = published()["tables"]
    if number not in tables:
        raise AnalysisError(f"no table {number!r} of the paper is kept; there are {', '.join(tables)}")
    return tables[number]


def paper_gain(number: str, row: str, base: str) -> float:
    """Per cent by which the paper's average of one row of a table is above another's: as printed where it is, else from
    the eight accuracies, whose mean is rounded less than the printed one. NaN where the table lacks either."""
    table = _read_table(number)
    scores = {name: values for name, *values, _ in table["rows"]}
    if base == table["rows"][0][0] and row in table.get("printed", {}):
        return float(table["printed"][row])
    return _change(float(np.mean(scores[row])), float(np.mean(scores[base]))) if {row, base} <= set(scores) else np.nan


def loss_beside_paper(
    runs: pd.DataFrame,
    axes: Sequence[str],
    baseline: Mapping[str, str],
    number: str,
    pairs: Mapping[str, str],
    comparisons: Mapping[str, Comparison] = MappingProxyType({}),
) -> Table:
    """A row per arm: ours on test text, the paper's average accuracy.

    `runs` is what `load_runs` gives, finished ones, `axes` those that tell its arms apart, `baseline` the labels of the
    arm that gains are over; `pairs` as in `pdstudy.config.outputs.PaperTable`; `comparisons`, by heading, those with
    the baseline whose verdicts stand beside. Our gain is the fall of the loss in per cent of the baseline's, the
    paper's the rise of the average accuracy: a finding may hold by one and not by the other.
    Raises `AnalysisError` where no baseline has a finished run or a row, or no other arm a row."""
    over = "/".join(baseline.values())
    theirs = {row[0]: float(row[-1]) for row in _read_table(number)["rows"]}
    scored = ["test_loss", "test_recalibrated", "test_accuracy"]
    means = runs.groupby([axis_column(axis) for axis in axes], sort=False)[scored].mean()
    labels = [index if isinstance(index, tuple) else (index,) for index in means.index]
    ours = {" ".join(map(str, each)): row for each, row in zip(labels, means.to_dict("records"), strict=True)}
    labelled = {" ".join(map(str, each)): dict(zip(axes, map(str, each), strict=True)) for each in labels}
    based = {
        " ".join(map(str, each)): " ".join(baseline.get(axis, str(label)) for axis, label in zip(axes, each))
        for each in labels
    }
    if not set(based.values()) & set(ours):
        raise AnalysisError(f"the baseline {over!r} has no finished run yet")
    if not any(pairs.get(name, name) in theirs for name in based.values()):
        raise AnalysisError(f"no row of the paper's table {number} is named for the baseline {over!r}; "
                            f"its rows: {', '.join(theirs)}")  # fmt: skip
    if not any(pairs.get(name, name) in theirs for name in ours if name != based[name]):
        raise AnalysisError(f"no arm has a row in the paper's table {number}; its rows: {', '.join(theirs)}")
    rows: list[tuple[TableCell | str, ...]] = []
    for name, row in ours.items():
        base, named = ours.get(based[name]), pairs.get(name, name)
        gains = [-_change(row[m], base[m]) if base else np.nan for m in scored[:2]]
        paper, gain = theirs.get(named, np.nan), paper_gain(number, named, pairs.get(based[name], based[name]))
        rows.append(
            (
                name,
                TableCell(fixed(row["test_loss"], 3), row["test_loss"]),
                TableCell(fixed(gains[0], 2, signed=True), gains[0]),
                TableCell(fixed(gains[1], 2, signed=True), gains[1]),
                TableCell(fixed(100 * row["test_accuracy"], 2), 100 * row["test_accuracy"]),
                TableCell(fixed(paper, 1), paper),
                TableCell(fixed(gain, 1, signed=True), gain),
                *(_say_verdict(comparison, labelled[name], baseline) for comparison in comparisons.values()),
            )
        )
    heads = (" ".join(axes), "our loss", "gain %", "gain recalibrated %", "our top-1 %", "paper's average",
             "paper's gain %", *comparisons)  # fmt: skip
    caption = (
        f"Ours (means over seeds, test text) beside the paper's table {number} (8 tasks, one run). Gains over {over}: "
        "ours of loss, the paper's of accuracy, whose findings may differ where an objective bends the student's "
        "confidence."
    )
    if comparisons:
        caption += (
            " On the right ours by metric: verdict, difference and outer interval, as in the table of verdicts; top-1 "
            "and top-5 are nearest to what the paper scores."
        )
    return Table(heads, tuple(rows), caption, "tab:beside")


def _say_verdict(comparison: Comparison, labels: Mapping[str, str], baseline: Mapping[str, str]) -> str:
    """Verdict of a comparison on the arm with these labels by axis; a dash for the baseline and for means over axes."""
    if not set(comparison.within) | set(baseline) <= {*map(axis_column, labels), *labels}:
        return describe_effect(None)
    by_column = {axis_column(axis): label for axis, label in labels.items()}
    stratum, arm = [by_column[c] for c in comparison.within], "/".join(labels[axis] for axis in baseline)
    found = (e for e in comparison.effects if e.arm == arm and [*map(str, e.stratum)] == stratum)
    return describe_effect(next(found, None))


def _change(value: float, base: float) -> float:
    return 100 * (value / base - 1)


def tasks_beside_paper(
    answers: pd.DataFrame, axes: Sequence[str], baseline: Mapping[str, str], number: str, pairs: Mapping[str, str]
) -> Table:
    """Two rows per arm that both have: our accuracies and the paper's, on the tasks that ours were evaluated on.

    `answers` is what `load_answers` gives, `axes` its columns of labels, `baseline` the labels of the arm that gains
    are over; `pairs` as in `pdstudy.config.outputs.PaperTable`. Raises `AnalysisError` where nothing is to be shown
    yet."""
    shared = [task for task in TASKS if task in set(answers["task"])]
    if not shared:
        raise AnalysisError("none of the paper's tasks has been evaluated yet")
    known = published()
    places = [known["columns"].index(TASKS[task]) for task in shared]
    theirs = {row[0]: [row[place] for place in places] for row in known["tables"][number]["rows"]}
    means = answers.groupby([*axes, "step", "final", "task"], sort=False)["value"].mean().mul(100).unstack("task")
    found: dict[str, tuple[str, dict[str, list[float]]]] = {}
    for (*labels, step, final), ours in zip(means.index.to_list(), means[shared].to_numpy(), strict=True):
        based = [baseline.get(axis, label) for axis, label in zip(axes, labels, strict=True)]
        for suffix in ([f"{step:,}"], []) if final else ([f"{step:,}"],):
            name, base = (" ".join([*part, *suffix]) for part in (labels, based))
            row = pairs.get(name, name)
            if row in theirs:
                found[name] = (base, {"ours": _with_mean(ours), "paper": _with_mean(theirs[row])})
    if not found:
        raise AnalysisError(f"no arm that has been evaluated has a row in the paper's table {number}")
    # The paper compares some rows with one that is no arm here.
    over = {base: {"paper": _with_mean(theirs[pairs.get(base, base)])[-1]} for base, _ in found.values()
            if pairs.get(base, base) in theirs}  # fmt: skip
    for name, (_, both) in found.items():
        over.setdefault(name, {})["ours"] = both["ours"][-1]
    rows: list[tuple[TableCell | str, ...]] = []
    for name, (base, both) in found.items():
        for whose, values in both.items():
            gain = _change(values[-1], over[base][whose]) if whose in over.get(base, {}) and base != name else np.nan
            cells = [*(TableCell(fixed(v, 1), v) for v in values), TableCell(fixed(gain, 1, signed=True), gain)]
            rows.append((name if whose == "ours" else "", whose, *cells))
    caption = (
        f"Accuracy in per cent of ours (means over seeds) and in the paper's table {number} (one run each); the "
        "average is over these tasks. Sizes and text differ, and items where only the first were evaluated: findings "
        "can be compared, values cannot. The section on downstream tasks says how much of Δ is noise."
    )
    heads = ("arm", "", *(TASKS[task] for task in shared), "average", "Δ (%)")
    return Table(heads, tuple(rows), caption, f"tab:tasks-beside-{number}")


def _with_mean(values: Iterable[float]) -> list[float]:
    found = [float(value) for value in values]
    return [*found, float(np.mean(found))]
