"""Losses of several sizes at equal compute from runs that each end at their own: measured, or between two of a size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.interpolate import make_interp_spline

from pdstudy.analysis.errors import TooFewRuns
from pdstudy.analysis.laws.base import Array

NEAR = 1.1
"""Factor of a budget within which a run counts as one of it (no unit), as `isoflop` groups runs."""

FEWEST = 3
"""Sizes that a budget needs to be one of those found."""


def at_budgets(table: pd.DataFrame, budgets: Sequence[float] = ()) -> pd.DataFrame:
    """Loss of each size at each budget: columns `N`, `D`, `C` (the budget), `loss`, `measured`.

    A size whose runs surround a budget has there the value of a cubic through their ln loss over ln C (of fewer than
    four runs, a lower one); a run within `NEAR` of a budget stands for it. Nothing is taken beyond a size's runs.

    Args:
        table: runs with the columns N, D, C (training FLOPs) and loss; seeds of one place are averaged.
        budgets: FLOPs; without any those with runs of `FEWEST` sizes, else a grid of factor two from the largest down.

    Raises:
        TooFewRuns: no budget has `FEWEST` sizes.
    """
    runs = table.groupby(["N", "D"], as_index=False)[["C", "loss"]].mean()
    wanted = list(budgets) or _shared_budgets(runs)
    grid = wanted or list(runs["C"].max() / 2.0 ** np.arange(40))
    rows = []
    for n, part in runs.groupby("N"):
        part = part.sort_values("C")
        c, d, loss = (part[column].to_numpy(dtype=float) for column in ("C", "D", "loss"))
        for budget in grid:
            near = int(np.argmin(np.abs(np.log(c / budget))))
            if max(c[near] / budget, budget / c[near]) <= NEAR:
                rows.append({"N": n, "D": d[near], "C": budget, "loss": loss[near], "measured": True})
            elif c[0] < budget < c[-1]:
                between = float(np.interp(np.log(budget), np.log(c), np.log(d)))
                value = _interpolate(np.log(c), np.log(loss), np.log(budget))
                rows.append({"N": n, "D": np.exp(between), "C": budget, "loss": np.exp(value), "measured": False})
    found = pd.DataFrame(rows, columns=["N", "D", "C", "loss", "measured"])
    sizes = found.groupby("C")["N"].transform("nunique")
    found = found[sizes >= (1 if budgets else FEWEST)].sort_values(["C", "N"]).reset_index(drop=True)
    if not len(found):
        shown = ", ".join(f"{n:.3g}: {p['C'].min():.2g} to {p['C'].max():.2g}" for n, p in runs.groupby("N"))
        raise TooFewRuns(f"no budget has runs of {FEWEST} sizes on both of its sides; FLOPs by size: {shown}")
    return found


def _shared_budgets(runs: pd.DataFrame) -> list[float]:
    """Medians of groups of runs within `NEAR` of their first that hold `FEWEST` sizes; none where there is one."""
    ordered = runs.sort_values("C")
    groups: list[list[int]] = []
    start = 0.0
    for place, cost in ordered["C"].items():
        if not groups or cost > start * NEAR:
            groups.append([])
            start = float(cost)
        groups[-1].append(int(str(place)))
    found = [runs.loc[g, "C"].median() for g in groups if runs.loc[g, "N"].nunique() >= FEWEST]
    return found if len(found) > 1 else []


def _interpolate(x: Array, y: Array, at: float) -> float:
    return float(make_interp_spline(x, y, k=min(3, len(x) - 1))(at))
