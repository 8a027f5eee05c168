"""isoFLOP analysis (approach 2): the best size per budget, and how it grows with compute."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from pdstudy.analysis.data.points import positive
from pdstudy.analysis.errors import NoMinimum, TooFewRuns
from pdstudy.analysis.laws import HOFFMANN
from pdstudy.analysis.laws.base import Array
from pdstudy.analysis.scaling.allocation import hoffmann_optimum
from pdstudy.analysis.scaling.budget_minimum import (
    BudgetMinimum,
    Method,
    draw_budget_minimum,
    find_budget_minimum,
    solve_vertex,
)
from pdstudy.analysis.scaling.frontier import Frontier, line
from pdstudy.analysis.scaling.isoflop_fit import Curve, SharedShape, draw_minima, fit_shape
from pdstudy.analysis.shown import Shown

WIDEST_UNTESTED = 16.0
"""Largest over smallest size up to which a parabola that no residual tests is trusted (no unit)."""


_OF_SIZES = ("loss", "repeats", "ln_d", "scale")


@dataclass(frozen=True)
class IsoFlopFrontier(Shown):
    """Minima per budget and the frontiers N*(C), D*(C)."""

    method: Method
    minima: tuple[BudgetMinimum, ...]
    points: pd.DataFrame
    size: Frontier
    tokens: Frontier
    noise: float
    """Standard deviation of ln loss of one run; NaN where the table does not tell it."""
    noise_source: str
    """given, repeats, residuals or unknown."""
    tokens_rule: str
    """Where D comes from, as text for captions."""
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
    tokens: str | None = None,
    method: Method = Method.SHARED,
    noise: float | Callable[[Array], Array] | None = None,
    draws: int = 1000,
    seed: int = 0,
    flops_per: float = 6.0,
) -> IsoFlopFrontier:
    """Minima per budget and the power law through them.

    Budgets within 10 % of each other are one; runs of one budget and size are averaged. A budget is refused when it has
    fewer than 3 sizes, when its curve has no minimum among them, or when its lowest loss is at their edge. Intervals
    come from the noise of ln loss: as given; else of repeats, where these have three degrees of freedom; else of the
    residuals round the shared shape; else there are none.

    Args:
        noise: standard deviation of ln loss of one run, or a function of loss giving it; then noisier sizes weigh
            less. tokens: column of D; without it D = C / (flops_per N).

    Raises:
        DataError: bad columns. NoMinimum: fewer than two budgets have a minimum, so there is no frontier.
    """
    size, value = positive(table, n, "N"), positive(table, loss, "the loss")
    groups = _group_budgets(positive(table, budget, "the budget"))
    amount = groups / (flops_per * size) if tokens is None else positive(table, tokens, "D")
    runs = pd.DataFrame({"budget": groups, "n": size, "loss": value, "log": np.log(value), "ln_d": np.log(amount)})
    cells = runs.groupby(["budget", "n"])
    frame = cells.agg(loss=("loss", "mean"), repeats=("loss", "size"), ln_d=("ln_d", "mean")).reset_index()
    repeats_dof = len(runs) - len(frame)
    repeated = float(((runs["log"] - cells["log"].transform("mean")) ** 2).sum())
    known = _read_noise(noise, frame, repeated, repeats_dof)
    frame["scale"] = noise(frame["loss"].to_numpy()) / known.sigma if callable(noise) else 1.0
    curves = [
        Curve(float(str(c)), np.log(p["n"].to_numpy()), *(p[k].to_numpy(dtype=float) for k in _OF_SIZES))
        for c, p in frame.groupby("budget", sort=True)
    ]
    wide = [c for c in curves if len(c.x) >= 3]
    shape = fit_shape(wide, known.pair) if wide else None
    known, warnings = _judge_noise(known, shape)
    if shape is not None and np.isfinite(shape.window):
        warnings.append(
            f"sizes beyond a factor of {shape.window:g} from the lowest loss do not have one shape for all budgets: "
            "they are left out of the shared fit and of its noise"
        )
    rng = np.random.default_rng(seed)
    minima, samples = [], []
    drawn: Array | None = None
    if shape and known.pair and method is Method.SHARED:
        drawn = draw_minima(shape, *known.pair, draws, rng)
    for curve in curves:
        found = find_budget_minimum(curve, shape, method)
        if not found.refused:
            sample = np.empty(0)
            if drawn is not None and shape is not None:
                sample = drawn[shape.place(curve)]
            elif known.pair is not None:
                sample = draw_budget_minimum(curve, method, known.sigma, known.pair[1], draws, rng)
            samples.append(sample)
            if len(sample):
                inside = (sample > curve.x[0]) & (sample < curve.x[-1])
                found = replace(found, spread=float(sample.std()), valid=float(inside.mean()))
        minima.append(found)
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
    drawn_d = np.stack([next(c for c in curves if c.budget == m.budget).log_tokens(s) for m, s in zip(good, samples)])
    data = line(budgets, np.log([m.d for m in good]), weights, drawn_d)
    warnings += [f"budget {m.budget:.3g} left out: {m.refused}" for m in minima if m.refused]
    warnings += [
        f"budget {m.budget:.3g}: only {m.valid:.0%} of noise draws have a minimum inside" for m in good if m.valid < 0.9
    ]
    warnings += _compare_methods(curves, shape, method, sizes)
    rule = f"D = C / ({flops_per:g} N)" if tokens is None else f"D from column {tokens!r}"
    frame = frame.drop(columns=["ln_d", "scale"])
    return IsoFlopFrontier(method, tuple(minima), frame, sizes, data, known.sigma, known.source, rule, tuple(warnings))


@dataclass(frozen=True)
class _Noise:
    """Variance of ln loss of one run with its degrees of freedom, or None, and where it comes from."""

    pair: tuple[float, float] | None
    source: str

    @property
    def sigma(self) -> float:
        return float("nan") if self.pair is None else float(np.sqrt(self.pair[0]))


def _read_noise(
    noise: float | Callable[[Array], Array] | None, frame: pd.DataFrame, repeated: float, repeats_dof: int
) -> _Noise:
    """The noise as given, or from repeats: squared deviations from their means, and degrees of freedom."""
    if noise is not None:
        level = float(np.mean(noise(frame["loss"].to_numpy()))) if callable(noise) else float(noise)
        return _Noise((level**2, float("inf")), "given")
    return _Noise((repeated / repeats_dof, float(repeats_dof)), "repeats") if repeats_dof >= 3 else _Noise(None, "")


def _judge_noise(known: _Noise, shape: SharedShape | None) -> tuple[_Noise, list[str]]:
    """The noise that intervals may be made of, of residuals where nothing better is known, and warnings."""
    if known.source == "given" or shape is None:
        return known, []
    untested = shape.is_parabola and shape.dof <= 2
    if untested and max(float(np.ptp(c.x)) for c in shape.curves) > np.log(1.01 * WIDEST_UNTESTED):
        return _Noise(None, "unknown"), [
            f"so few sizes over more than a factor of {WIDEST_UNTESTED:g} can't show whether their curve is a "
            "parabola, and where it is not its minimum is shifted by far more than noise: no intervals; add sizes"
        ]
    if known.pair is None and shape.dof > 0:
        return _Noise((shape.variance, float(shape.dof)), "residuals"), []
    if known.pair is None:
        return _Noise(None, "unknown"), ["no intervals, for the noise is not known; add sizes or repeats, or give it"]
    return known, []


def _compare_methods(curves: list[Curve], shape: SharedShape | None, method: Method, own: Frontier) -> list[str]:
    """A warning with the exponents of the other methods where one is outside the interval, or 0.01 away without one."""
    low, high = own.interval()
    if np.isnan(low):
        low, high = own.exponent, own.exponent
    low, high = min(low, own.exponent - 0.01), max(high, own.exponent + 0.01)
    found = {}
    for other in Method:
        minima = [find_budget_minimum(c, shape, other) for c in curves] if other is not method else []
        good = [m for m in minima if not m.refused]
        if len(good) > 1:
            ln_n, budgets = np.log([m.n for m in good]), np.array([m.budget for m in good])
            found[other.value] = line(budgets, ln_n, np.ones(len(good)), np.empty((len(good), 0))).exponent
    if all(low <= e <= high for e in found.values()):
        return []
    said = ", ".join(f"{name} {e:.3f}" for name, e in found.items())
    return [f"the exponent of N* depends on the method: {method.value} {own.exponent:.3f}, {said}"]


def methods_disagree(table: pd.DataFrame, **options: object) -> pd.DataFrame:
    """The exponent of N* by each method, and its difference to the first: a disagreement is a warning on the grid."""
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
    vertex, _ = solve_vertex(np.log(sizes), loss[:, None])
    true = hoffmann_optimum(values, budget, flops_per)[0]
    return float(np.exp(vertex[0]) / true - 1)


def _group_budgets(cost: Array) -> Array:
    """Each run's budget: costs within 10 % of the first of their group share its median."""
    order = np.argsort(cost, kind="stable")
    group, start, labels = -1, -np.inf, np.empty(len(cost), dtype=int)
    for i in order:
        if cost[i] > start * 1.1:
            group, start = group + 1, cost[i]
        labels[i] = group
    return np.array([float(np.median(cost[labels == g])) for g in range(group + 1)])[labels]
