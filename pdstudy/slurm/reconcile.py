"""The decision of a submit: (jobs, histories) -> which to send, after which others, and which stay behind, and why.

Pure. Never sent: what is done, what has a living job, what failed for a reason that trying again does not mend (until
the user asks), and what needs something that is neither done nor on its way.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from graphlib import TopologicalSorter

from pdstudy.config.placement import Execution
from pdstudy.slurm.job import Job
from pdstudy.slurm.outcomes import NO_HISTORY, JobHistory

BUDGETS: Mapping[str, int | None] = {
    "preempted": None, "node": None, "signal": None, "cancelled": None, "dependency": None, "claimed": None,
    "killed": 5, "lost": 5, "exception": 0, "oom": 0,
}  # fmt: skip
"""How many endings by a cause a submit answers by sending again; None: any number. `time` has the execution's own."""


@dataclass(frozen=True)
class Group:
    """Jobs of one stage that ask for the same and wait for the same: one array, or several where it is too long."""

    stage: str
    execution: Execution
    jobs: tuple[Job, ...]
    waits: frozenset[str]
    """Keys of jobs that must be done first, each of which is live or sent by an earlier group."""
    after: frozenset[str] = frozenset()
    """Keys of jobs, likewise, that must have ended first, well or badly."""
    paired_needs: tuple[str, ...] = ()
    """The one need of each of `jobs`, in their order, where each waits for its own. All are of one earlier group."""


@dataclass(frozen=True)
class Decision:
    groups: tuple[Group, ...] = ()
    live: Mapping[str, str] = field(default_factory=dict)
    """Job key to array element."""
    stay: Mapping[str, str] = field(default_factory=dict)
    """Job key to the cause that a submit does not mend by itself (`--retry` does)."""
    blocked: Mapping[str, str] = field(default_factory=dict)
    """Job key to the key of a need that is neither done nor on its way."""


def decide(jobs: Sequence[Job], histories: Mapping[str, JobHistory], among: Collection[str] | None = None) -> Decision:
    """The decision over `jobs`, which come in an order in which they can be made; a need that is not among them counts
    as done. `among`: send nothing but these."""
    pending = {job.key: job for job in jobs if not job.done}
    live: dict[str, str] = {}
    stay: dict[str, str] = {}
    blocked: dict[str, str] = {}
    groups: dict[tuple[str, Execution, frozenset[str], int], list[Job]] = {}
    # How many jobs wait for each other, one after the other, before this one. Those of one level wait for none of
    # each other, and so can be one array.
    level: dict[str, int] = {}
    # Students by the thousand share a few sets of needs.
    waits_of: dict[tuple[str, ...], frozenset[str]] = {}
    for job in pending.values():
        history = histories.get(job.key, NO_HISTORY)
        if history.element is not None:
            live[job.key] = history.element
            continue
        if not should_retry(history, job.execution):
            stay[job.key] = str(history.cause)
            continue
        if among is not None and job.key not in among:
            stay[job.key] = "not requested"
            continue
        missing = next((n for n in job.needs if n in stay or n in blocked), None)
        if missing is not None:
            blocked[job.key] = missing
            continue
        if job.needs not in waits_of:
            waits_of[job.needs] = _drop_implied(job.needs, pending)
        before = [level.get(key, 1) for key in (*job.needs, *job.after) if key in live or key in level]
        level[job.key] = 1 + max(before, default=0)
        groups.setdefault((job.stage, job.execution, waits_of[job.needs], level[job.key]), []).append(job)
    # First what others need, one other before many, then the longest: so chains begin early, and what waits for each of
    # an array's first elements can be an array, too (`_pair_groups`).
    needed = Counter(key for job in pending.values() for key in job.needs)
    made = [
        Group(
            stage,
            execution,
            tuple(sorted(members, key=lambda job: (needed[job.key] or math.inf, -job.flops))),
            waits,
            frozenset(key for job in members for key in job.after if key in live or key in level),
        )
        for (stage, execution, waits, _), members in groups.items()
    ]
    return Decision(groups=tuple(_order_groups(_pair_groups(made))), live=live, stay=stay, blocked=blocked)


def should_retry(history: JobHistory, execution: Execution) -> bool:
    """Whether sending a job again is in order after how its attempts ended."""
    if history.cause is None:
        return True
    budget = execution.time_limits if history.cause == "time" else BUDGETS.get(history.cause, 0)
    if history.cause in ("done", "diverged"):
        return True  # and yet it is not done: its files were taken away
    return budget is None or history.causes.get(history.cause, 0) <= budget


def _pair_groups(groups: Sequence[Group]) -> list[Group]:
    """The groups, with those of one job that wait each for one job of the same earlier group made one: the tasks of a
    thousand models are one array, of which each element waits for its own model."""
    own = {job.key: group for group in groups for job in group.jobs}
    names: dict[str, Hashable] = {}

    def name(group: Group) -> Hashable:
        """A value that is the same for groups that become one."""
        first = group.jobs[0].key
        if first not in names:
            need = next(iter(group.waits)) if len(group.waits) == 1 else ""
            alone = len(group.jobs) == 1 and not group.after and group.execution.pack == 1
            names[first] = (group.stage, group.execution, name(own[need])) if alone and need in own else first
        return names[first]

    alike: dict[Hashable, list[Group]] = {}
    for group in groups:
        alike.setdefault(name(group), []).append(group)
    place: dict[str, int] = {}

    def position(group: Group) -> int:
        return place[next(iter(group.waits))]

    made = []
    for members in alike.values():
        group = members[0]
        if len(members) > 1:
            members.sort(key=position)
            needs = tuple(next(iter(g.waits)) for g in members)
            group = replace(group, jobs=tuple(g.jobs[0] for g in members), waits=frozenset(needs), paired_needs=needs)
        place |= {job.key: i for i, job in enumerate(group.jobs)}
        made.append(group)
    return made


def _order_groups(groups: Sequence[Group]) -> Iterator[Group]:
    """The groups as they are given, but each behind all that it waits for: what comes first in a plan is sent first,
    which counts where a site takes only so many jobs."""
    of = {job.key: i for i, group in enumerate(groups) for job in group.jobs}
    sorter = TopologicalSorter(
        {i: {of[key] for key in group.waits | group.after if key in of} for i, group in enumerate(groups)}
    )
    sorter.prepare()
    ready: list[int] = []
    while sorter.is_active():
        for i in sorter.get_ready():
            heapq.heappush(ready, i)
        first = heapq.heappop(ready)
        yield groups[first]
        sorter.done(first)


def _drop_implied(needs: Iterable[str], pending: Mapping[str, Job]) -> frozenset[str]:
    """The needs that are not done, without those that another of them waits for anyway."""
    open_ones = {n for n in needs if n in pending}
    implied = {n for need in open_ones for n in pending[need].needs}
    return frozenset(open_ones - implied)
