"""The smallest things that are sent to the cluster: a plan's items, a capture cut into slices, and the report."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pdstudy.config.logits import StoreNeed, StoreSpec
from pdstudy.config.placement import Execution, misfit, resolve, warning_exceeds_limit
from pdstudy.config.run import Run
from pdstudy.core.errors import ConfigError
from pdstudy.core.validation import Problem
from pdstudy.launch.task import Task, make_task
from pdstudy.plan.cost import sizes
from pdstudy.plan.plan import Artifact, Plan
from pdstudy.workspace.layout import Workspace
from pdstudy.workspace.store_index import holds

SLICE_TOKENS = 65_536
"""Slices of a capture end where its shards do (`pdstudy.distill.teacher.capture.SHARD_TOKENS`), so that both ways of
making a store write the same shards."""


@dataclass(frozen=True)
class Job:
    """One thing to make in one job. `needs` are keys of units that must be done, `after` of those whose end it waits
    for, whatever it is; done ones may be left out."""

    key: str
    stage: str
    execution: Execution
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    done: bool = False
    flops: float = 0.0
    label: str = ""
    item: str = ""
    """The key of the plan's item that this is (a part of)."""
    sequences: tuple[int, int] | None = None


def file_name(key: str) -> str:
    """A unit's key as one name in a folder."""
    return key.replace("/", "~")


def jobs_of(plan: Plan, rules: Sequence[Execution], workspace: Workspace) -> list[Job]:
    """The units of a plan, in an order in which they can be made. Raises `ConfigError` with every misfit at once."""
    units: list[Job] = []
    parts: dict[str, tuple[str, ...]] = {}
    wrong: dict[str, Problem] = {}
    for item in plan.items:
        execution = resolve(rules, _stage(item), _parameters(item))
        needs = tuple(part for need in item.needs for part in parts[need])
        made: list[Job]
        if isinstance(item.subject, StoreNeed):
            made = _slices(item, item.subject, execution, needs, workspace)
        else:
            key = f"{item.kind}/{item.key}"
            after = tuple(f"{item.kind}/{key}" for key in item.after)
            made = [Job(key, _stage(item), execution, needs, after, item.done, item.flops, item.label, item.key)]
        if not item.done:
            found = list(warning_exceeds_limit(execution))
            if isinstance(item.subject, Run):
                found += misfit(execution, sequences_per_step=item.subject.sequences_per_step)
            for problem in found:
                wrong.setdefault(str(problem), dataclasses.replace(problem, hint=f"{item.kind} {item.label}"))
        units += made
        parts[item.key] = tuple(u.key for u in made)
    if wrong:
        lines = "\n".join(f"  {p}" for p in wrong.values())
        raise ConfigError(f"the executions do not fit the study:\n{lines}")
    return units


def _stage(item: Artifact) -> str:
    return "evaluate" if item.state == "evaluate" else item.kind


def _parameters(item: Artifact) -> float:
    subject = item.subject
    if isinstance(subject, StoreNeed):
        subject = subject.spec.teacher if isinstance(subject.spec.teacher, Run) else subject.spec.corpus
    return sizes(subject)[0] if isinstance(subject, Run) else 0.0


def _slices(
    item: Artifact, need: StoreNeed, execution: Execution, needs: tuple[str, ...], workspace: Workspace
) -> list[Job]:
    """A capture in `execution.slices` parts (fewer where there are fewer shards)."""
    shard = max(1, SLICE_TOKENS // need.spec.view.context)
    first, stop = need.sequences.start, need.sequences.stop
    bounds = [first, *range((first // shard + 1) * shard, stop, shard), stop]
    shards, count = len(bounds) - 1, execution.slices or 1
    count = min(count, shards)
    edges = [bounds[i * shards // count] for i in range(count)] + [stop]
    folder = workspace.store(need.spec, need.coverage)
    made = []
    for a, b in itertools.pairwise(edges):
        share = item.flops * (b - a) / max(1, stop - first)
        label = item.label if count == 1 else f"{item.label}, sequences {a} to {b - 1}"
        done = item.done or (count > 1 and holds(folder, range(a, b)))
        key = f"logits/{item.key}" if count == 1 else f"logits/{item.key}/{a}-{b}"
        made.append(Job(key, "logits", execution, needs, (), done, share, label, item.key, (a, b)))
    return made


def report_job(study: str, rules: Sequence[Execution]) -> Job:
    return Job(f"report/{study}", "report", resolve(rules, "report", 0.0), label=study)


def task_of(plan: Plan, unit: Job, item: Artifact, workspace: Workspace) -> Task:
    """What a job is told to make: the item's task, cut to the unit's slice, on the unit's ranks."""
    task = make_task(plan, item, workspace)
    changes: dict[str, Any] = {"placement": dataclasses.replace(task.placement, replicas=unit.execution.replicas or 1)}
    if isinstance(task.subject, StoreSpec):
        changes["sequences"] = unit.sequences
    return dataclasses.replace(task, **changes)
