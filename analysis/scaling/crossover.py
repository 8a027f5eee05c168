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
from pdstudy.analysis.laws.taught import TaughtLaw

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
    value = float(crossings(fitted.law, fitted.theta(), n, teacher_loss, tokens)[0])
    if fitted.bootstrap is None:
        return Estimate(value, float("nan"), float("nan"))
    found = crossings(fitted.law, fitted.theta(drawn=True), n, teacher_loss, tokens)
    low, high = np.sort(found)[[int(0.025 * (len(found) - 1)), int(np.ceil(0.975 * (len(found) - 1)))]]
    return Estimate(value, float(low), float(high))


def crossings(law: TaughtLaw, theta: Array, n: float, teacher_loss: float, tokens: Array) -> Array:
    """The crossover of each parameter vector (S, k), (S,), within `REACH` of the students' `tokens`: the last change
    from a lower loss under the teacher to a higher one, by a line between its neighbours on a grid."""
    grid = np.linspace(np.log(tokens.min() / REACH), np.log(tokens.max() * REACH), 240)
    x = {"N": np.full(len(grid), float(n)), "D": np.exp(grid), "LT": np.full(len(grid), teacher_loss)}
    gap = law.log_loss(theta, x)[0] - law.log_matched(theta, x)
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
    best = float(best_losses(fitted.law, fitted.theta(), n, d, tried)[0])
    interior = bool(tried.min() < best < tried.max())
    student = float(fitted.losses(np.array([n]), np.array([d]), np.array([best]))[0])
    if fitted.bootstrap is None:
        nan = float("nan")
        return BestTeacher(Estimate(best, nan, nan), interior, nan, student)
    lowest = best_losses(fitted.law, fitted.theta(drawn=True), n, d, tried)
    low, high = interval(lowest, 0.95)
    share = float(((lowest > tried.min()) & (lowest < tried.max())).mean())
    return BestTeacher(Estimate(best, low, high), interior, share, student)


def best_losses(law: TaughtLaw, theta: Array, n: float, d: float, tried: Array) -> Array:
    """The best teacher's loss for each parameter vector (S, k), (S,), within the losses `tried`: the lowest of a grid,
    between its neighbours by a parabola."""
    grid = np.linspace(tried.min(), tried.max(), 201)
    x = {"N": np.full(len(grid), float(n)), "D": np.full(len(grid), float(d)), "LT": grid}
    losses = law.log_loss(theta, x)[0]
    at = np.argmin(losses, axis=1)
    rows, middle = np.arange(len(losses)), np.clip(at, 1, len(grid) - 2)
    before, here, after = (losses[rows, middle + step] for step in (-1, 0, 1))
    with np.errstate(all="ignore"):
        moved = 0.5 * (before - after) / (before - 2 * here + after)
    return np.where(at == middle, grid[middle] + np.nan_to_num(moved) * (grid[1] - grid[0]), grid[at])
