"""From groups of jobs to the arrays that sbatch takes: packed, cut to the site's array size, tied together. Pure."""

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
    """One sbatch call. Element i makes the jobs `elements[i]`, at the same time where they are several."""

    stage: str
    execution: Execution
    elements: tuple[tuple[Job, ...], ...]
    waits: frozenset[str]
    """Keys of jobs that must be done first."""
    after: frozenset[str] = frozenset()
    """Keys of jobs that must have ended first."""
    parallelism: int | None = None
    paired_with: str | None = None
    """SLURM's id of an array, for whose element i element i of this one waits."""

    @property
    def keys(self) -> list[list[str]]:
        return [[job.key for job in element] for element in self.elements]


def cut_group(group: Group, limits: Limits) -> Iterator[Array]:
    """A group's arrays, of equal size within one. Their parallelism adds up to the group's, with one each at least."""
    pack = group.execution.pack or 1
    elements = [group.jobs[i : i + pack] for i in range(0, len(group.jobs), pack)]
    # MaxArraySize bounds the index, which counts from 0.
    count = math.ceil(len(elements) / limits.array)
    shares = split_parallelism(group.execution.parallelism, count)
    for i in range(count):
        part = elements[i * len(elements) // count : (i + 1) * len(elements) // count]
        yield Array(group.stage, group.execution, tuple(part), group.waits, group.after, shares[i])


def cut_paired_group(group: Group, elements: Mapping[str, str]) -> Iterator[Array]:
    """The arrays of a group whose jobs wait for a need of their own each; `elements` maps a need to its array element.

    SLURM ties two arrays together by index: where the needs are no array's first elements, each job is sent alone.
    """
    by_array: dict[str, list[tuple[Job, str]]] = {}
    for job, need in zip(group.jobs, group.paired_needs, strict=True):
        by_array.setdefault(elements.get(need, "").partition("_")[0], []).append((job, need))
    shares = iter(split_parallelism(group.execution.parallelism, len(by_array)))
    for array, members in by_array.items():
        share = next(shares)
        first = [f"{array}_{i}" for i in range(len(members))]
        if len(members) > 1 and [elements.get(need) for _, need in members] == first:
            jobs, waits = tuple((job,) for job, _ in members), frozenset(need for _, need in members)
            yield Array(group.stage, group.execution, jobs, waits, parallelism=share, paired_with=array)
        else:
            yield from (Array(group.stage, group.execution, ((job,),), frozenset({need})) for job, need in members)


def split_parallelism(parallelism: int | None, count: int) -> list[int | None]:
    if parallelism is None:
        return [None] * count
    return [max(1, (parallelism * (i + 1)) // count - (parallelism * i) // count) for i in range(count)]


def format_dependency(kind: str, elements: Iterable[str], sizes: Mapping[str, int]) -> str:
    """sbatch's text for waiting for array elements; a whole array (of `sizes[id]` elements) is named by its id."""
    by_array: dict[str, set[str]] = {}
    for element in elements:
        by_array.setdefault(element.partition("_")[0], set()).add(element)
    names: list[str] = []
    for array, members in sorted(by_array.items()):
        names += [array] if len(members) == sizes.get(array) else sorted(members)
    return f"{kind}:{':'.join(names)}" if names else ""
