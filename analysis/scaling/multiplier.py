"""Data and compute multipliers: the amount that the baseline needs to match an arm, over the arm's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pdstudy.analysis.errors import AnalysisError
from pdstudy.analysis.fit.bootstrap import Bootstrap, interval
from pdstudy.analysis.fit.fit_result import Fit
from pdstudy.analysis.laws.base import Array, Law
from pdstudy.analysis.shown import Shown


@dataclass(frozen=True)
class Multiplier(Shown):
    """`factor` times the arm's own amount brings the baseline to the arm's loss; infinite where its floor is above."""

    factor: float
    low: float
    high: float


def multiplier(
    baseline: Fit, column: str, amount: float, loss: float, *,
    at: Mapping[str, float] | None = None, bootstrap: Bootstrap | None = None, error: float | None = None,
    level: float = 0.95,
) -> Multiplier:  # fmt: skip
    """How many times `amount` of `column` (tokens D, compute C) the baseline's law needs to reach `loss`.

    Args:
        at: the law's other columns (N, say). bootstrap: of the same fit, for the interval (upper end infinite where
            that share of resampled laws never gets there). error: standard error of ln of the arm's loss, for the
            interval; None: that of one run as noisy as the baseline's. A mean of k seeds has that over sqrt(k).

    Raises:
        AnalysisError: the column isn't the law's, or the loss isn't positive.
    """
    law = baseline.law
    if column not in law.columns or set(law.columns) - {column} != set(at or {}):
        raise AnalysisError(f"{law.name} is a law in {', '.join(law.columns)}: vary one and give all others by `at`")
    if not (loss > 0 and amount > 0):
        raise AnalysisError(f"loss {loss} and amount {amount} must be positive")
    factor = float(_needed(law, baseline.theta[None, :], column, loss, at or {})[0] / amount)
    if bootstrap is None:
        return Multiplier(factor, float("nan"), float("nan"))
    found = _needed(law, bootstrap.theta, column, loss * _draw_noise(bootstrap, error), at or {}) / amount
    # Order statistics by hand: interpolating between a number and infinity would give NaN.
    finite = np.where(np.isinf(found), 1e300, found)
    low, high = interval(finite, level)
    return Multiplier(factor, low, float("inf") if high > 1e200 else high)


def _draw_noise(bootstrap: Bootstrap, error: float | None) -> Array:
    """Factors of the arm's loss, one per resampled law."""
    rng = np.random.default_rng([bootstrap.seed, len(bootstrap.theta), 2])
    if error is not None:
        return np.exp(error * rng.standard_normal(len(bootstrap.theta)))
    n, k = len(bootstrap.fit.points), bootstrap.fit.problem.size
    return np.exp(rng.choice(bootstrap.fit.residuals, len(bootstrap.theta)) * np.sqrt(n / (n - k)))


def _needed(law: Law, theta: Array, column: str, loss: float | Array, at: Mapping[str, float]) -> Array:
    """The amount at which each law's loss falls to this one, by bisection in its logarithm; infinite above 1e30."""
    low, high = np.zeros(len(theta)), np.full(len(theta), np.log(1e30))

    def value(ln: Array) -> Array:
        x = {column: np.exp(ln[:, None]), **{c: np.full((len(theta), 1), v) for c, v in at.items()}}
        return law.log_loss(theta, x)[0][:, 0]

    never = value(high) > np.log(loss)
    for _ in range(60):
        middle = 0.5 * (low + high)
        above = value(middle) > np.log(loss)
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return np.where(never, np.inf, np.exp(high))
