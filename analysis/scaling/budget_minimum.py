"""The best size at one budget, by the method chosen, and its draws under noise."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from scipy.interpolate import Akima1DInterpolator

from pdstudy.analysis.laws.base import Array
from pdstudy.analysis.scaling.isoflop_fit import Curve, SharedShape, basis, find_minimum


class Method(Enum):
    """How the minimum of one budget is found."""

    SHARED = "shared"
    """One shape for all budgets: the cut of a law at constant compute, a parabola where no more bend shows."""
    AKIMA = "akima"
    """Akima's curve through the points in log-log, on a grid of 25 steps per interval (Porian et al. 2024)."""
    LOCAL = "local"
    """Parabola in ln N through the five sizes around the lowest."""
    PARABOLA = "parabola"
    """Parabola in ln N through all sizes (Hoffmann et al. 2022); shifted by a constant factor when alpha != beta."""


@dataclass(frozen=True)
class BudgetMinimum:
    """The best size at one budget, or why there is none.

    `n` in parameters, `d` in tokens, `loss` as the table's; `spread` is the standard deviation of ln n under noise and
    `valid` the share of noise draws with a minimum inside the range.
    """

    budget: float
    sizes: int
    n: float = float("nan")
    d: float = float("nan")
    loss: float = float("nan")
    spread: float = float("nan")
    valid: float = float("nan")
    refused: str = ""


def find_budget_minimum(curve: Curve, shape: SharedShape | None, method: Method) -> BudgetMinimum:
    """The minimum of one budget, or why it is refused."""
    x, y = curve.x, curve.loss
    if len(x) < 3 or shape is None:
        return BudgetMinimum(curve.budget, len(x), refused=f"{len(x)} sizes, at least 3 are needed")
    lowest = int(np.argmin(y))
    if lowest in (0, len(x) - 1):
        side = "smallest" if lowest == 0 else "largest"
        where = f"the lowest loss is at the {side} size ({np.exp(x[lowest]):.3g}): not bracketed, add sizes beyond it"
        return BudgetMinimum(curve.budget, len(x), refused=where)
    if method is Method.SHARED:
        place = shape.place(curve)
        coefficients = shape.coefficients[place]
        at = find_minimum(coefficients[1], coefficients[2], *shape.exponents)[None]
        level = basis(at, *shape.exponents) @ coefficients
        at = at + shape.curves[place].x.mean()
    else:
        at, level = _solve_alone(x, y, y[:, None], method)
    if not (np.isfinite(at[0]) and x[0] < at[0] < x[-1]):
        return BudgetMinimum(
            curve.budget, len(x), refused=f"the {method.value} has no minimum inside the range of sizes"
        )
    tokens = np.exp(curve.log_tokens(at[:1])[0])
    return BudgetMinimum(curve.budget, len(x), float(np.exp(at[0])), float(tokens), float(level[0]))


def draw_budget_minimum(
    curve: Curve, method: Method, sigma: float, dof: float, draws: int, rng: np.random.Generator
) -> Array:
    """ln N of the minimum of one curve under noise, by a method that takes each budget alone."""
    scale = np.sqrt(dof / rng.chisquare(dof, draws)) if np.isfinite(dof) else np.ones(draws)
    noise = (sigma * curve.scale / np.sqrt(curve.repeats))[:, None] * scale * rng.standard_normal((len(curve.x), draws))
    noisy = curve.loss[:, None] * np.exp(noise)
    at, _ = _solve_alone(curve.x, curve.loss, noisy, method)
    # A draw without a minimum inside is lowest at an end; leaving it out would narrow the interval.
    ends = np.where(noisy[0] < noisy[-1], curve.x[0], curve.x[-1])
    span = float(np.ptp(curve.x))
    return np.clip(np.where(np.isnan(at), ends, at), curve.x[0] - span, curve.x[-1] + span)


def _solve_alone(x: Array, y: Array, values: Array, method: Method) -> tuple[Array, Array]:
    """ln N and loss of the minimum of each column of `values`; `y` are the losses as measured."""
    if method is Method.AKIMA:
        return _solve_akima(x, values)
    around = slice(None)
    if method is Method.LOCAL and len(x) > 5:
        first = min(max(int(np.argmin(y)) - 2, 0), len(x) - 5)
        around = slice(first, first + 5)
    return solve_vertex(x[around], values[around])


def _solve_akima(x: Array, y: Array) -> tuple[Array, Array]:
    """ln n and loss of the lowest point of Akima's curve in log-log; NaN where that is at an end of the grid."""
    grid = np.linspace(x[0], x[-1], (len(x) - 1) * 25)
    curve = Akima1DInterpolator(x, np.log(y), axis=0)(grid)
    lowest = np.argmin(curve, axis=0)
    at = np.where((lowest > 0) & (lowest < len(grid) - 1), grid[lowest], np.nan)
    return at, np.exp(curve.min(axis=0))


def solve_vertex(x: Array, y: Array) -> tuple[Array, Array]:
    """ln n and loss of the vertex of each column's parabola; NaN where it bends down."""
    centre = x.mean()
    c2, c1, c0 = np.polyfit(x - centre, y, 2)
    with np.errstate(all="ignore"):
        at = np.where(c2 > 0, -c1 / (2 * c2), np.nan)
    return at + centre, c0 - c2 * at**2
