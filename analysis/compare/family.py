"""Verdicts of all comparisons that a reader sees together, at one error rate.

The chance that any of a family's claims of a difference is false is at most 1 - level (Holm 1979, valid whatever the
dependence: arms of one baseline do depend on each other).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from pdstudy.analysis.compare.comparison import Comparison, Effect, Verdict

Key = TypeVar("Key")


def adjust(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons of one metric with p values, outer intervals and verdicts adjusted for all of them together.

    A computation that occurs twice (a pair of arms shown in two tables or turned round, arms of equal runs) is counted
    once, so that a page cannot say two things of it.
    """
    raw: dict[object, float] = {}
    beyond: dict[object, float] = {}
    for comparison in comparisons:
        for effect in comparison.effects:
            if effect.uncertainty is not None:
                raw[_key(effect)] = effect.uncertainty.p(effect.difference)
                if comparison.margin is not None:
                    beyond[_key(effect)] = effect.uncertainty.p_beyond(effect.difference, comparison.margin)
    adjusted, inside = holm(raw), holm(beyond)
    made = []
    for comparison in comparisons:
        alpha = 1 - comparison.level
        shares = _holm_levels(raw, alpha)
        effects = tuple(_judge(e, comparison, alpha, adjusted, shares, inside) for e in comparison.effects)
        made.append(replace(comparison, effects=effects, family=len(raw)))
    return made


def holm(raw: Mapping[Key, float]) -> dict[Key, float]:
    """Holm's adjusted p values."""
    adjusted: dict[Key, float] = {}
    highest = 0.0
    for i, (key, p) in enumerate(sorted(raw.items(), key=lambda item: item[1])):
        highest = max(highest, min(1.0, p * (len(raw) - i)))
        adjusted[key] = highest
    return adjusted


def _holm_levels(raw: Mapping[Key, float], alpha: float) -> dict[Key, float]:
    """The level at which Holm's procedure judges each: that of its own step, or of the step at which it ended."""
    levels: dict[Key, float] = {}
    going = True
    for i, (key, p) in enumerate(sorted(raw.items(), key=lambda item: item[1])):
        if going:
            level = alpha / (len(raw) - i)
            going = p < level
        levels[key] = level
    return levels


def _judge(
    effect: Effect,
    comparison: Comparison,
    alpha: float,
    adjusted: Mapping[object, float],
    levels: Mapping[object, float],
    inside: Mapping[object, float],
) -> Effect:
    if effect.uncertainty is None:
        same = effect.values == effect.baseline_values
        return replace(effect, verdict=Verdict.SAME if same else Verdict.NO_SPREAD)
    key, middle = _key(effect), effect.difference
    reach, outer = effect.uncertainty.reach(alpha), effect.uncertainty.reach(levels[key])
    if abs(middle) > outer:
        verdict = Verdict.BETTER if (middle < 0) == comparison.lower_is_better else Verdict.WORSE
    else:
        verdict = Verdict.EQUIVALENT if inside.get(key, math.inf) < alpha else Verdict.WITHIN_NOISE
    return replace(
        effect, low=middle - reach, high=middle + reach, p=adjusted[key], family_low=middle - outer,
        family_high=middle + outer, verdict=verdict,
    )  # fmt: skip


def _key(effect: Effect) -> frozenset[tuple[float, ...]]:
    """Equal for the same computations, in either direction."""
    return frozenset((effect.values, effect.baseline_values))
