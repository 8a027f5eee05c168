"""The power law through the optima of several budgets, with its band."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pdstudy.analysis.data.points import column, positive
from pdstudy.analysis.errors import DataError
from pdstudy.analysis.laws.base import Array
from pdstudy.analysis.shown import Shown


@dataclass(frozen=True)
class Frontier(Shown):
    """ln n = intercept + exponent ln C, by weighted least squares, with the draws of both under noise."""

    exponent: float
    intercept: float
    r2: float
    draws: Array

    def at(self, budget: Array | float) -> Array:
        """The quantity on the frontier."""
        return np.exp(self.intercept + self.exponent * np.log(budget))

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Percentile interval of the exponent; NaN without noise draws."""
        if not len(self.draws):
            return float("nan"), float("nan")
        low, high = np.quantile(self.draws[:, 0], [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)

    def band(self, budget: Array, level: float = 0.95) -> tuple[Array, Array]:
        """Percentile band of the quantity over budgets."""
        if not len(self.draws):
            return np.full(len(budget), np.nan), np.full(len(budget), np.nan)
        lines = self.draws[:, 1:] + self.draws[:, :1] * np.log(budget)
        low, high = np.quantile(np.exp(lines), [(1 - level) / 2, (1 + level) / 2], axis=0)
        return low, high


def exponents(
    table: pd.DataFrame, *, budget: str, optimal: str, spread: str | None = None, draws: int = 1000, seed: int = 0
) -> Frontier:
    """The frontier of a table of optima (columns: budget, optimal value, standard deviation of its logarithm).

    Without a spread all optima weigh the same, and their scatter round the line is their noise (t, n - 2 degrees of
    freedom); two or three optima then have no interval.

    Raises:
        DataError: a bad column, a spread that isn't positive, or one budget only.
    """
    budgets = positive(table, budget, "the budget")
    optima = np.log(positive(table, optimal, "the optimum"))
    if np.ptp(np.log(budgets)) == 0:
        raise DataError(f"column {budget!r} holds one budget; an exponent needs two or more")
    rng, count = np.random.default_rng(seed), len(optima)
    if spread is not None:
        values = column(table, spread, "the spread of ln of the optimum")
        if not (values > 0).all():
            raise DataError(f"column {spread!r} holds a standard deviation that isn't above zero; leave that row out")
        noise = values[:, None] * rng.standard_normal((count, draws))
        return line(budgets, optima, 1 / values**2, optima[:, None] + noise)
    even = np.ones(count)
    best = line(budgets, optima, even, np.empty((count, 0)))
    if count < 4:
        return best
    fitted = np.log(best.at(budgets))
    dof = count - 2
    sigma = np.sqrt(((optima - fitted) ** 2).sum() / dof) * np.sqrt(dof / rng.chisquare(dof, draws))
    return line(budgets, optima, even, optima[:, None] + sigma * rng.standard_normal((count, draws)))


def frontier(budgets: Array, optimal: Array, spread: Array) -> Frontier:
    """The power law through given optima, weighted by 1/spread^2 (standard deviation of ln of the optimum)."""
    none = np.empty((len(budgets), 0))
    return line(np.asarray(budgets, dtype=float), np.log(optimal), 1 / np.asarray(spread, dtype=float) ** 2, none)


def line(budgets: Array, ln_y: Array, weights: Array, samples: Array) -> Frontier:
    """Weighted least squares of ln of the optimum on ln C, and of each draw (budgets x draws)."""
    x = np.log(budgets)
    mean_x = np.average(x, weights=weights)

    def through(values: Array) -> tuple[Array, Array]:
        mean_y = np.average(values, axis=0, weights=weights)
        slope = ((x - mean_x) * weights) @ (values - mean_y) / (((x - mean_x) ** 2) @ weights)
        return slope, mean_y - slope * mean_x

    slope, intercept = through(ln_y[:, None])
    rest = ln_y - intercept[0] - slope[0] * x
    total = weights @ (ln_y - np.average(ln_y, weights=weights)) ** 2
    draws = np.stack(through(samples), axis=1) if samples.shape[1] else np.empty((0, 2))
    return Frontier(float(slope[0]), float(intercept[0]), float(1 - weights @ rest**2 / max(total, 1e-300)), draws)
