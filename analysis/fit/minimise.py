"""Batched quasi-Newton: many minimisations of one problem at once, in float64 numpy.

Each row is its own BFGS, preconditioned by the inverse of the Gauss-Newton Hessian (weights of iterated least squares)
and projected on the bounds. scipy's L-BFGS-B reports success on runs 91 % of which are far from the optimum; here a row
has converged only when its Newton decrement is negligible.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pdstudy.analysis.fit.objective import Objective, Sample
from pdstudy.analysis.laws.base import Array

DEAD = 1e-40
"""Curvature along a parameter, as a share of the largest, below which it has no effect on the objective (no unit)."""

TOLERANCE = 1e-13
"""Convergence: predicted relative decrease of the objective below which a row stops (no unit)."""


@dataclass(frozen=True)
class Solution:
    """Rows of a batch after minimisation; `decrement` is the predicted relative decrease that is left."""

    free: Array
    objective: Array
    decrement: Array


def minimise(problem: Objective, start: Array, sample: Sample, *, alike: bool = False, rounds: int = 8) -> Solution:
    """Minimise from every row of `start` (S, k_free).

    Every round starts BFGS anew with a fresh curvature: with a Huber threshold far below the residuals the objective
    is nearly piecewise linear, and the curvature gathered on the way goes stale. Rows stop when a round gains nothing.

    Args:
        alike: all rows are the same minimisation from other starts, so those that are 1 % above the best after four
            rounds needn't go on.
    """
    free = np.clip(start, problem.constraint.lower, problem.constraint.upper)
    objective = np.empty(len(free))
    decrement = np.empty(len(free))
    for part in problem.slices(len(free)):
        rows = free[part]
        own = sample.take(part)
        value = np.full(len(rows), 1e300)
        left = np.full(len(rows), np.inf)
        active = np.arange(len(rows))
        for turn in range(rounds):
            if turn:
                rows[active] = _damped(problem, rows[active], own.take(active))
            rows[active], new, left[active] = _bfgs(problem, rows[active], own.take(active))
            gained = np.isfinite(new) & (new < value[active] - 1e-10 * np.abs(new))
            value[active] = new
            active = active[gained & (left[active] > TOLERANCE)]
            if alike and turn >= 3:
                active = active[value[active] <= 1.01 * value.min()]
            if not len(active):
                break
        free[part], objective[part], decrement[part] = rows, value, left
    return Solution(free, objective, decrement)


def inverse(curvature: Array) -> Array:
    """Inverse of symmetric matrices (S, k, k) with tiny eigenvalues lifted, after scaling to a unit diagonal.

    A parameter without effect (`DEAD`) has zeros: it stays where it is and the others move as if it were held.
    """
    diagonal = np.einsum("skk->sk", curvature)
    dead = diagonal <= DEAD * diagonal.max(axis=1, keepdims=True)
    diagonal = np.where(dead, np.inf, np.sqrt(np.maximum(diagonal, 1e-300)))
    values, vectors = np.linalg.eigh(curvature / diagonal[:, :, None] / diagonal[:, None, :])
    values = np.maximum(values, np.maximum(1e-12 * values[:, -1:], 1e-300))
    scaled = vectors / diagonal[:, :, None]
    return np.einsum("sij,sj,skj->sik", scaled, 1.0 / values, scaled)


def _damped(problem: Objective, start: Array, sample: Sample, steps: int = 40) -> Array:
    """Gauss-Newton with Marquardt's damping: follows a curved ridge, on which BFGS with its old curvature crawls."""
    low, high = problem.constraint.lower, problem.constraint.upper
    x = start.copy()
    f, g = problem.evaluate(x, sample)
    h = problem.curvature(x, sample)
    damping = np.full(len(x), 1e-3)
    rows = np.flatnonzero(np.isfinite(f))
    for _ in range(steps):
        if not len(rows):
            break
        held = ((x[rows] <= low) & (g[rows] > 0)) | ((x[rows] >= high) & (g[rows] < 0))
        pull = np.where(held, 0.0, g[rows])
        curved = np.where(held[:, :, None] | held[:, None, :], 0.0, h[rows])
        diagonal = np.einsum("skk->sk", curved)
        diagonal += damping[rows, None] * diagonal + 1e-14 * diagonal.max(axis=1, keepdims=True) + held + 1e-300
        d = -np.linalg.solve(curved, pull[..., None])[..., 0]
        d /= np.maximum(1.0, np.abs(d).max(axis=1, keepdims=True) / 5.0)
        trial = np.clip(x[rows] + d, low, high)
        value, gradient = problem.evaluate(trial, sample.take(rows))
        better = value < f[rows]
        gain = np.where(better, (f[rows] - value) / np.maximum(np.abs(value), 1e-300), np.inf)
        done = rows[better]
        x[done], f[done], g[done] = trial[better], value[better], gradient[better]
        if len(done):
            h[done] = problem.curvature(x[done], sample.take(done))
        damping[rows] = np.where(better, np.maximum(damping[rows] / 5, 1e-12), damping[rows] * 4)
        rows = rows[(damping[rows] < 1e6) & ~(better & (gain < 1e-9))]
    return x


def _bfgs(problem: Objective, start: Array, sample: Sample, steps: int = 120) -> tuple[Array, Array, Array]:
    """One run of BFGS per row; returns points, objectives and relative Newton decrements."""
    low, high = problem.constraint.lower, problem.constraint.upper
    end = start.copy()
    end_value = np.empty(len(start))
    end_left = np.full(len(start), np.inf)
    ids = np.arange(len(start))
    x = start.copy()
    f, g = problem.evaluate(x, sample)
    end_value[:] = f
    h = inverse(problem.curvature(x, sample))
    for _ in range(steps):
        held = ((x <= low) & (g > 0)) | ((x >= high) & (g < 0))
        pull = np.where(held, 0.0, g)
        d = -np.einsum("sij,sj->si", h, pull)
        d[held] = 0.0
        slope = np.einsum("si,si->s", d, pull)
        uphill = slope > 0  # the projection can turn a direction; then go down the held-free gradient, scaled
        d[uphill] = -pull[uphill] * np.einsum("sii->si", h[uphill])
        slope[uphill] = np.einsum("si,si->s", d[uphill], pull[uphill])
        left = -0.5 * slope / np.maximum(f, 1e-300)
        end[ids], end_value[ids], end_left[ids] = x, f, left
        going = np.isfinite(f) & (left > TOLERANCE) & (f > 1e-28)
        x_new, f_new, g_new, moved = _search(problem, x, f, d, slope, sample, going)
        keep = going & moved
        if not keep.any():
            break
        s, y = (x_new - x)[keep], (g_new - g)[keep]
        x, f, g, h, ids = x_new[keep], f_new[keep], g_new[keep], h[keep], ids[keep]
        sample = sample.take(keep)
        _update(h, s, y)
        end[ids], end_value[ids] = x, f
    return end, end_value, end_left


def _search(
    problem: Objective, x: Array, f: Array, d: Array, slope: Array, sample: Sample, going: Array
) -> tuple[Array, Array, Array, Array]:
    """Backtracking from a full step until the objective falls enough; rows that can't fall are marked not moved."""
    low, high = problem.constraint.lower, problem.constraint.upper
    # A wild direction may carry an exponent to overflow; 5 in fitted units is a factor of 150 in a coefficient.
    step = np.minimum(1.0, 5.0 / np.maximum(np.abs(d).max(axis=1), 1e-300))
    x_new, f_new, g_new = x.copy(), f.copy(), np.zeros_like(x)
    moved = np.zeros(len(x), dtype=bool)
    rows = np.flatnonzero(going)
    for _ in range(20):
        if not len(rows):
            break
        trial = np.clip(x[rows] + step[rows, None] * d[rows], low, high)
        value, gradient = problem.evaluate(trial, sample.take(rows))
        good = value <= f[rows] + 1e-4 * step[rows] * slope[rows]
        done = rows[good]
        x_new[done], f_new[done], g_new[done], moved[done] = trial[good], value[good], gradient[good], True
        bent = np.maximum(value - f[rows] - step[rows] * slope[rows], 1e-300)
        with np.errstate(all="ignore"):
            shrink = np.where(np.isfinite(value), -0.5 * step[rows] * slope[rows] / bent, 0.1)
        step[rows] *= np.clip(shrink, 0.1, 0.5)
        rows = rows[~good]
    return x_new, f_new, g_new, moved


def _update(h: Array, s: Array, y: Array) -> None:
    """BFGS update of the inverse Hessians in place, skipped where the curvature along the step isn't positive."""
    sy = np.einsum("si,si->s", s, y)
    size = np.sqrt(np.einsum("si,si->s", s, s) * np.einsum("si,si->s", y, y))
    ok = sy > 1e-12 * size
    if not ok.any():
        return
    s, y, sy, part = s[ok], y[ok], sy[ok], h[ok]
    hy = np.einsum("sij,sj->si", part, y)
    factor = (1.0 + np.einsum("si,si->s", y, hy) / sy) / sy
    cross = s[:, :, None] * hy[:, None, :] / sy[:, None, None]
    part += factor[:, None, None] * s[:, :, None] * s[:, None, :] - cross - np.swapaxes(cross, 1, 2)
    h[ok] = part
