"""Which stretches of a stream a logit store must hold, and whether it does. Reads names of files alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pdstudy.config import Run
from pdstudy.coverage import Coverage, StoreSpec


@dataclass(frozen=True)
class StoreNeed:
    """One capture: sequences of one split that a store must hold at a coverage."""

    spec: StoreSpec
    coverage: Coverage
    sequences: range


def spec_of(run: Run) -> StoreSpec | None:
    """Whose distributions over which stream a run reads from a store."""
    if run.teacher is None or run.is_live:
        return None
    return StoreSpec(corpus=run.corpus, view=run.view, split="train", teacher=run.teacher)


def merged(ranges: Iterable[tuple[int, int]]) -> list[range]:
    """The ranges, those that touch or overlap as one: what lies between others may be a teacher's own text."""
    out: list[range] = []
    for start, stop in sorted(ranges):
        if out and start <= out[-1].stop:
            out[-1] = range(out[-1].start, max(stop, out[-1].stop))
        else:
            out.append(range(start, stop))
    return out


def inside(part: range, whole: range) -> bool:
    return whole.start <= part.start and part.stop <= whole.stop


def holds(store: Any, sequences: range) -> bool:
    """True where the shards of a store together cover `sequences`."""
    at = sequences.start
    for sidecar in sorted(store.glob("shard-*.json")):
        first, stop = (int(n) for n in sidecar.stem.split("-")[1:3])
        if first <= at < stop:
            at = stop
    return at >= sequences.stop
