"""Peng et al. 2024's published numbers, and a study's own beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.errors import AnalysisError
from analysis.load import axis_column
from analysis.table import Cell, Table
from analysis.tables import fixed

FILE = Path(__file__).parent / "published" / "peng2024.json"


def published() -> dict[str, Any]:
    """`source`, `note`, `columns`, `tables` by number (title, rows of a name, eight accuracies and their average)."""
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def paper_table(number: str) -> Table:
    """One of the paper's tables as printed. Raises `AnalysisError` for a number that is not kept."""
    known = published()
    if number not in known["tables"]:
        raise AnalysisError(f"no table {number!r} of the paper is kept; there are {', '.join(known['tables'])}")
    table = known["tables"][number]
    rows = tuple((row[0], *(Cell(f"{v:.1f}", v) for v in row[1:])) for row in table["rows"])
    caption = f"The paper's table {number}, {table['title']}: accuracy in per cent, one run each. {known['source']}."
    return Table(tuple(known["columns"]), rows, caption, f"tab:paper-{number}")


def beside(runs: pd.DataFrame, axis: str, baseline: str, number: str, pairs: tuple[tuple[str, str], ...]) -> Table:
    """A row per arm that both have: ours on test text, the paper's average accuracy.

    `runs` is what `load_runs` gives, finished ones, `pairs` (label on `axis`, row of the paper's table). Our gain is
    the fall of the loss in per cent of the baseline's, the paper's the rise of the average: signs agree when findings
    do, sizes cannot be compared. Raises `AnalysisError` where the baseline is not there.
    """
    column = axis_column(axis)
    means = runs.groupby(column, sort=False)[["test_loss", "test_recalibrated", "test_accuracy"]].mean()
    theirs = {row[0]: float(row[-1]) for row in published()["tables"][number]["rows"]}
    names = dict(pairs)
    if baseline not in means.index or baseline not in names:
        raise AnalysisError(f"the baseline {baseline!r} has no finished run yet")
    base, paper_base = means.loc[baseline], theirs[names[baseline]]
    rows: list[tuple[Cell | str, ...]] = []
    for label, row in means.iterrows():
        paper = theirs.get(names.get(str(label), ""), np.nan)
        gains = [100 * (1 - row[m] / base[m]) for m in ("test_loss", "test_recalibrated")]
        gain = 100 * (paper / paper_base - 1)
        rows.append(
            (
                str(label),
                Cell(fixed(row["test_loss"], 3), row["test_loss"]),
                Cell(fixed(gains[0], 2, signed=True), gains[0]),
                Cell(fixed(gains[1], 2, signed=True), gains[1]),
                Cell(fixed(100 * row["test_accuracy"], 2), 100 * row["test_accuracy"]),
                Cell(fixed(paper, 1), paper),
                Cell(fixed(gain, 1, signed=True), gain),
            )
        )
    heads = (axis, "our loss", "gain %", "gain recalibrated %", "our top-1 %", "paper's average", "paper's gain %")
    caption = (
        f"Ours (means over seeds, test text) beside the paper's table {number} (8 tasks, one run). Gains over "
        f"{baseline}: ours of loss, the paper's of accuracy, so that signs can be compared and sizes cannot."
    )
    return Table(heads, tuple(rows), caption, "tab:beside")
