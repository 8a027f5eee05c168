"""From groups to the arrays that sbatch takes: packed, cut to the site's array size, tied together. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from pdstudy.config.placement import Execution
from pdstudy.slurm.job import Job
from pdstudy.slurm.reconcile import Group
from pdstudy.slurm.scheduler import Limits


@dataclass(frozen=True)
class Array:
    """One sbatch call. Element i makes the units `elements[i]`, at the same time where they are several."""

    stage: str
    execution: Execution
    elements: tuple[tuple[Job, ...], ...]
    waits: frozenset[str]
    after: frozenset[str] = frozenset()
    parallelism: int | None = None
    beside: str | None = None
    """A job, of which element i is what element i of this array waits for."""

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


def arrays_of_each(group: Group, elements: Mapping[str, str]) -> Iterator[Array]:
    """The arrays of a group whose units wait for a need of their own each, which `elements` says the job of. SLURM ties
    two arrays together by index: where the needs are no array's first elements, each unit is sent alone."""
    by_job: dict[str, list[tuple[Job, str]]] = {}
    for unit, need in zip(group.units, group.each, strict=True):
        by_job.setdefault(elements.get(need, "").partition("_")[0], []).append((unit, need))
    shares = iter(split(group.execution.parallelism, len(by_job)))
    for job, members in by_job.items():
        share = next(shares)
        waits = frozenset(need for _, need in members)
        if len(members) > 1 and [elements.get(need) for _, need in members] == [
            f"{job}_{i}" for i in range(len(members))
        ]:
            yield Array(
                group.stage, group.execution, tuple((u,) for u, _ in members), waits, parallelism=share, beside=job
            )
        else:
            yield from (Array(group.stage, group.execution, ((u,),), frozenset({n})) for u, n in members)


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
