"""Well-determined conclusions of a law of distilled students: the best teacher, and where training alone catches up.

Each draw of the law gives a value of its own; a draw without one counts as the end of the range that it passes, since
leaving it out would narrow the interval.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pdstudy.analysis.fit.bootstrap import interval
from pdstudy.analysis.fit.distilled_fit import DistilledFit
from pdstudy.analysis.laws.base import Array

REACH = 100.0
"""Factor beyond the students' tokens within which a crossover is looked for (no unit)."""


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval, NaN without resamples."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class BestTeacher:
    """The teacher's loss at which a student's is lowest, among those of the teachers that were tried.

    `interior` is whether it lies between them; else the lowest loss is at one end, and no best teacher is shown.
    `share` is the share of resamples in which it is interior (NaN without resamples).
    """

    teacher_loss: Estimate
    interior: bool
    share: float
    student_loss: float


def crossover(fitted: DistilledFit, n: float, teacher_loss: float) -> Estimate:
    """Tokens up to which a student of `n` parameters has a lower loss under this teacher than without one.

    0 where it is worse from the start, infinite where it stays better, within `REACH` of the students' tokens.
    """
    tokens = fitted.fit.points.x["D"]
    grid = np.linspace(np.log(tokens.min() / REACH), np.log(tokens.max() * REACH), 240)
    value = float(_cross(grid, _gap(fitted, n, teacher_loss, grid, drawn=False)[None])[0])
    if fitted.bootstrap is None:
        return Estimate(value, float("nan"), float("nan"))
    found = _cross(grid, _gap(fitted, n, teacher_loss, grid, drawn=True))
    low, high = np.sort(found)[[int(0.025 * (len(found) - 1)), int(np.ceil(0.975 * (len(found) - 1)))]]
    return Estimate(value, float(low), float(high))


def _gap(fitted: DistilledFit, n: float, teacher_loss: float, grid: Array, *, drawn: bool) -> Array:
    """ln L_S - ln L_M over ln tokens: (m,), or per resample (B, m)."""
    sizes, tokens = np.full(len(grid), float(n)), np.exp(grid)
    losses = fitted.losses(sizes, tokens, np.full(len(grid), teacher_loss), drawn=drawn)
    return np.log(losses) - np.log(fitted.matched_loss(sizes, tokens, fitted.supervised_theta if drawn else None))


def _cross(grid: Array, gap: Array) -> Array:
    """Tokens at the last change from below to above zero of each row, by a line between its neighbours."""
    up = (gap[:, :-1] < 0) & (gap[:, 1:] >= 0)
    last = gap.shape[1] - 2 - np.argmax(up[:, ::-1], axis=1)
    rows = np.arange(len(gap))
    before, after = gap[rows, last], gap[rows, last + 1]
    with np.errstate(all="ignore"):
        at = np.exp(grid[last] + (grid[1] - grid[0]) * before / (before - after))
    return np.where(up.any(axis=1), at, np.where(gap[:, -1] < 0, np.inf, 0.0))


def best_teacher(fitted: DistilledFit, n: float, d: float) -> BestTeacher:
    """The best loss of a teacher for a student of `n` parameters and `d` tokens, within those of the runs."""
    tried = fitted.fit.points.x["LT"]
    grid = np.linspace(tried.min(), tried.max(), 201)
    sizes, tokens = np.full(len(grid), float(n)), np.full(len(grid), float(d))
    losses = fitted.losses(sizes, tokens, grid)
    at = int(np.argmin(losses))
    interior = 0 < at < len(grid) - 1
    if fitted.bootstrap is None:
        nan = float("nan")
        return BestTeacher(Estimate(float(grid[at]), nan, nan), interior, nan, float(losses[at]))
    lowest = np.argmin(fitted.losses(sizes, tokens, grid, drawn=True), axis=1)
    low, high = interval(grid[lowest], 0.95)
    share = float(((lowest > 0) & (lowest < len(grid) - 1)).mean())
    return BestTeacher(Estimate(float(grid[at]), low, high), interior, share, float(losses[at]))
