"""How to spend a budget: the size and tokens that a fitted law says are best, with bands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pdstudy.analysis.data.points import Points
from pdstudy.analysis.errors import AnalysisError, NoMinimum
from pdstudy.analysis.fit.bootstrap import Bootstrap, interval
from pdstudy.analysis.fit.extrapolation import fit_other_laws, measure_distance
from pdstudy.analysis.fit.fit_result import Fit
from pdstudy.analysis.laws.base import Array, Law
from pdstudy.analysis.shown import Shown

Flops = Callable[[Array], Array]
"""Training FLOPs per token of a model of N parameters."""


def six_n(n: Array) -> Array:
    """6 N FLOPs per token: forward and backward without attention and embeddings."""
    return 6.0 * n


@dataclass(frozen=True)
class TrueFlops:
    """3 F(N) with F(N) = 2 N (1 + s1 n_ctx / N^(1/3) + s2 n_vocab / N^(2/3)): Busbridge et al. 2025, appendix H.

    For models of one aspect ratio `rho = d_model / n_layers`; N without embeddings. `omega` is the number of d_model^2
    weights per layer (12 for multi-head attention with a feed-forward ratio of 8/3 and three matrices).
    """

    context: int
    vocabulary: int
    rho: float = 128.0
    omega: float = 12.0

    def forward(self, n: Array) -> Array:
        """FLOPs of one token's forward pass."""
        s1 = (1 / (self.rho * self.omega**2)) ** (1 / 3)
        s2 = (self.rho / self.omega) ** (1 / 3)
        return 2 * n * (1 + s1 * self.context / n ** (1 / 3) + s2 * self.vocabulary / n ** (2 / 3))

    def __call__(self, n: Array) -> Array:
        return 3 * self.forward(n)


@dataclass(frozen=True)
class TableFlops:
    """FLOPs per token from measured runs, by their ratio to 6 N.

    Where all runs cost more than 6 N D, head and attention, what the ratio has above 1 is a power of N between sizes
    and goes on so beyond them; else the ratio is linear in ln N and constant beyond.
    """

    ln_n: Array
    ratio: Array

    @classmethod
    def measure(cls, n: Array, d: Array, flops: Array) -> TableFlops:
        """From runs of `n` parameters, `d` tokens and `flops`; runs of one size are averaged."""
        sizes = np.unique(n)
        ratio = flops / (6.0 * n * d)
        return cls(np.log(sizes), np.array([ratio[n == size].mean() for size in sizes]))

    def __call__(self, n: Array) -> Array:
        x = np.log(n)
        if len(self.ln_n) < 2 or self.ratio.min() <= 1.001:
            return 6.0 * n * np.interp(x, self.ln_n, self.ratio)
        above = np.log(self.ratio - 1)
        left, right = ((above[j] - above[i]) / (self.ln_n[j] - self.ln_n[i]) for i, j in ((0, 1), (-2, -1)))
        line = np.interp(x, self.ln_n, above)
        line = line + left * np.minimum(x - self.ln_n[0], 0) + right * np.maximum(x - self.ln_n[-1], 0)
        return 6.0 * n * (1 + np.exp(line))


def hoffmann_optimum(values: Mapping[str, float], budget: float, flops_per: float = 6.0) -> tuple[float, float]:
    """N* and D* of Hoffmann's law in closed form (eq. 4), C = flops_per N D; also the gamma form's."""
    a, b, alpha, beta = values["A"], values["B"], values["alpha"], values.get("beta", values["alpha"])
    ln_g = (np.log(alpha * a) - np.log(beta * b)) / (alpha + beta)
    ln_n = ln_g + beta / (alpha + beta) * np.log(budget / flops_per)
    return float(np.exp(ln_n)), float(budget / flops_per / np.exp(ln_n))


@dataclass(frozen=True)
class Allocation(Shown):
    """N*, D*, L* per budget, with 95 % intervals (NaN without a bootstrap)."""

    law: Law
    frame: pd.DataFrame
    convention: str
    note: str
    warnings: tuple[str, ...] = ()

    def to_frame(self) -> pd.DataFrame:
        """Columns `budget`, and `n`, `d`, `loss`, `ratio` (tokens per parameter), each with `_low` and `_high`."""
        return self.frame


def allocate(
    fit: Fit, budgets: Sequence[float], *, bootstrap: Bootstrap | None = None, flops: Flops = six_n, level: float = 0.95
) -> Allocation:
    """Best size and tokens at each budget (FLOPs), found numerically for any law in N and D.

    Raises:
        AnalysisError: the law isn't one in N and D. NoMinimum: the best size is at the edge of 10^3 to 10^16
            parameters, so the law has no optimum there.
    """
    if set(fit.law.columns) != {"N", "D"}:
        raise AnalysisError(
            f"{fit.law.name} is a law in {', '.join(fit.law.columns)}; an allocation needs one in N and D"
        )
    rows = []
    theta = fit.theta[None, :] if bootstrap is None else np.concatenate([fit.theta[None, :], bootstrap.theta])
    for budget in budgets:
        ln_n, ln_loss, inside = best_sizes(fit.law, theta, budget, flops)
        if not inside[0]:
            raise NoMinimum(f"{fit.law.name} has no best size at C = {budget:g} between 1e3 and 1e16 parameters")
        n = np.exp(ln_n)
        found = {"n": n, "d": budget / flops(n), "loss": np.exp(ln_loss)}
        found["ratio"] = found["d"] / found["n"]
        row = {"budget": float(budget)}
        for key, values in found.items():
            # Draws without an optimum stay in, at the edge: leaving them out would narrow the interval.
            low, high = interval(values[1:], level) if bootstrap else (float("nan"), float("nan"))
            row |= {key: float(values[0]), f"{key}_low": low, f"{key}_high": high}
        rows.append(row)
    note = "C = 6 N D" if flops is six_n else "true FLOPs per token"
    if isinstance(flops, TableFlops):
        note = f"FLOPs of the table ({flops.ratio.min():.3g} to {flops.ratio.max():.3g} times 6 N D)"
    frame = pd.DataFrame(rows)
    warnings = [*doubt_units(fit.points), *_doubt_budgets(fit, frame, flops)]
    return Allocation(fit.law, frame, fit.points.convention, note, tuple(warnings))


def _doubt_budgets(fit: Fit, frame: pd.DataFrame, flops: Flops) -> list[str]:
    """Warnings where the optimum of a budget is beyond the runs, with the sizes that other laws give there."""
    found = []
    for _, row in frame.iterrows():
        distance = measure_distance(fit.points, {"N": row["n"], "D": row["d"]})
        if not distance:
            continue
        others = []
        for other in fit_other_laws(fit):
            ln_n, _, inside = best_sizes(other.law, other.theta[None, :], row["budget"], flops)
            others.append(f"{other.law.name} gives N* {np.exp(ln_n[0]):.3g}" if inside[0] else
                          f"{other.law.name} has no optimum")  # fmt: skip
        text = f"the optimum at C {row['budget']:.3g} is beyond the runs: {', '.join(distance)}"
        found.append(f"{text}; its interval holds for this law alone" + "".join(f"; {o}" for o in others))
    return found


def doubt_units(points: Points) -> list[str]:
    """Warnings where sizes and tokens can hardly be counts of parameters and tokens, which 6 N D takes them for."""
    found = []
    n, d = (float(np.median(points.x[c])) for c in ("N", "D"))
    for name, value in (("N", n), ("D", d)):
        if value < 1e4:
            found.append(
                f"{name} is {value:.3g} in the middle of the runs, too small for a count: give it in units of one "
                f"(--units {name}=1e9 where the column holds billions)"
            )
    if not found and not 1e-2 <= d / n <= 1e5:
        found.append(f"D/N is {d / n:.3g} in the middle of the runs: check the units of both (--units)")
    return found


def best_sizes(law: Law, theta: Array, budget: float, flops: Flops) -> tuple[Array, Array, Array]:
    """ln N of the lowest loss at a budget for each parameter vector, ln of that loss, is N inside 1e3 to 1e16?

    All (S,); by a grid that zooms in on its best point.
    """
    low, high = np.full(len(theta), np.log(1e3)), np.full(len(theta), np.log(1e16))
    steps = np.linspace(0, 1, 60)
    edge = np.zeros(len(theta), dtype=bool)
    for turn in range(6):
        grid = low[:, None] + (high - low)[:, None] * steps
        values = _loss(law, theta, grid, budget, flops)
        best = np.argmin(values, axis=1)
        if turn == 0:
            edge = (best == 0) | (best == len(steps) - 1)
        rows = np.arange(len(theta))
        low = grid[rows, np.maximum(best - 1, 0)]
        high = grid[rows, np.minimum(best + 1, len(steps) - 1)]
    middle = 0.5 * (low + high)
    return middle, _loss(law, theta, middle[:, None], budget, flops)[:, 0], ~edge


def _loss(law: Law, theta: Array, ln_n: Array, budget: float, flops: Flops) -> Array:
    """ln loss of row s at its own sizes (S, m), at this budget."""
    n = np.exp(ln_n)
    return law.log_loss(theta, {"N": n, "D": budget / flops(n)})[0]
