"""The answer of a search in sentences: what it found, whether fresh seeds confirm it, and whether its space was enough.

The trial that was best in the search stands for it: chosen before the fresh seeds were seen, it needs no correction for
the choice among those that were trained again. Verdicts and intervals are those of the page's comparisons."""

from __future__ import annotations

import math

import pandas as pd
from scipy import stats

from pdstudy.analysis.compare.comparison import Verdict
from pdstudy.analysis.data.study_record import axis_column
from pdstudy.analysis.data.trials_table import Dimension, Searched
from pdstudy.analysis.report.answer import ALWAYS, say_arm_against
from pdstudy.analysis.report.page import Answer, Block, Text
from pdstudy.analysis.report.study_outputs import Outputs
from pdstudy.analysis.tables.builders import fixed, number, places_for
from pdstudy.core.format import si

EDGE = 0.1
"""Share of a range from its end within which an optimum may lie beyond it."""

NEAR_BEST = 5
"""Best trials among which those as near to the same end are counted."""

SELECTED_ON = {"validation loss": "validation_loss", "recalibrated validation loss": "validation_recalibrated"}
"""Columns of `load_runs` that hold what a search's objective is, by the objective's name."""


def answer_search(searched: Searched, final: Outputs | None) -> list[Block]:
    """What the search found, its best trial beside the controls on each metric, and what became of its trials.

    `final` is the final comparison, finished or not; None where there is none."""
    blocks: list[Block] = []
    if len(searched.scored):
        best = searched.scored.sort_values(["value", "number"]).iloc[0]
        blocks.append(Answer("Found:", _say_trial(searched, best)))
        compared = _compare(final, _finalists(searched, final)) if final is not None else []
        blocks += compared
        if compared and final is not None:
            blocks += [Answer("Fresh seeds:", said)] if (said := _confirm(searched, final)) else []
        else:
            blocks.append(Text("This score has chosen the trial, which flatters it: no fresh seed confirms it yet."))
        blocks += [Answer("Range:", said)] if (said := _place_in_ranges(searched, best)) else []
    return [*blocks, Answer("Trials:", _count_trials(searched))]


def _say_trial(searched: Searched, trial: pd.Series) -> str:
    """A trial, its score and its settings; weights of a simplex before the fields."""
    loss, _, unit = searched.objective.partition(" (")
    first = f"trial {trial['number']:.0f} has the lowest {loss} of {len(searched.scored)} that were trained in full"
    first += " and keep the constraints" if len(searched.scored) < searched.trials["value"].notna().sum() else ""
    score = f"{number(trial['value'], 4)} {unit.rstrip(')')}".strip()
    there = [d for d in searched.dimensions if d.column in trial and not _absent(trial[d.column])]
    weights = [f"{trial[d.column]:.2f} {_plain(d)}" for d in there if d.kind == "weight"]
    fields = [f"{_plain(d)} {_say_value(trial[d.column])}" for d in there if d.kind != "weight"]
    settings = "; ".join(part for part in (", ".join(weights), ", ".join(fields)) if part)
    two = " Of two objectives the first is meant here." if len(searched.record["objectives"]) > 1 else ""
    return f"{first}, {score}: {settings}.{two}"


def _plain(dimension: Dimension) -> str:
    return dimension.label.removeprefix("weight of ")


def _absent(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _say_value(value: object) -> str:
    return number(float(value), 3) if isinstance(value, float) else str(value)


def _finalists(searched: Searched, final: Outputs | None) -> dict[str, float]:
    """Arms of the final comparison that are trials, with their score in the search, the best first."""
    if final is None:
        return {}
    arms = set(final.axes["arm"])
    rows = searched.scored.sort_values(["value", "number"])[["number", "value"]].to_numpy()
    return {name: float(value) for number, value in rows if (name := f"trial {number:.0f}") in arms}


def _compare(final: Outputs, finalists: dict[str, float]) -> list[Block]:
    """The best finalist beside every control: by loss and top-1, and by metrics whose verdicts differ."""
    found: list[Block] = []
    for split in dict.fromkeys(split for split, _ in final.comparisons.references):
        by_loss: list[Verdict] | None = None
        by_control = [final.comparisons.by_metric(split, a) for s, a in final.comparisons.references if s == split]
        for score in final.comparisons.measured(split):
            made = [comparisons[score] for comparisons in by_control if score in comparisons]
            every = {e.arm for comparison in made for e in comparison.effects}
            arm = next((a for a in finalists if a in every), None)
            if arm is None:
                continue
            effects = [e for comparison in made for e in comparison.effects if e.arm == arm]
            verdicts = [e.verdict for e in effects]
            by_loss = verdicts if by_loss is None else by_loss
            if score not in ALWAYS and verdicts == by_loss:
                continue
            said = say_arm_against(effects, final.comparisons.metrics[score].unit)
            if not found:
                said += (
                    f" Outer intervals: {made[0].level:.0%}, adjusted for {made[0].family} comparisons, "
                    f"{made[0].parts()}; {effects[0].seeds} seeds that the search has not seen."
                )
            found.append(Answer(f"{made[0].metric[:1].upper()}{made[0].metric[1:]}:", said))
    return found


def _confirm(searched: Searched, final: Outputs) -> str:
    """The search's score of its best trial beside that on fresh seeds, where both are of one text; else empty."""
    column = SELECTED_ON.get(searched.objective.partition(" (")[0])
    same_text = searched.record.get("validation") in {e["eval"] for e in final.record["evaluations"]}
    if column is None or not same_text or column not in final.trained:
        return ""
    finalists = _finalists(searched, final)
    fresh = {
        str(arm): values
        for arm, part in final.trained.groupby(axis_column("arm"), sort=False)
        if len(values := part[column].dropna()) and str(arm) in finalists
    }
    if not fresh:
        return ""
    arm = next(a for a in finalists if a in fresh)
    before, after = finalists[arm], fresh[arm]
    spread, count = float(after.std()), len(after)
    places = places_for(spread / math.sqrt(count)) if count > 1 else 3
    text = f"{arm}'s {searched.objective.partition(' (')[0]} of {fixed(before, places)} in the search is "
    text += f"{fixed(float(after.mean()), places)} on {count} fresh seed{'s' if count > 1 else ''}"
    if count > 1 and spread > 0:
        # Of a mean over the search's seeds that is drawn as the fresh ones are.
        error = spread * math.sqrt(1 / len(searched.record["seeds"]) + 1 / count)
        half = float(stats.t.ppf(0.975, count - 1)) * error
        lost = float(after.mean()) - before
        holds = abs(lost) <= half
        text += f", {fixed(abs(lost), places)} {'worse' if lost > 0 else 'better'}: "
        text += "no more than" if holds else "more than"
        text += f" seeds alone do (95 % within {fixed(half, places)})"
        text += "" if holds or lost < 0 else ", so the search chose it by luck in part"
    if len(fresh) > 1:
        means = {a: float(v.mean()) for a, v in fresh.items()}
        first = min(means, key=means.__getitem__)
        text += f". It {'stays' if first == arm else 'is not'} the best of the {len(means)} trials trained again"
        text += "" if first == arm else f": {first} has {fixed(means[first], places)}"
    return f"{text[:1].upper()}{text[1:]}."


def _place_in_ranges(searched: Searched, best: pd.Series) -> str:
    """How near the best trial lies to an end of a searched range; empty where no number was searched.

    Weights of a simplex are left out: nothing lies beyond 0 and 1."""
    ranged = {d: place for d in searched.dimensions if (place := _place(d, best)) is not None}
    if not ranged:
        return ""
    rows = searched.scored.sort_values(["value", "number"]).head(NEAR_BEST)
    said = []
    for dimension, place in ranged.items():
        if EDGE <= place <= 1 - EDGE:
            continue
        upper = place > 0.5
        near = [p for _, row in rows.iterrows() if (p := _place(dimension, row)) is not None]
        count = sum((p > 1 - EDGE) if upper else (p < EDGE) for p in near)
        low, high = _ends(dimension)
        end = f"the {'upper' if upper else 'lower'} end, {number(high if upper else low, 3)}"
        at = "is" if place in (0, 1) else "lies within a tenth of its range from"
        said.append(
            f"{_plain(dimension)} {_say_value(best[dimension.column])} {at} {end}, as in {count} of the best "
            f"{len(near)} trials: beyond it may lie a better one"
        )
    if said:
        return "; ".join(said)[:1].upper() + "; ".join(said)[1:] + "."
    nearest = min(ranged, key=lambda d: min(ranged[d], 1 - ranged[d]))
    share = min(ranged[nearest], 1 - ranged[nearest])
    every = " of each" if len(ranged) > 1 else ""
    text = f"the best trial lies inside the searched range{every}"
    text += f"; nearest to an end is its {_plain(nearest)}, {share:.0%} of the range away"
    return f"{text[:1].upper()}{text[1:]}."


def _ends(dimension: Dimension) -> tuple[float, float]:
    levels = _numeric_levels(dimension)
    return (min(levels), max(levels)) if levels else (dimension.low, dimension.high)


def _place(dimension: Dimension, trial: pd.Series) -> float | None:
    """Where in its range a trial's value lies, 0 to 1; None for what has no ends: weights, levels in words."""
    value = trial.get(dimension.column)
    low, high = _ends(dimension)
    if value is None or _absent(value) or low == high:
        return None
    if dimension.kind == "choice":
        return (float(value) - low) / (high - low) if _numeric_levels(dimension) else None
    if dimension.kind == "log":
        return math.log(value / low) / math.log(high / low)
    return (float(value) - low) / (high - low) if dimension.kind == "number" else None


def _numeric_levels(dimension: Dimension) -> list[float]:
    """The levels of a choice as numbers; empty unless all are, and three or more (of two each is an end)."""
    try:
        found = [float(level) for level in dimension.levels]
    except ValueError:
        return []
    return found if len(found) > 2 else []


def _count_trials(searched: Searched) -> str:
    trials, wanted = searched.trials, searched.record["wanted"]
    own = trials[trials["state"] != "reused"]
    if not len(own):
        return f"none of {wanted} has begun."
    pruned = own[own["state"] == "pruned"]
    at_rung = int(pruned["reason"].str.startswith("rung").sum())
    counts = {
        "trained in full": int((own["state"] == "complete").sum()),
        "pruned at a rung": at_rung,
        "diverged": len(pruned) - at_rung,
        "failed": int((own["state"] == "fail").sum()),
        "under way": int((own["state"] == "running").sum()),
        "beyond a constraint": int((own["value"].notna() & ~own["within"].astype(bool)).sum()),
    }
    said = ", ".join(f"{n} {what}" for what, n in counts.items() if n or what == "diverged")
    reused = int((trials["state"] == "reused").sum())
    text = f"{len(own)} of {wanted}: {said}"
    text += f"; beside them {reused} finished run{'s' if reused > 1 else ''} of the workspace" if reused else ""
    spent, full = float(own["flops"].sum()), float(own["full_flops"].sum())
    if spent and full:
        text += f". {si(spent)} FLOPs, {spent / full:.0%} of the same trials all in full"
    return f"{text}."
