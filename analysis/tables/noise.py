"""Tables of a noise floor: how far equal runs differ, and the seeds that a difference needs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from pdstudy.analysis.compare.noise_floor import Noise, Spread
from pdstudy.analysis.tables.builders import fixed, number
from pdstudy.analysis.tables.table import Table, TableCell
from pdstudy.core.power import LEVEL, MOST_SEEDS, POWER, seeds_needed, smallest_effect

Floors = Mapping[tuple[object, ...], Noise]
"""By stratum."""


def noise_table(by_metric: Mapping[str, Floors], within: Sequence[str]) -> Table:
    """A row per stratum and metric: standard deviations of the difference between two equal runs by what differs."""
    rows: list[tuple[TableCell | str, ...]] = []
    for metric, floors in by_metric.items():
        for stratum, floor in floors.items():
            spreads = (floor.student, floor.teacher, floor.text, floor.paired)
            rows.append((
                *map(str, stratum), metric, *map(_make_cell, spreads),
                TableCell(fixed(floor.correlation, 2, signed=True), floor.correlation),
            ))  # fmt: skip
    heads = (*within, "metric", "student's seed", "teacher's seed", "text", "arm and baseline", "correlation")
    caption = (
        "Noise floor: standard deviation of the difference between two runs that are equal but for the student's seed "
        "(weights and order), the teacher's seed, or the text evaluated on; of the difference between an arm and its "
        "baseline at one seed, over seeds; and the correlation by seed of the two (above zero, pairing gains). In "
        "brackets degrees of freedom; a dash where no runs tell it."
    )
    return Table(heads, tuple(rows), caption)


def seeds_table(floors: Floors, within: Sequence[str], effects: Sequence[float], comparisons: int) -> Table:
    """A row per stratum and difference in loss: seeds that show it, alone and among all comparisons of the page."""
    rows: list[tuple[TableCell | str, ...]] = []
    for stratum, floor in floors.items():
        sd = floor.difference
        for effect in effects if sd > 0 else ():
            alone, among = (seeds_needed(effect, sd, m) for m in (1, max(1, comparisons)))
            shown = (TableCell(f"more than {MOST_SEEDS}" if n is None else str(n), n) for n in (alone, among))
            rows.append((*map(str, stratum), TableCell(f"{effect:g}", effect), *shown))
        for seeds in (3, 5, 8) if sd > 0 else ():
            least = [smallest_effect(sd, seeds, m) for m in (1, max(1, comparisons))]
            shown = (TableCell(number(e, 2), e) for e in least)
            rows.append((*map(str, stratum), f"smallest of {seeds} seeds", *shown))
    heads = (*within, "difference (nats/token)", "seeds, one comparison", f"seeds, {comparisons} comparisons")
    caption = (
        f"Seeds that show a difference in loss with a chance of {POWER:.0%} (paired t test at {LEVEL:.0%}, over all "
        "comparisons of the page by Holm's first step), and the smallest difference that so many seeds show. Of the "
        "text's part see above: more seeds do not lessen it, more test text does."
    )
    return Table(heads, tuple(rows), caption)


def _make_cell(spread: Spread) -> TableCell | str:
    return "–" if math.isnan(spread.sd) else TableCell(f"{number(spread.sd, 2)} ({spread.dof})", spread.sd)
