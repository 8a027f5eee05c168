"""One shape for the curves of all budgets: the cut of a law at constant compute, or a parabola where no more shows.

At constant C a law in N and D is loss = a + p e^(-alpha u) + q e^(beta u) in u = ln N. Budgets share alpha and beta and
have a, p, q of their own, so the shape costs two parameters more than parabolas, its limit for alpha, beta to 0. In the
basis {1, f1, f2} that tends to {1, u, u^2}:

    f1 = (e^(beta u) - e^(-alpha u)) / (alpha + beta)
    f2 = 2 (beta (e^(-alpha u) - 1) + alpha (e^(beta u) - 1)) / (alpha beta (alpha + beta))
    minimum of b f1 + c f2:  u* = ln[(2 c - b alpha) / (2 c + b beta)] / (alpha + beta)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from pdstudy.analysis.laws.base import Array

PARABOLA = (1e-3, 1e-3)
"""Exponents at which the shape is a parabola to six digits over any grid of sizes."""

LEVEL = 0.2
"""Level of the F test below which the shape of a law is taken: a bend that is overlooked costs more than two degrees
of freedom."""

WINDOWS = (64.0, 16.0, 8.0)
"""Factors from the size of lowest loss to which the sizes are narrowed where all of them do not have one shape."""

_SMALLEST, _LARGEST = 0.02, 1.5


@dataclass(frozen=True)
class Curve:
    """Mean losses of one budget: `x` is ln N, `ln_d` ln of the tokens, `repeats` the number of runs behind each.

    `scale` is the noise of a run of each size relative to the level that is given or estimated.
    """

    budget: float
    x: Array
    loss: Array
    repeats: Array
    ln_d: Array
    scale: Array

    @property
    def u(self) -> Array:
        """ln N round its mean."""
        return self.x - self.x.mean()

    def within(self, factor: float) -> Curve:
        """The sizes within this factor of the one of lowest loss."""
        near = np.abs(self.x - self.x[np.argmin(self.loss)]) <= np.log(factor)
        return Curve(self.budget, self.x[near], self.loss[near], self.repeats[near], self.ln_d[near], self.scale[near])

    def log_tokens(self, x: Array) -> Array:
        """ln D at ln N: between the sizes along straight lines, beyond them at the mean slope."""
        inside = np.clip(x, self.x[0], self.x[-1])
        slope = (self.ln_d[-1] - self.ln_d[0]) / (self.x[-1] - self.x[0])
        return np.interp(inside, self.x, self.ln_d) + slope * (x - inside)

    @property
    def weights(self) -> Array:
        """Square roots of the weights of relative residuals."""
        return np.sqrt(self.repeats) / (self.loss * self.scale)


@dataclass(frozen=True)
class SharedShape:
    """The fit of all curves; residuals are relative to the loss."""

    curves: tuple[Curve, ...]
    exponents: tuple[float, float]
    coefficients: Array
    """a, b, c of each curve, (curves, 3)."""
    squares: float
    """Sum of squared residuals of ln loss."""
    dof: int
    window: float = float("inf")
    """Factor from the lowest loss within which sizes were fitted; those farther off do not have the shape."""

    @property
    def variance(self) -> float:
        """Variance of ln loss of one run round the shape; NaN without degrees of freedom."""
        return self.squares / self.dof if self.dof > 0 else float("nan")

    @property
    def is_parabola(self) -> bool:
        """Whether no more bend shows than a parabola has."""
        return self.exponents == PARABOLA

    def place(self, curve: Curve) -> int:
        """The index of the curve of the same budget."""
        return next(i for i, c in enumerate(self.curves) if c.budget == curve.budget)


def basis(u: Array, alpha: Array | float, beta: Array | float) -> Array:
    """1, f1, f2 at `u` (n,) for exponents of any one shape: (..., n, 3)."""
    a, b = np.asarray(alpha)[..., None], np.asarray(beta)[..., None]
    falling, rising = np.expm1(-a * u), np.expm1(b * u)
    first = (rising - falling) / (a + b)
    second = 2 * (b * falling + a * rising) / (a * b * (a + b))
    return np.stack([np.ones_like(first), first, second], axis=-1)


def find_minimum(b: Array | float, c: Array | float, alpha: Array | float, beta: Array | float) -> Array:
    """u of the lowest point of b f1 + c f2; NaN where there is none."""
    with np.errstate(all="ignore"):
        above, below = 2 * c - b * alpha, 2 * c + b * beta
        return np.where((above > 0) & (below > 0), np.log(above / below) / (alpha + beta), np.nan)


def fit_shape(curves: Sequence[Curve], noise: tuple[float, float] | None) -> SharedShape:
    """The shape of all curves, of the sizes near the lowest loss where those farther off do not have one shape.

    That is so where the variance round it falls, by an F test at 5 %, when the sizes beyond a factor are left out.
    """
    best = _fit_once(curves, noise)
    for window in WINDOWS:
        near = [c.within(window) for c in curves]
        if min(len(c.x) for c in near) < 4 or sum(len(c.x) for c in near) == sum(len(c.x) for c in best.curves):
            continue
        found = replace(_fit_once(near, noise), window=window)
        if found.dof < 4:
            continue
        # Relative residuals below 1e-5 are those of the search for exponents, not of the losses.
        ratio = max(best.variance, 1e-10) / max(found.variance, 1e-10)
        if ratio > stats.f.ppf(0.95, best.dof, found.dof):
            best = found
    return best


def _fit_once(curves: Sequence[Curve], noise: tuple[float, float] | None) -> SharedShape:
    """The shape of a law where it fits better than parabolas by an F test at `LEVEL`, else parabolas.

    `noise` is the variance of ln loss and its degrees of freedom where that is known apart from the curves.
    """
    count, free = sum(len(c.x) for c in curves), 3 * len(curves)
    squares = float(_squares(curves, *np.array(PARABOLA)))
    exponents, dof = PARABOLA, count - free
    if dof > 2:
        alpha, beta, lower = _search(curves)
        variance, below = noise if noise else (lower / (dof - 2), dof - 2)
        gain = (squares - lower) / 2 / max(variance, 1e-30)
        if stats.f.sf(gain, 2, below if np.isfinite(below) else 1e9) < LEVEL:
            exponents, squares, dof = (alpha, beta), lower, dof - 2
    solved = [
        np.linalg.lstsq(basis(c.u, *exponents) * c.weights[:, None], c.weights * c.loss, rcond=None)[0] for c in curves
    ]
    return SharedShape(tuple(curves), exponents, np.array(solved), squares, dof)


def draw_minima(shape: SharedShape, variance: float, dof: float, draws: int, rng: np.random.Generator) -> Array:
    """ln N of the minimum of each curve under noise, (curves, draws); beyond a range of sizes it stays at twice it.

    Coefficients and exponents are drawn from their joint normal distribution, its scale from that of an estimated
    variance with so many degrees of freedom.
    """
    alpha, beta = shape.exponents
    curves, rows = shape.curves, []
    many = 3 * len(curves) + (0 if shape.is_parabola else 2)
    for i, c in enumerate(curves):
        row = np.zeros((len(c.x), many))
        row[:, 3 * i : 3 * i + 3] = basis(c.u, alpha, beta) * c.weights[:, None]
        for j in range(many - 3 * len(curves)):
            step = 1e-4 * np.eye(2)[j]
            moved = basis(c.u, alpha + step[0], beta + step[1]) - basis(c.u, alpha - step[0], beta - step[1])
            row[:, 3 * len(curves) + j] = moved @ shape.coefficients[i] / 2e-4 * c.weights
        rows.append(row)
    jacobian = np.concatenate(rows)
    unit = np.sqrt((jacobian**2).sum(axis=0)) + 1e-300
    _, values, vectors = np.linalg.svd(jacobian / unit, full_matrices=False)
    values = np.maximum(values, 1e-9 * values[0])
    scale = np.sqrt(variance) * (np.sqrt(dof / rng.chisquare(dof, draws)) if np.isfinite(dof) else np.ones(draws))
    centre = np.concatenate([shape.coefficients.ravel(), [alpha, beta][: many - 3 * len(curves)]])
    drawn = centre + (rng.standard_normal((draws, many)) / values) @ vectors / unit * scale[:, None]
    if not shape.is_parabola:
        alpha, beta = np.clip(drawn[:, -2:], _SMALLEST / 2, 2 * _LARGEST).T
    found = []
    for i, c in enumerate(curves):
        b, u = drawn[:, 3 * i + 1], c.u
        at = find_minimum(b, drawn[:, 3 * i + 2], alpha, beta)
        # A draw without a minimum is lowest at an end; leaving it out would narrow the interval.
        at = np.where(np.isnan(at), np.where(b < 0, u[-1], u[0]), at)
        found.append(np.clip(at, u[0] - np.ptp(u), u[-1] + np.ptp(u)) + c.x.mean())
    return np.stack(found)


def _search(curves: Sequence[Curve]) -> tuple[float, float, float]:
    """alpha, beta of the least squares and their sum, by a grid of their logarithms that zooms in."""
    low, high = np.log([_SMALLEST] * 2), np.log([_LARGEST] * 2)
    best = (*PARABOLA, np.inf)
    for _ in range(8):
        alpha, beta = (
            v.ravel() for v in np.meshgrid(*(np.exp(np.linspace(a, b, 9)) for a, b in zip(low, high)), indexing="ij")
        )
        values = _squares(curves, alpha, beta)
        j = int(np.argmin(values))
        best = (float(alpha[j]), float(beta[j]), float(values[j]))
        centre, half = np.log(best[:2]), 0.22 * (high - low)
        low = np.maximum(centre - half, np.log(_SMALLEST))
        high = np.minimum(centre + half, np.log(_LARGEST))
    return best


def _squares(curves: Sequence[Curve], alpha: Array | float, beta: Array | float) -> Array:
    """Sums of squared relative residuals, with the best a, b, c of every curve, for each pair of exponents."""
    total: Array = np.zeros(np.shape(alpha))
    for c in curves:
        q, _ = np.linalg.qr(basis(c.u, alpha, beta) * c.weights[:, None])
        target = (c.weights * c.loss)[:, None]
        total = total + ((target - q @ (np.swapaxes(q, -1, -2) @ target)) ** 2).sum(axis=(-1, -2))
    return total
