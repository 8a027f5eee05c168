"""isoFLOP analysis (approach 2): the best size per budget, and how it grows with compute."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

import numpy as np
import pandas as pd
from scipy.interpolate import Akima1DInterpolator

from pdstudy.analysis.data.points import positive
from pdstudy.analysis.errors import NoMinimum, TooFewRuns
from pdstudy.analysis.laws import HOFFMANN
from pdstudy.analysis.laws.base import Array
from pdstudy.analysis.scaling.allocation import hoffmann_optimum
from pdstudy.analysis.scaling.frontier import Frontier, line


class Method(Enum):
    """How the minimum of one budget is found."""

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


@dataclass(frozen=True)
class IsoFlop:
    """Minima per budget and the frontiers N*(C), D*(C)."""

    method: Method
    minima: tuple[BudgetMinimum, ...]
    points: pd.DataFrame
    size: Frontier
    tokens: Frontier
    noise: float
    flops_per: float
    warnings: tuple[str, ...]

    def to_frame(self) -> pd.DataFrame:
        """One row per budget: budget, sizes, n, d, loss, tokens_per_parameter, spread, valid, refused."""
        frame = pd.DataFrame([vars(m) for m in self.minima])
        frame.insert(5, "tokens_per_parameter", frame["d"] / frame["n"])
        return frame


def isoflop(
    table: pd.DataFrame,
    *,
    n: str = "N",
    loss: str = "loss",
    budget: str = "C",
    method: Method = Method.AKIMA,
    noise: float | Callable[[Array], Array] | None = None,
    draws: int = 1000,
    seed: int = 0,
    flops_per: float = 6.0,
) -> IsoFlop:
    """Minima per budget and the power law through them.

    Budgets within 10 % of each other are one; per budget and size the lowest loss counts. A budget is refused when it
    has fewer than 3 sizes (5 for the local parabola: then all are used), when the curve bends down, or when its minimum
    lies at the edge of the sizes.

    Args:
        noise: standard deviation of ln loss (or a function of loss giving it) for the bands; None estimates it from the
            scatter round a cubic in ln N. flops_per: D = C / (flops_per N).

    Raises:
        DataError: bad columns. NoMinimum: fewer than two budgets have a minimum, so there is no frontier.
    """
    size, value = positive(table, n, "N"), positive(table, loss, "the loss")
    cost = positive(table, budget, "the budget")
    groups = _budgets(cost)
    frame = pd.DataFrame({"budget": groups, "n": size, "loss": value})
    frame = frame.sort_values("loss").drop_duplicates(["budget", "n"]).sort_values(["budget", "n"], ignore_index=True)
    sigma = noise if noise is not None else _scatter(frame)
    rng = np.random.default_rng(seed)
    minima, samples = [], []
    for cost_here, part in frame.groupby("budget", sort=True):
        x, y = np.log(part["n"].to_numpy()), part["loss"].to_numpy()
        level = sigma(y) if callable(sigma) else np.full(len(y), sigma)
        noisy = y[:, None] * np.exp(level[:, None] * rng.standard_normal((len(y), draws)))
        found, drawn = _minimum(float(cost_here), x, y, noisy, method, flops_per)  # type: ignore[arg-type]
        minima.append(found)
        if not found.refused:
            samples.append(drawn)
    good = [m for m in minima if not m.refused]
    if len(good) < 2:
        reasons = "; ".join(f"C {m.budget:.3g}: {m.refused}" for m in minima if m.refused)
        raise NoMinimum(
            f"{len(good)} of {len(minima)} budgets have a minimum inside their sizes; a frontier needs 2. {reasons}"
        )
    budgets = np.array([m.budget for m in good])
    spread = np.array([m.spread for m in good])
    # Without noise (simulated data) all minima weigh the same.
    weights = 1 / spread**2 if np.isfinite(spread).all() and (spread > 0).all() else np.ones(len(good))
    ln_n = np.stack(samples)  # budgets x draws
    sizes = line(budgets, np.log([m.n for m in good]), weights, ln_n)
    tokens = line(budgets, np.log([m.d for m in good]), weights, np.log(budgets / flops_per)[:, None] - ln_n)
    warnings = [f"budget {m.budget:.3g} left out: {m.refused}" for m in minima if m.refused]
    warnings += [
        f"budget {m.budget:.3g}: only {m.valid:.0%} of noise draws have a minimum inside" for m in good if m.valid < 0.9
    ]
    typical = float(np.mean(sigma(frame["loss"].to_numpy()))) if callable(sigma) else float(sigma)
    return IsoFlop(method, tuple(minima), frame, sizes, tokens, typical, flops_per, tuple(warnings))


def methods_disagree(table: pd.DataFrame, **options: object) -> pd.DataFrame:
    """The exponent of N* by each method, and its difference to Akima's: a disagreement is a warning on the grid."""
    rows = []
    for method in Method:
        try:
            found = isoflop(table, method=method, **options)  # type: ignore[arg-type]
        except (NoMinimum, TooFewRuns) as error:
            rows.append(
                {"method": method.value, "exponent": np.nan, "low": np.nan, "high": np.nan, "failed": str(error)}
            )
            continue
        low, high = found.size.interval()
        rows.append({"method": method.value, "exponent": found.size.exponent, "low": low, "high": high, "failed": ""})
    frame = pd.DataFrame(rows)
    return frame.assign(difference=frame["exponent"] - frame["exponent"].iloc[0])


def parabola_bias(values: Mapping[str, float], budget: float, sizes: Array, flops_per: float = 6.0) -> float:
    """How far a full parabola misses N* on noise-free Hoffmann losses at these sizes: found / true - 1.

    The shift is the same at every budget when the grid's width is, so the exponent stays right and the level is wrong.
    """
    loss = HOFFMANN.predict(values, {"N": sizes, "D": budget / (flops_per * sizes)})
    vertex, _ = _vertex(np.log(sizes), loss[:, None])
    true = hoffmann_optimum(values, budget, flops_per)[0]
    return float(np.exp(vertex[0]) / true - 1)


def _budgets(cost: Array) -> Array:
    """Each run's budget: costs within 10 % of the first of their group share its median."""
    order = np.argsort(cost, kind="stable")
    group, start, labels = -1, -np.inf, np.empty(len(cost), dtype=int)
    for i in order:
        if cost[i] > start * 1.1:
            group, start = group + 1, cost[i]
        labels[i] = group
    return np.array([float(np.median(cost[labels == g])) for g in range(group + 1)])[labels]


def _scatter(frame: pd.DataFrame) -> float:
    """Standard deviation of ln loss round a cubic in ln N, pooled over budgets with more than four sizes."""
    total, dof = 0.0, 0
    for _, part in frame.groupby("budget"):
        if len(part) > 4:
            x, y = np.log(part["n"].to_numpy()), np.log(part["loss"].to_numpy())
            total += float(np.sum((y - np.polyval(np.polyfit(x - x.mean(), y, 3), x - x.mean())) ** 2))
            dof += len(part) - 4
    return float(np.sqrt(total / dof)) if dof else 0.0


def _minimum(
    budget: float, x: Array, y: Array, noisy: Array, method: Method, flops_per: float
) -> tuple[BudgetMinimum, Array]:
    """The minimum of one budget and ln n of each noise draw (invalid draws repeat the estimate)."""
    if len(x) < 3:
        return BudgetMinimum(budget, len(x), refused=f"{len(x)} sizes, at least 3 are needed"), np.empty(0)
    lowest = int(np.argmin(y))
    if lowest in (0, len(x) - 1):
        side = "smallest" if lowest == 0 else "largest"
        where = f"the lowest loss is at the {side} size ({np.exp(x[lowest]):.3g}): not bracketed, add sizes beyond it"
        return BudgetMinimum(budget, len(x), refused=where), np.empty(0)
    values = np.column_stack([y, noisy])
    if method is Method.AKIMA:
        at, level = _akima(x, values)
    else:
        around = slice(None)
        if method is Method.LOCAL and len(x) > 5:
            first = min(max(lowest - 2, 0), len(x) - 5)
            around = slice(first, first + 5)
        at, level = _vertex(x[around], values[around])
    inside = np.isfinite(at) & (at > x[0]) & (at < x[-1])
    if not inside[0]:
        return BudgetMinimum(
            budget, len(x), refused=f"the {method.value} has no minimum inside the range of sizes"
        ), np.empty(0)
    drawn = np.where(inside, at, at[0])[1:]
    spread = float(at[1:][inside[1:]].std()) if inside[1:].sum() > 1 else float("nan")
    n = float(np.exp(at[0]))
    valid = float(inside[1:].mean()) if len(drawn) else float("nan")
    return BudgetMinimum(budget, len(x), n, budget / (flops_per * n), float(level[0]), spread, valid), drawn


def _akima(x: Array, y: Array) -> tuple[Array, Array]:
    """ln n and loss of the lowest point of Akima's curve in log-log; NaN where that is at an end of the grid."""
    grid = np.linspace(x[0], x[-1], (len(x) - 1) * 25)
    curve = Akima1DInterpolator(x, np.log(y), axis=0)(grid)
    lowest = np.argmin(curve, axis=0)
    at = np.where((lowest > 0) & (lowest < len(grid) - 1), grid[lowest], np.nan)
    return at, np.exp(curve.min(axis=0))


def _vertex(x: Array, y: Array) -> tuple[Array, Array]:
    """ln n and loss of the vertex of each column's parabola; NaN where it bends down."""
    centre = x.mean()
    c2, c1, c0 = np.polyfit(x - centre, y, 2)
    with np.errstate(all="ignore"):
        at = np.where(c2 > 0, -c1 / (2 * c2), np.nan)
    return at + centre, c0 - c2 * at**2
