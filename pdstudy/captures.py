"""Which stretches of a stream a logit store must hold, and whether it does. Reads names of files alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pdstudy.config import Pretrained, Run, normal_form
from pdstudy.coverage import Coverage, StoreSpec
from pdstudy.data import Corpus, Slice, View
from pdstudy.normal import Problem, declared
from pdstudy.objective import TopPK


@declared
class Capture:
    """Distributions of a teacher that a study wants for themselves: what is kept of them is reported, nobody trains.

    `data` may be held-out text, which no student's store shares; start and length are multiples of the context.
    """

    teacher: Run | Pretrained
    corpus: Corpus
    view: View
    data: Slice
    truncation: TopPK

    def check(self) -> Iterator[Problem]:
        for name in ("start", "tokens"):
            if getattr(self.data, name) % self.view.context:
                allowed = f"a multiple of the context, {self.view.context}"
                yield Problem(f"data.{name}", getattr(self.data, name), allowed)
        if self.view.documents == "respect":
            yield Problem("view.documents", "respect", "'cross': the teacher's pass attends across documents")
        if isinstance(self.teacher, Run) and self.teacher.data.overlaps(self.data):
            yield Problem("data", f"[{self.data.start}, {self.data.stop})", "text that the teacher has not seen")

    @property
    def spec(self) -> StoreSpec:
        teacher = normal_form(self.teacher) if isinstance(self.teacher, Run) else self.teacher
        return StoreSpec(corpus=self.corpus, view=self.view, split=self.data.split, teacher=teacher)

    @property
    def coverage(self) -> Coverage:
        return Coverage(p=self.truncation.p, k=self.truncation.k)


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


def held(store: Path) -> list[tuple[int, int]]:
    """The first sequence of each complete shard of a store, and the one after its last; by the first."""
    names = (re.fullmatch(r"shard-(\d+)-(\d+)", path.stem) for path in store.glob("shard-*.json"))
    return sorted((int(name[1]), int(name[2])) for name in names if name)


def lacking(store: Path, sequences: range) -> list[range]:
    """The parts of `sequences` that no shard of a store holds."""
    out: list[range] = []
    at = sequences.start
    for first, stop in held(store):
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
    return not lacking(store, sequences)
