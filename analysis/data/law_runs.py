"""Runs of a study as the rows of a law's table: parameters, tokens, FLOPs, loss, and the teacher's loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pdstudy.analysis.data.study_record import axis_column
from pdstudy.analysis.errors import AnalysisError
from pdstudy.core.run_state import TRAINED


def select_cells(runs: pd.DataFrame, where: Mapping[str, str | Sequence[str]]) -> pd.Series:
    """Which rows of `load_runs` have one of the labels on every axis that `where` names; all for an empty one."""
    found = pd.Series(True, index=runs.index)
    for axis, labels in where.items():
        found &= runs[axis_column(axis)].isin([labels] if isinstance(labels, str) else list(labels))
    return found


def law_runs(runs: pd.DataFrame, law: Mapping[str, Any], where: Mapping[str, str | Sequence[str]]) -> pd.DataFrame:
    """The runs selected by `where` as rows of a law's table, each run once; those that are not done have no loss.

    Columns: `cell`, `seed`, `run`, `state`, `N` (the count of the law's `size`), `D` (tokens), `C` (training FLOPs of
    the run's own network with its head), `loss` (the law's `metric` on its `split`), `teacher`, `LT` (the teacher's
    loss on that split; NaN without a teacher), `teacher_N`, `teacher_D`.
    """
    part = runs[select_cells(runs, where)].drop_duplicates("run")
    metric, split = law["metric"], law["split"]
    done = part["state"].isin(TRAINED)
    return pd.DataFrame(
        {
            "cell": part["cell"],
            "seed": part["seed"],
            "run": part["run"],
            "state": part["state"],
            "N": part[law["size"]].astype(float),
            "D": part["tokens"].astype(float),
            "C": part["flops_student"].astype(float),
            "loss": part[f"{split}_{metric}"].astype(float).where(done),
            "teacher": part["teacher"],
            "LT": part[f"teacher_{split}_loss"].astype(float) if metric == "loss" else np.nan,
            "teacher_N": part[f"teacher_{law['size']}"].astype(float),
            "teacher_D": part["teacher_tokens"].astype(float),
        }
    )


def check_told_apart(rows: pd.DataFrame, runs: pd.DataFrame, axes: Sequence[str], columns: Sequence[str]) -> None:
    """Raises `AnalysisError` where two runs of one seed agree in all `columns`: what they differ in would be mixed."""
    twice = rows[rows.duplicated([*columns, "seed"], keep=False)]
    if len(twice):
        labels = runs.loc[twice.index, [axis_column(axis) for axis in axes]]
        told = labels.groupby([twice[c] for c in (*columns, "seed")]).nunique().max()
        mixed = [axis for axis in axes if told[axis_column(axis)] > 1]
        raise AnalysisError(
            f"runs that differ in {' and '.join(mixed)} have equal {', '.join(columns)} and would be mixed; let where "
            "select one label of each"
        )
