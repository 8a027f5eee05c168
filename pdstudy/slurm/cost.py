"""The cost of a submission: hours of devices and nodes by stage, and the longest chain of jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pdstudy.plan.account import longest_chain
from pdstudy.slurm.job import Job


@dataclass(frozen=True)
class StagePrice:
    stage: str
    units: int
    device_hours: float
    """Of GPUs, or of ranks where the stage has none."""
    node_hours: float
    longest_hours: float
    """Of one unit."""
    over_limit: int
    """Units that need more than one job's minutes, and so go on in further jobs."""
    over_budget: int
    """Those that need more jobs than `time_limits` lets them have."""


def stage_prices(units: Sequence[Job], rate: float) -> list[StagePrice]:
    """Prices of what is not done, at `rate` FLOP/s per device."""
    stages: dict[str, list[Job]] = {}
    for unit in units:
        if not unit.done:
            stages.setdefault(unit.stage, []).append(unit)
    return [
        StagePrice(
            stage,
            len(members),
            sum(u.flops / rate for u in members) / 3600,
            sum(wall_hours(u, rate) * (u.execution.nodes or 1) / (u.execution.pack or 1) for u in members),
            max(wall_hours(u, rate) for u in members),
            sum(jobs_needed(u, rate) > 1 for u in members),
            sum(jobs_needed(u, rate) > 1 + (u.execution.time_limits or 0) for u in members),
        )
        for stage, members in stages.items()
    ]


def wall_hours(unit: Job, rate: float) -> float:
    return unit.flops / rate / unit.execution.ranks / 3600


def jobs_needed(unit: Job, rate: float) -> float:
    return wall_hours(unit, rate) * 60 / (unit.execution.minutes or 1)


def longest_chain_hours(jobs: Sequence[Job], rate: float) -> float:
    """Hours that no number of nodes can shorten, waiting in the queue not counted."""
    return longest_chain(jobs, lambda job: wall_hours(job, rate))
