"""A matrix of differences: every arm beside every arm that others are compared with."""

from __future__ import annotations

from collections.abc import Mapping

from pdstudy.analysis.compare.comparison import Comparison, Effect, Verdict
from pdstudy.analysis.data.study_record import axis_title
from pdstudy.analysis.tables.builders import fixed, shared_places
from pdstudy.analysis.tables.table import Table, TableCell


def pairwise_table(comparisons: Mapping[str, Comparison], unit: str, caption: str = "", label: str = "") -> Table:
    """A row per arm, a column per arm compared with (name to comparison): row minus column, outer interval."""
    first = next(iter(comparisons.values()))
    found = {(against, (*e.stratum, e.arm)): e for against, c in comparisons.items() for e in c.effects}
    arms = list(dict.fromkeys(row for _, row in found))
    places = shared_places([(e.family_high - e.family_low) / 2 for e in found.values()])
    rows = tuple(
        (*map(str, arm), *(_make_cell(found.get((against, arm)), places) for against in comparisons)) for arm in arms
    )
    better = "below" if first.lower_is_better else "above"
    text = (
        f"Difference of {first.metric} ({unit}), row minus column, with its outer interval {first.parts()}: {better} "
        f"zero the row is better. Adjusted for {first.family} different comparisons (Holm, 5 %)."
    )
    heads = (*map(axis_title, first.within), "arm", *(f"minus {against}" for against in comparisons))
    return Table(heads, rows, f"{caption} {text}".strip(), label)


def _make_cell(effect: Effect | None, places: int) -> TableCell | str:
    if effect is None:
        return "–"
    if effect.verdict is Verdict.SAME:
        return effect.verdict.value
    middle, low, high = (
        fixed(v, places, signed=True) for v in (effect.difference, effect.family_low, effect.family_high)
    )
    text = middle if effect.verdict is Verdict.NO_SPREAD else f"{middle} [{low}, {high}]"
    return TableCell(text, effect.difference, noise=effect.verdict in (Verdict.WITHIN_NOISE, Verdict.EQUIVALENT))
