"""Choice of runs within a budget that lowers the variance of targets most, or of all parameters together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pdstudy.analysis.design.run_prices import RunPrices
from pdstudy.analysis.laws.base import Array

POWERS = (1.0, 0.6, 0.3, 0.0)
"""Powers of the price by which gains are divided, one after the other; the best of the choices is kept (no unit)."""

EXCHANGED, PASSES = 60, 3
"""Most runs of a choice that is improved by exchanges, since with more of them one hardly matters; and how often."""


@dataclass(frozen=True)
class RunChoice:
    """Candidates in the order of choice, their price together, and the criterion's fall."""

    chosen: tuple[int, ...]
    flops: float
    fall: float


def choose_runs(
    precision: Array, rows: Array, prices: RunPrices, budget: float, slopes: Array | None = None
) -> RunChoice:
    """Runs whose price is at most the budget and whose information lowers a criterion most.

    The criterion is the mean over targets of ln variance, the same whatever their units; without targets it is the log
    determinant of the parameters' covariance (D-optimality). Greedy by the fall per FLOP to each of `POWERS`, since the
    best ratio may spend itself on cheap runs; then runs are taken out one by one and the budget is filled again, as
    long as that helps.

    Args:
        precision: of the parameters now, (k, k). rows: jacobian of the candidates over their noise, (M, k).
        slopes: gradients of the targets, (T, k).
    """
    problem = _Problem(precision, rows, prices, budget, slopes)
    best = max((problem.fill((), power) for power in POWERS), key=lambda choice: choice.fall)
    for _ in range(PASSES if len(best.chosen) <= EXCHANGED else 0):
        before = best.fall
        for out in best.chosen:
            kept = tuple(i for i in best.chosen if i != out)
            tried = max((problem.fill(kept, power, out) for power in POWERS[1:3]), key=lambda choice: choice.fall)
            if tried.fall > best.fall:
                best = tried
        if best.fall < before + 1e-3:
            break
    return best


@dataclass(frozen=True, eq=False)
class _Problem:
    precision: Array
    rows: Array
    prices: RunPrices
    budget: float
    slopes: Array | None

    def fill(self, kept: Sequence[int], power: float, barred: int = -1) -> RunChoice:
        """Runs added to those that are kept, one by one, until the budget allows no more."""
        chosen, rows = list(kept), self.rows
        told = self.precision + rows[chosen].T @ rows[chosen]
        covariance = np.asarray(np.linalg.inv(told), dtype=np.float64)
        slopes = np.zeros((0, len(covariance))) if self.slopes is None else self.slopes
        leverage: Array = np.einsum("mk,kl,ml->m", rows, covariance, rows)
        across: Array = slopes @ covariance @ rows.T
        variance: Array = np.einsum("tk,kl,tl->t", slopes, covariance, slopes)
        free = np.ones(len(rows), dtype=bool)
        free[[*chosen, *([barred] if barred >= 0 else [])]] = False
        spent = self.prices.total(chosen)
        while True:
            price = self.prices.marginal(chosen)
            can = free & (price <= self.budget - spent)
            if self.slopes is None:
                gains = np.log1p(leverage)
            else:
                share = across**2 / (1 + leverage) / variance[:, None]
                gains = -np.log1p(-np.minimum(share, 1 - 1e-12)).mean(axis=0)
            can &= gains > 1e-9
            if not can.any():
                return RunChoice(tuple(chosen), spent, self._fall(covariance))
            ratio = gains / np.maximum(price, 1e-12 * self.budget) ** power
            pick = int(np.argmax(np.where(can, ratio, -np.inf)))
            moved = covariance @ rows[pick]
            scale = 1 + float(leverage[pick])
            along, told = rows @ moved, slopes @ moved
            covariance = covariance - np.outer(moved, moved) / scale
            leverage = np.maximum(leverage - along**2 / scale, 0.0)
            across = across - np.outer(told, along) / scale
            variance = np.maximum(variance - told**2 / scale, 1e-300)
            spent += float(price[pick])
            chosen.append(pick)
            free[pick] = False

    def _fall(self, covariance: Array) -> float:
        """The criterion before minus after."""
        before = np.linalg.inv(self.precision)
        if self.slopes is None:
            return float(np.linalg.slogdet(before)[1] - np.linalg.slogdet(covariance)[1])
        now, then = (np.einsum("tk,kl,tl->t", self.slopes, c, self.slopes) for c in (before, covariance))
        return float(np.mean(np.log(now) - np.log(then)))
