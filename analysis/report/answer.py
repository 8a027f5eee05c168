"""The answer of a study in sentences: which arms are better than the baseline or worse, by how much, on which metric.

Made of the page's comparisons alone, so that it says no more than they do: verdicts and outer intervals count all
comparisons of the page on the metric."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pdstudy.analysis.compare.comparison import Comparison, Effect, Verdict
from pdstudy.analysis.data.study_record import axis_title
from pdstudy.analysis.report.arm_comparison import ArmComparisons
from pdstudy.analysis.report.page import Answer
from pdstudy.analysis.tables.builders import number

ALWAYS = ("loss", "accuracy", "tasks")
"""Metrics whose verdicts are said always; others where they differ from those by loss."""

MOST_NAMED = 4
"""Most arms or places that a sentence names."""

PHRASES = {
    Verdict.WORSE: "worse than",
    Verdict.BETTER: "better than",
    Verdict.WITHIN_NOISE: "within noise of",
    Verdict.EQUIVALENT: "equivalent to",
    Verdict.SAME: "the same computation as",
    Verdict.NO_SPREAD: "without an interval beside",
}


def answer(comparisons: ArmComparisons) -> list[Answer]:
    """A sentence for each metric and each arm that others are compared with; empty where nothing is compared yet."""
    found = []
    for split, against in comparisons.references:
        by_metric = comparisons.by_metric(split, against)
        first = _verdicts(by_metric["loss"]) if "loss" in by_metric else {}
        for score, comparison in by_metric.items():
            if score in ALWAYS or _verdicts(comparison) != first:
                unit = comparisons.metrics[score].unit
                lead = f"{comparison.metric[:1].upper()}{comparison.metric[1:]}:"
                found.append(Answer(lead, say_comparison(comparison, unit)))
    return found


def say_arm_against(effects: Sequence[Effect], unit: str) -> str:
    """One arm beside each of several others, in one sentence."""
    parts = [f"{PHRASES[e.verdict]} {_quoted(e.baseline)}{_by(e.verdict, [e], unit)}" for e in effects]
    return f"{_quoted(effects[0].arm)} is {'; '.join(parts)}."


def _verdicts(comparison: Comparison) -> dict[tuple[object, ...], Verdict]:
    return {(*e.stratum, e.arm): e.verdict for e in comparison.effects}


def say_comparison(comparison: Comparison, unit: str) -> str:
    """A comparison in one sentence per arm, or per verdict where it has no strata or more arms than can be named."""
    by_arm: dict[str, list[Effect]] = {}
    for effect in comparison.effects:
        by_arm.setdefault(effect.arm, []).append(effect)
    reference = _quoted(comparison.effects[0].baseline)
    if comparison.within and len(by_arm) <= MOST_NAMED:
        places = ", ".join(map(axis_title, comparison.within))
        return " ".join(_say_arm(arm, effects, reference, places, unit) for arm, effects in by_arm.items())
    return _say_arms(comparison.effects, reference, unit)


def _group(effects: Sequence[Effect]) -> dict[Verdict, list[Effect]]:
    """By verdict, the worse first: they are news."""
    return {v: [e for e in effects if e.verdict is v] for v in PHRASES if any(e.verdict is v for e in effects)}


def _say_arm(arm: str, effects: Sequence[Effect], reference: str, places: str, unit: str) -> str:
    groups = _group(effects)
    parts = []
    for verdict, part in groups.items():
        every = f"all {len(part)} levels of {places}" if len(part) > 1 else _place(part[0])
        named = f"at {every}" if len(groups) == 1 else f"at {_name_some([_place(e) for e in part])}"
        parts.append(f"{PHRASES[verdict]} {reference} {named}{_by(verdict, part, unit)}")
    said = f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else parts[0]
    return f"{_quoted(arm)} is {said}."


def _say_arms(effects: Sequence[Effect], reference: str, unit: str) -> str:
    groups = _group(effects)
    parts = []
    for verdict, part in groups.items():
        names = [f"{_place(e)} {e.arm}".strip() for e in sorted(part, key=lambda e: -abs(e.difference))]
        of = f"{len(part)} of {len(effects)} arms: " if len(effects) > MOST_NAMED else ""
        parts.append(f"{PHRASES[verdict]} {reference}: {of}{_name_some(names)}{_by(verdict, part, unit)}")
    text = "; ".join(parts) + "."
    return text[:1].upper() + text[1:]


def _place(effect: Effect) -> str:
    return " ".join(map(str, effect.stratum))


def _quoted(label: str) -> str:
    """A label in quotes where its own commas would read as those of the sentence."""
    return f'"{label}"' if "," in label else label


def _name_some(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(map(_quoted, names[:MOST_NAMED])) + (f" and {more} more" if more > 0 else "")


def _by(verdict: Verdict, effects: Sequence[Effect], unit: str) -> str:
    """How far these arms are from the baseline, with the ends of their outer intervals."""
    if verdict is Verdict.SAME:
        return ""
    if verdict not in (Verdict.BETTER, Verdict.WORSE):
        said = f"{_range([e.difference for e in effects], signed=True)} {unit}"
        (first, *more) = effects
        if not more and not math.isnan(first.family_low):
            low, high = (number(v, 2, signed=True) for v in (first.family_low, first.family_high))
            said += f", outer interval {low} to {high}"
        return f" ({said})"
    sizes = [abs(e.difference) for e in effects]
    lows = [min(abs(e.family_low), abs(e.family_high)) for e in effects]
    highs = [max(abs(e.family_low), abs(e.family_high)) for e in effects]
    if any(map(math.isnan, lows)):
        return f", by {_range(sizes)} {unit}"
    outer = f"outer interval{'s within' if len(effects) > 1 else ''} {number(min(lows), 2)} to {number(max(highs), 2)}"
    return f", by {_range(sizes)} {unit} ({outer})"


def _range(values: Sequence[float], *, signed: bool = False) -> str:
    low, high = (number(v, 2, signed=signed) for v in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"
