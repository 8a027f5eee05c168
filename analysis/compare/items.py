"""Paired differences between two arms over the items of a task, with intervals and tests.

Their uncertainty is that of other items for the same models; that of other runs is over seeds
(`pdstudy.analysis.compare.seeds`). Models of equal seeds are averaged item by item first: the items are shared, so
seeds do not multiply them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import signal, stats

from pdstudy.analysis.data.task_answers import Items


@dataclass(frozen=True)
class ItemEffect:
    """One arm minus its baseline on one task (or over several): `low` and `high` bound the difference at 95 %.

    `error` is its standard error over items, `p` two-sided and unadjusted; both NaN where there are too few items.
    """

    items: int
    difference: float
    error: float
    low: float
    high: float
    p: float
    same: bool
    """No item differs."""


def accuracy_effect(arm: Sequence[Items], baseline: Sequence[Items]) -> ItemEffect:
    """Difference of accuracy as a share, one `Items` per seed in both, in one order.

    The interval is a t interval over items; p is that of the exact test that turns each item's difference around at
    random, which for one seed is McNemar's exact test.
    """
    differences = np.sum([a.correct - b.correct for a, b in zip(arm, baseline, strict=True)], axis=0)
    return _effect(differences / len(arm), sign_flip(differences))


def bits_effect(arm: Sequence[Items], baseline: Sequence[Items]) -> ItemEffect:
    """Difference of the gold answers' bits per byte (all bits over all bytes); t interval and test over items."""
    differences = np.mean([a.bits - b.bits for a, b in zip(arm, baseline, strict=True)], axis=0)
    size = arm[0].bytes
    ratio = differences.sum() / size.sum()
    # The bytes of the items are a sample too: what an item adds to a ratio is its difference beyond its own share.
    return _effect(ratio + (differences - ratio * size) / size.mean(), None)


def mean_effect(effects: Sequence[ItemEffect]) -> ItemEffect:
    """The unweighted mean over tasks, whose items are independent; normal interval and test."""
    difference = float(np.mean([e.difference for e in effects]))
    error = math.sqrt(sum(e.error**2 for e in effects)) / len(effects)
    reach = float(stats.norm.ppf(0.975)) * error
    p = float(2 * stats.norm.sf(abs(difference) / error)) if error > 0 else math.nan
    items, same = sum(e.items for e in effects), all(e.same for e in effects)
    return ItemEffect(items, difference, error, difference - reach, difference + reach, p, same)


def sign_flip(differences: np.ndarray) -> float:
    """Exact two-sided p of a sum of whole numbers [items] whose signs are turned by fair coins.

    Numbers of equal size add up to a binomial; the sum of all is the convolution over sizes.
    """
    sizes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    chances = np.ones(1)  # of the sum being -reach, ..., reach
    for size, count in zip(sizes.astype(int), counts.astype(int), strict=True):
        spread = np.zeros(2 * size * count + 1)
        spread[:: 2 * size] = stats.binom.pmf(np.arange(count + 1), count, 0.5)
        chances = signal.convolve(chances, spread)
    reach = (len(chances) - 1) // 2
    sums = np.abs(np.arange(-reach, reach + 1))
    return float(np.clip(chances[sums >= abs(int(differences.sum()))].sum(), 0, 1))


def _effect(values: np.ndarray, p: float | None) -> ItemEffect:
    count, mean = len(values), float(values.mean())
    if count < 2:
        return ItemEffect(count, mean, math.nan, math.nan, math.nan, math.nan, mean == 0)
    error = float(values.std(ddof=1)) / math.sqrt(count)
    reach = float(stats.t.ppf(0.975, count - 1)) * error
    if p is None:
        p = float(2 * stats.t.sf(abs(mean) / error, count - 1)) if error > 0 else math.nan
    return ItemEffect(count, mean, error, mean - reach, mean + reach, p, not values.any())
