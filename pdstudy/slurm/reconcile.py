"""What to do, from what is: (units, facts) -> what to send, after what, and what stays behind and why. Pure.

Never sent: what is done, what has a living job, what failed for a reason that trying again does not mend (until the
user asks), and what needs something that is neither done nor on its way.
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
from pdstudy.slurm.outcomes import NOTHING, JobHistory

BUDGETS: Mapping[str, int | None] = {
    "preempted": None, "node": None, "signal": None, "cancelled": None, "dependency": None, "claimed": None,
    "killed": 5, "lost": 5, "exception": 0, "oom": 0,
}  # fmt: skip
"""How many ends of a cause a submit mends by sending again; None: any number. `time` has the execution's own."""


@dataclass(frozen=True)
class Group:
    """Units of one stage that ask for the same and wait for the same: one array, or several where it is too long."""

    stage: str
    execution: Execution
    units: tuple[Job, ...]
    waits: frozenset[str]
    """Keys of units that must be done first, each of which is live or sent by an earlier group."""
    after: frozenset[str] = frozenset()
    """Keys of units, likewise, whose end is waited for, good or bad."""
    each: tuple[str, ...] = ()
    """Where each of `units` waits for a need of its own: which, in their order. All are of one earlier group."""


@dataclass(frozen=True)
class Decision:
    groups: tuple[Group, ...] = ()
    live: Mapping[str, str] = field(default_factory=dict)
    """Unit key to job element."""
    stay: Mapping[str, str] = field(default_factory=dict)
    """Unit key to the cause that a submit does not mend by itself (`--retry` does)."""
    blocked: Mapping[str, str] = field(default_factory=dict)
    """Unit key to the key of a need that is neither done nor on its way."""


def decide(units: Sequence[Job], facts: Mapping[str, JobHistory], among: Collection[str] | None = None) -> Decision:
    """`units` in an order in which they can be made; a need that is not among them counts as done.

    `among`: send nothing but these.
    """
    pending = {u.key: u for u in units if not u.done}
    live: dict[str, str] = {}
    stay: dict[str, str] = {}
    blocked: dict[str, str] = {}
    groups: dict[tuple[str, Execution, frozenset[str], int], list[Job]] = {}
    # How many units wait for each other, one after the other, before this one. Those of one level wait for none of
    # each other, and so can be one array.
    level: dict[str, int] = {}
    # Students by the thousand share a few sets of needs.
    waits_of: dict[tuple[str, ...], frozenset[str]] = {}
    for unit in pending.values():
        fact = facts.get(unit.key, NOTHING)
        if fact.element is not None:
            live[unit.key] = fact.element
            continue
        if not should_retry(fact, unit.execution):
            stay[unit.key] = str(fact.cause)
            continue
        if among is not None and unit.key not in among:
            stay[unit.key] = "not asked for"
            continue
        missing = next((n for n in unit.needs if n in stay or n in blocked), None)
        if missing is not None:
            blocked[unit.key] = missing
            continue
        if unit.needs not in waits_of:
            waits_of[unit.needs] = _direct(unit.needs, pending)
        before = [level.get(key, 1) for key in (*unit.needs, *unit.after) if key in live or key in level]
        level[unit.key] = 1 + max(before, default=0)
        groups.setdefault((unit.stage, unit.execution, waits_of[unit.needs], level[unit.key]), []).append(unit)
    # First what others need, one other before many, then the longest: so chains begin early, and what waits for each of
    # an array's first elements can be an array, too (`_paired`).
    needed = Counter(key for unit in pending.values() for key in unit.needs)
    made = [
        Group(
            stage,
            execution,
            tuple(sorted(members, key=lambda u: (needed[u.key] or math.inf, -u.flops))),
            waits,
            frozenset(key for u in members for key in u.after if key in live or key in level),
        )
        for (stage, execution, waits, _), members in groups.items()
    ]
    return Decision(
        groups=tuple(_sendable(_paired(made))),
        live=live,
        stay=stay,
        blocked=blocked,
    )


def should_retry(fact: JobHistory, execution: Execution) -> bool:
    """Whether sending a unit again is in order after how its attempts ended."""
    if fact.cause is None:
        return True
    budget = execution.time_limits if fact.cause == "time" else BUDGETS.get(fact.cause, 0)
    if fact.cause in ("done", "diverged"):
        return True  # and yet it is not done: its files were taken away
    return budget is None or fact.causes.get(fact.cause, 0) <= budget


def _paired(groups: Sequence[Group]) -> list[Group]:
    """The groups, with those of one unit that wait each for one unit of the same earlier group made one: the tasks of a
    thousand models are one array, of which each element waits for its own model."""
    own = {unit.key: group for group in groups for unit in group.units}
    names: dict[str, Hashable] = {}

    def name(group: Group) -> Hashable:
        """What is the same for groups that become one."""
        first = group.units[0].key
        if first not in names:
            need = next(iter(group.waits)) if len(group.waits) == 1 else ""
            alone = len(group.units) == 1 and not group.after and group.execution.pack == 1
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
            group = replace(group, units=tuple(g.units[0] for g in members), waits=frozenset(needs), each=needs)
        place |= {unit.key: i for i, unit in enumerate(group.units)}
        made.append(group)
    return made


def _sendable(groups: Sequence[Group]) -> Iterator[Group]:
    """The groups as they are given, but each behind all that it waits for: what comes first in a plan is sent first,
    which counts where a site takes only so many jobs."""
    of = {unit.key: i for i, group in enumerate(groups) for unit in group.units}
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


def _direct(needs: Iterable[str], pending: Mapping[str, Job]) -> frozenset[str]:
    """The needs that are not done, without those that another of them waits for anyway."""
    open_ones = {n for n in needs if n in pending}
    implied = {n for need in open_ones for n in pending[need].needs}
    return frozenset(open_ones - implied)
