"""Signs that rows of a table are checkpoints of one run, whose shared errors a bootstrap over rows would ignore."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from pdstudy.analysis.laws.base import Array, Index

SMALL_STEP = 1.3
"""Ratio of successive amounts below which a series looks like checkpoints, not like runs of a design (no unit)."""


def suspect_checkpoints(table: pd.DataFrame, x: Mapping[str, Array], loss: Array) -> tuple[str, ...]:
    """A warning where rows look like checkpoints of runs, else nothing. `x` and `loss` are the columns of the fit."""
    if len(x) < 2:
        return ()
    for moving in x:
        still = np.column_stack([v for c, v in x.items() if c != moving])
        sizes = pd.factorize(pd.Series(map(tuple, still)))[0]
        for name in table.columns:
            labels = _read_labels(table[name])
            if labels is not None and _is_finer_than(labels, sizes, x[moving]):
                return (
                    f"rows that share {name!r} differ in {moving} alone, as checkpoints of one run do: their errors "
                    f"are shared, and intervals without cluster={name!r} (--cluster {name}) are far too narrow",
                )
        if _falls_in_small_steps(sizes, x[moving], loss):
            return (
                f"losses fall along {moving} in small steps, as checkpoints of one run do: if they are, name the "
                "column that tells runs apart (cluster=, --cluster), since intervals over rows are far too narrow",
            )
    return ()


def _read_labels(column: pd.Series) -> Index | None:
    labels, names = pd.factorize(column)
    return labels if 1 < len(names) <= len(column) / 3 else None


def _is_finer_than(labels: Index, sizes: Index, moving: Array) -> bool:
    """Whether each label has one size and amounts that all differ, and some size has several labels.

    A label that is one to one with the size may be its name in a design of separate runs.
    """
    frame = pd.DataFrame({"label": labels, "size": sizes, "moving": moving})
    grouped = frame.groupby("label")
    whole = (grouped["size"].nunique() == 1) & (grouped["moving"].nunique() == grouped.size()) & (grouped.size() > 2)
    return bool(whole.mean() > 0.8 and whole.sum() > frame["size"].nunique())


def _falls_in_small_steps(sizes: Index, moving: Array, loss: Array) -> bool:
    """Whether most rows belong to series of five or more of one size whose losses fall in steps of checkpoints."""
    rows = 0
    for size in np.unique(sizes):
        here = np.flatnonzero(sizes == size)
        here = here[np.argsort(moving[here], kind="stable")]
        amounts = moving[here]
        if len(here) < 5 or (np.diff(amounts) <= 0).any():
            continue
        steps = np.diff(amounts)
        small = np.median(amounts[1:] / amounts[:-1]) < SMALL_STEP or steps.max() < 1.05 * steps.min()
        if small and (np.diff(loss[here]) < 0).mean() >= 0.8:
            rows += len(here)
    return rows > len(loss) / 2
