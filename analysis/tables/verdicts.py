"""One table of verdicts by metric: whether a finding holds whatever it is scored by."""

from __future__ import annotations

from collections.abc import Mapping

from pdstudy.analysis.compare.comparison import Comparison, Effect, Verdict
from pdstudy.analysis.data.study_record import axis_title
from pdstudy.analysis.tables.builders import fixed, places_for
from pdstudy.analysis.tables.table import Table

Place = tuple[tuple[object, ...], str, str]
"""Stratum, arm and baseline of an effect."""


def verdict_table(comparisons: Mapping[str, Comparison], caption: str = "", label: str = "") -> Table:
    """A row per arm, a column per metric (heading to comparison, of the same arms): verdict, difference, outer
    interval. An arm that a metric lacks has a dash there."""
    found = {head: {_place(e): e for e in comparison.effects} for head, comparison in comparisons.items()}
    places = list(dict.fromkeys(place for effects in found.values() for place in effects))
    within = next(iter(comparisons.values())).within
    rows = tuple(
        (*map(str, place[0]), place[1], place[2], *(describe_effect(found[head].get(place)) for head in found))
        for place in places
    )
    families = sorted({c.family for c in comparisons.values()})
    count = f"{families[0]}" if len(families) == 1 else f"{families[0]} to {families[-1]}"
    parts = dict.fromkeys(f"{c.parts()}" for c in comparisons.values())
    by_part = "; ".join(
        part if len(parts) == 1 else f"of {', '.join(h for h, c in comparisons.items() if c.parts() == part)}: {part}"
        for part in parts
    )
    text = (
        f"Difference to the baseline with its outer interval, by metric. Uncertainty {by_part}. Each metric is a "
        f"family of its own, of {count} different comparison{'s' if families[-1] != 1 else ''} (Holm, 5 %)"
    )
    several = f": over {len(found)} metrics, the chance of some false verdict is up to {5 * len(found)} %."
    text += several if len(found) > 1 else "."
    heads = (*map(axis_title, within), "arm", "baseline", *found)
    return Table(heads, rows, f"{caption} {text}".strip(), label)


def _place(effect: Effect) -> Place:
    return effect.stratum, effect.arm, effect.baseline


def describe_effect(effect: Effect | None) -> str:
    """Verdict, difference and outer interval as text; a dash where there is no such effect."""
    if effect is None:
        return "–"
    if effect.verdict is Verdict.SAME:
        return effect.verdict.value
    if effect.verdict is Verdict.NO_SPREAD:
        return f"{effect.verdict.value} {fixed(effect.difference, 3, signed=True)}"
    places = places_for((effect.family_high - effect.family_low) / 2)
    ends = (effect.family_low, effect.family_high)
    while any(end and not round(end, places) for end in ends):  # an end that is shown as 0 would hide its side
        places += 1
    middle, low, high = (
        fixed(value, places, signed=True) for value in (effect.difference, effect.family_low, effect.family_high)
    )
    return f"{effect.verdict.value} {middle} [{low}, {high}]"
