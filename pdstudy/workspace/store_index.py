"""Ranges of sequences that a logit store holds or lacks, read from the names of its shards alone."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path


def merged_ranges(ranges: Iterable[tuple[int, int]]) -> list[range]:
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


def stored_ranges(store: Path) -> list[tuple[int, int]]:
    """The first sequence of each complete shard of a store, and the one after its last; by the first."""
    names = (re.fullmatch(r"shard-(\d+)-(\d+)", path.stem) for path in store.glob("shard-*.json"))
    return sorted((int(name[1]), int(name[2])) for name in names if name)


def missing_ranges(store: Path, sequences: range) -> list[range]:
    """The parts of `sequences` that no shard of a store holds."""
    out: list[range] = []
    at = sequences.start
    for first, stop in stored_ranges(store):
        if at < first:
            out.append(range(at, min(first, sequences.stop)))
        at = max(at, stop)
        if at >= sequences.stop:
            break
    if at < sequences.stop:
        out.append(range(at, sequences.stop))
    return out


def holds(store: Path, sequences: range) -> bool:
    """True where the shards of a store together cover `sequences`."""
    return not missing_ranges(store, sequences)
