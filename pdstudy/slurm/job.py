"""Jobs: the smallest things that are sent to the cluster. A plan's artifacts, a capture cut into slices, and the
report."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pdstudy.config.placement import TRAINING, Execution, Machine, misfit, resolve, warning_exceeds_limit
from pdstudy.core.errors import ConfigError
from pdstudy.core.validation import Problem
from pdstudy.launch.work_order import CaptureJob, WorkOrder, make_order, replicated
from pdstudy.plan.artifact import Artifact, RunArtifact, StoreArtifact
from pdstudy.plan.plan import Plan
from pdstudy.workspace.layout import Workspace
from pdstudy.workspace.store_index import holds

SLICE_TOKENS = 65_536
"""Tokens to which the ends of a capture's slices are rounded: those of its shards
(`pdstudy.distill.teacher.capture.SHARD_TOKENS`), so that slices write the shards that one capture would write."""


@dataclass(frozen=True)
class Job:
    """One artifact, or one slice of a capture, to be made by one element of an array.

    `needs` are keys of jobs that must be done first, `after` of those that must have ended, well or badly; done ones
    may be left out.
    """

    key: str
    stage: str
    execution: Execution
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    done: bool = False
    flops: float = 0.0
    label: str = ""
    artifact: str = ""
    """The key of the plan's artifact that this is (a slice of)."""
    sequences: tuple[int, int] | None = None


def escape_key(key: str) -> str:
    """A job's key as one name in a folder."""
    return key.replace("/", "~")


def make_jobs(plan: Plan, rules: Sequence[Execution], workspace: Workspace) -> list[Job]:
    """The jobs of a plan, in an order in which they can be made. Raises `ConfigError` with every misfit at once."""
    jobs: list[Job] = []
    keys_of_artifact: dict[str, tuple[str, ...]] = {}
    wrong: dict[str, Problem] = {}
    for artifact in plan.artifacts:
        execution = resolve(rules, artifact.stage, artifact.parameters)
        needs = tuple(key for need in artifact.needs for key in keys_of_artifact[need])
        made: list[Job]
        if isinstance(artifact, StoreArtifact):
            made = _cut_capture(artifact, execution, needs, workspace)
        else:
            after = tuple(f"{artifact.kind}/{key}" for key in artifact.after)
            made = [
                Job(artifact.id, artifact.stage, execution, needs, after, artifact.done, artifact.flops, artifact.label,
                    artifact.key)
            ]  # fmt: skip
        if not artifact.done:
            found = list(warning_exceeds_limit(execution))
            if isinstance(artifact, RunArtifact):
                found += misfit(execution, sequences_per_step=artifact.run.sequences_per_step)
            for problem in found:
                hint = f"{artifact.kind} {artifact.label}"
                wrong.setdefault(str(problem), dataclasses.replace(problem, hint=hint))
        jobs += made
        keys_of_artifact[artifact.key] = tuple(job.key for job in made)
    if wrong:
        lines = "\n".join(f"  {p}" for p in wrong.values())
        raise ConfigError(f"the executions do not fit the study:\n{lines}")
    return jobs


def _cut_capture(
    artifact: StoreArtifact, execution: Execution, needs: tuple[str, ...], workspace: Workspace
) -> list[Job]:
    """A capture in `execution.slices` jobs (fewer where there are fewer shards)."""
    need = artifact.need
    shard = max(1, SLICE_TOKENS // need.spec.view.context)
    first, stop = need.sequences.start, need.sequences.stop
    bounds = [first, *range((first // shard + 1) * shard, stop, shard), stop]
    shards, count = len(bounds) - 1, execution.slices or 1
    count = min(count, shards)
    edges = [bounds[i * shards // count] for i in range(count)] + [stop]
    folder = artifact.path(workspace)
    made = []
    for a, b in itertools.pairwise(edges):
        flops = artifact.flops * (b - a) / max(1, stop - first)
        label = artifact.label if count == 1 else f"{artifact.label}, sequences {a} to {b - 1}"
        done = artifact.done or (count > 1 and holds(folder, range(a, b)))
        key = artifact.id if count == 1 else f"{artifact.id}/{a}-{b}"
        made.append(Job(key, "logits", execution, needs, (), done, flops, label, artifact.key, (a, b)))
    return made


def count_without_gpu(plan: Plan, jobs: Sequence[Job]) -> dict[str, int]:
    """Jobs to make that compute with a model and ask for no GPU, by stage, where the study is priced on GPUs."""
    if plan.study.machine.unit != Machine.unit:
        return {}
    stages = (*TRAINING, "logits", "evaluate")
    return Counter(job.stage for job in jobs if not job.done and job.stage in stages and not job.execution.gpus)


def make_report_job(study: str, rules: Sequence[Execution]) -> Job:
    return Job(f"report/{study}", "report", resolve(rules, "report", 0.0), label=study)


def make_job_order(plan: Plan, job: Job, artifact: Artifact, workspace: Workspace) -> WorkOrder:
    """The artifact's order, cut to the job's slice, on the job's ranks."""
    order = replicated(make_order(plan, artifact, workspace), job.execution.replicas or 1)
    if isinstance(order.work, CaptureJob) and job.sequences is not None:
        return dataclasses.replace(order, work=dataclasses.replace(order.work, sequences=range(*job.sequences)))
    return order
