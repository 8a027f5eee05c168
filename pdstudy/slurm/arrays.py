"""From groups to the arrays that sbatch takes: packed, cut to the site's array size, tied together. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from pdstudy.execution import Execution
from pdstudy.slurm.queue import Limits
from pdstudy.slurm.reconcile import Group
from pdstudy.slurm.units import Unit


@dataclass(frozen=True)
class Array:
    """One sbatch call. Element i makes the units `elements[i]`, at the same time where they are several."""

    stage: str
    execution: Execution
    elements: tuple[tuple[Unit, ...], ...]
    waits: frozenset[str]
    after: frozenset[str] = frozenset()
    parallelism: int | None = None

    @property
    def keys(self) -> list[list[str]]:
        return [[unit.key for unit in element] for element in self.elements]


def arrays_of(group: Group, limits: Limits) -> Iterator[Array]:
    """A group's arrays, of equal size within one. Their parallelism adds up to the group's, with one each at least."""
    pack = group.execution.pack or 1
    elements = [group.units[i : i + pack] for i in range(0, len(group.units), pack)]
    # MaxArraySize bounds the index, which counts from 0.
    count = math.ceil(len(elements) / limits.array)
    shares = split(group.execution.parallelism, count)
    for i in range(count):
        part = elements[i * len(elements) // count : (i + 1) * len(elements) // count]
        yield Array(group.stage, group.execution, tuple(part), group.waits, group.after, shares[i])


def split(parallelism: int | None, count: int) -> list[int | None]:
    if parallelism is None:
        return [None] * count
    return [max(1, (parallelism * (i + 1)) // count - (parallelism * i) // count) for i in range(count)]


def dependency(kind: str, elements: Iterable[str], sizes: Mapping[str, int]) -> str:
    """sbatch's text for waiting for job elements; a whole array (of `sizes[job]` elements) is named by its job."""
    by_job: dict[str, set[str]] = {}
    for element in elements:
        by_job.setdefault(element.partition("_")[0], set()).add(element)
    names: list[str] = []
    for job, members in sorted(by_job.items()):
        names += [job] if len(members) == sizes.get(job) else sorted(members)
    return f"{kind}:{':'.join(names)}" if names else ""
