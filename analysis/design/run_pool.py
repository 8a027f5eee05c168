"""Runs that a study may make, as numbers: sizes, tokens, prices; and designs chosen among them, compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pdstudy.analysis.design.choose_runs import RunChoice, choose_runs
from pdstudy.analysis.design.design_targets import DesignTarget
from pdstudy.analysis.design.information import Posterior
from pdstudy.analysis.design.run_prices import RunPrices
from pdstudy.analysis.laws.base import Array, Columns

HALVINGS = 6
"""Steps of the bisection that finds the cheapest design as good as the declared one: 1 % of the budget."""


@dataclass(frozen=True, eq=False)
class RunPool:
    """Candidates by name, with the columns of a law `x` and their prices."""

    names: tuple[str, ...]
    x: Columns
    prices: RunPrices

    def at(self, chosen: Sequence[int]) -> Mapping[str, Array]:
        """The columns of some of them."""
        return {c: v[list(chosen)] for c, v in self.x.items()}


@dataclass(frozen=True)
class Design:
    """A set of candidates, its price in FLOPs, and the standard error that it leaves of each target."""

    title: str
    chosen: tuple[int, ...]
    flops: float
    errors: tuple[float, ...]


def describe_design(
    title: str, chosen: Sequence[int], start: Posterior, pool: RunPool, targets: Sequence[DesignTarget]
) -> Design:
    """The design that adds some candidates to what `start` knows."""
    after = start.after(pool.at(chosen))
    return Design(title, tuple(chosen), pool.prices.total(chosen), tuple(after.error(target) for target in targets))


def better_designs(
    start: Posterior, pool: RunPool, declared: Sequence[int], targets: Sequence[DesignTarget]
) -> tuple[Design, ...]:
    """The declared design and others of the pool: the best for the targets at its price, the D-optimal one, and the
    cheapest that leaves no target with a larger standard error."""
    rows = start.scaled(pool.x)
    slopes = start.slopes(targets)
    own = describe_design("declared", declared, start, pool, targets)

    def best(budget: float, wanted: Array | None) -> RunChoice:
        return choose_runs(start.precision, rows, pool.prices, budget, wanted)

    def shown(title: str, choice: RunChoice) -> Design:
        return describe_design(title, choice.chosen, start, pool, targets)

    found = [own, shown("best for the targets", best(own.flops, slopes)), shown("D-optimal", best(own.flops, None))]
    low, high, cheapest = 0.0, own.flops, found[1]
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        tried = shown("as good, cheapest", best(middle, slopes))
        if all(e <= o for e, o in zip(tried.errors, own.errors)):
            high, cheapest = middle, tried
        else:
            low = middle
    if cheapest is not found[1]:
        found.append(cheapest)
    return tuple(found)


@dataclass(frozen=True)
class TargetInterval:
    """A target with its 95 % interval as the runs so far leave it, and the interval expected after more runs."""

    name: str
    value: float
    now: tuple[float, float]
    after: tuple[float, float]


@dataclass(frozen=True)
class NextRuns:
    """Candidates in the order in which they tell most, and the share of the targets' variance (geometric mean) that is
    left after each."""

    chosen: tuple[int, ...]
    flops: float
    left: tuple[float, ...]
    targets: tuple[TargetInterval, ...]


def next_runs(posterior: Posterior, pool: RunPool, budget: float, targets: Sequence[DesignTarget]) -> NextRuns:
    """The candidates within a budget of FLOPs that lower the expected variance of targets most, given a posterior."""
    slopes = posterior.slopes(targets)
    choice = choose_runs(posterior.precision, posterior.scaled(pool.x), pool.prices, budget, slopes)
    order, left = _order(posterior, pool, choice.chosen, slopes)
    after = posterior.after(pool.at(order))
    shown = []
    for target in targets:
        value, low, high = posterior.interval(target)
        shown.append(TargetInterval(target.name, value, (low, high), after.interval(target)[1:]))
    return NextRuns(tuple(order), choice.flops, tuple(left), tuple(shown))


def _order(posterior: Posterior, pool: RunPool, chosen: Sequence[int], slopes: Array) -> tuple[list[int], list[float]]:
    """The chosen runs, each the one that tells most per FLOP given those before it, and the variance left after each.

    Exchanges leave no order of their own.
    """
    rows = posterior.scaled(pool.x)
    waiting = list(chosen)
    ordered: list[int] = []
    left: list[float] = []
    precision = posterior.precision

    def variances(more: Array) -> Array:
        return np.einsum("tk,kl,tl->t", slopes, np.linalg.inv(precision + np.outer(more, more)), slopes)

    first = variances(np.zeros(rows.shape[1]))
    now = first
    while waiting:
        price = np.maximum(pool.prices.marginal(ordered), 1e-300)
        pick = max(waiting, key=lambda i: float(np.mean(np.log(now / variances(rows[i]))) / price[i]))
        now = variances(rows[pick])
        precision = precision + np.outer(rows[pick], rows[pick])
        waiting.remove(pick)
        ordered.append(pick)
        left.append(float(np.exp(np.mean(np.log(now / first)))))
    return ordered, left
