"""A scheduler of a few lines, which takes jobs and runs none, and what its tests do with it."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Callable

from pdstudy.plan.plan import Plan
from pdstudy.plan.study_plan import checked_plan
from pdstudy.slurm.arrays import Array
from pdstudy.slurm.attempt import attempts_file
from pdstudy.slurm.ledger import append_row
from pdstudy.slurm.sbatch import Cluster
from pdstudy.slurm.submit import Refused
from pdstudy.workspace.layout import Workspace


class Slurm:
    """Takes arrays (`room`: jobs that it still takes), shows and cancels them, and runs none."""

    def __init__(self) -> None:
        self.states: dict[str, str] = {}
        self.reasons: dict[str, str] = {}
        self.sent: dict[str, tuple[str, Array, str]] = {}
        self.room = 1_000
        self.broken: set[str] = set()
        self.asked: list[tuple[str, ...]] = []

    def send(self, cluster: Cluster, array_id: str, array: Array, after: str) -> str:
        if len(array.elements) > self.room:
            raise Refused("QOSMaxSubmitJobPerUserLimit", limit=True)
        self.room -= len(array.elements)
        job = str(len(self.sent) + 1)
        self.sent[job] = (array_id, array, after)
        count = len(array.elements)
        self.states.update({job: "PENDING"} if count == 1 else {f"{job}_{i}": "PENDING" for i in range(count)})
        return job

    def ask(self, *words: str) -> str:
        self.asked.append(words)
        if words[0] in self.broken:
            raise subprocess.CalledProcessError(1, words, "", f"{words[0]}: error: Unable to contact slurm controller")
        if words[0] == "scancel":
            for name in words[1:]:
                self.states.update({e: "CANCELLED" for e in self.states if name in (e, e.partition("_")[0])})
        if words[:2] == ("scontrol", "release"):
            for name in words[2].split(","):
                del self.reasons[name]
        if words[0] != "squeue":
            return "MaxArraySize = 1001\n"
        rows = [
            f"{e}|{s}||{self.reasons.get(e, 'None')}|pdstudy {self.sent[e.partition('_')[0]][0]}"
            for e, s in self.states.items()
        ]
        return "\n".join([*rows, "999|PENDING||None|a comment of somebody's", "on two lines", ""])

    def stages(self) -> list[str]:
        return [array.stage for _, array, _ in self.sent.values()]

    def job(self, stage: str) -> str:
        return next(job for job, (_, array, _) in self.sent.items() if array.stage == stage)


def planned(workspace: Workspace, only: str | None = None, name: str = "grid") -> Callable[[], Plan]:
    def plan() -> Plan:
        made = checked_plan("grid.py", None, workspace, only)
        return dataclasses.replace(made, study=dataclasses.replace(made.study, name=name))

    return plan


def fail(workspace: Workspace, slurm: Slurm, stage: str, cause: str, at: float = 0.0, **more: object) -> str:
    """The job of a stage has started and ended by `cause`, as its node notes; its key."""
    slurm_id = slurm.job(stage)
    key = slurm.sent[slurm_id][1].keys[0][0]
    element = next(e for e in slurm.states if e.partition("_")[0] == slurm_id)
    slurm.states[element] = "FAILED"
    file = attempts_file(workspace, key)
    append_row(file, {"event": "start", "job": element, "token": element, "time": at})
    append_row(file, {"event": "end", "token": element, "cause": cause, "error": cause, "time": at, **more})
    return key
