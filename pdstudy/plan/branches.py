"""Runs of a plan that go on from each other's checkpoints: with WSD, budgets are one trunk and a decay each.

Runs that are alike but for length and decay form a chain by where their decay begins. Each leaves the checkpoint at the
end of its stable part; the next in the chain starts there. Nobody trains the trunk twice, and the results are those of
runs trained straight through, bit for bit (`pdstudy.train.checkpoint`).
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pdstudy.config.optimizer import WSD
from pdstudy.config.run import Run
from pdstudy.config.trajectory import lasting_steps, shared_steps
from pdstudy.core.identity import canonical
from pdstudy.plan.cost import steps_flops

if TYPE_CHECKING:
    from pdstudy.plan.artifact import RunArtifact
    from pdstudy.workspace.layout import Workspace


def branched(students: Iterable[RunArtifact], workspace: Workspace) -> dict[str, RunArtifact]:
    """The students that go on from another one's checkpoint, by key, priced at the steps of their own.

    `saved` is the price of the others; of a run that is done it is what its own record says that it took over.
    """
    families: dict[str, list[tuple[int, RunArtifact]]] = {}
    for student in students:
        for step in lasting_steps(student.run):
            families.setdefault(branch_family(student.run), []).append((step, student))
    out: dict[str, RunArtifact] = {}
    for members in families.values():
        members.sort(key=lambda member: (member[0], member[1].key))
        for _, each in members:
            if each.state == "done":
                taken_over = each.directory(workspace).branched_at
                out[each.key] = dataclasses.replace(each, saved=steps_flops(each.run, taken_over))
        for (step, parent), (_, each) in itertools.pairwise(members):
            left = parent.done and not (parent.directory(workspace).checkpoints / f"step-{step:08d}").exists()
            if each.state != "new" or left or step > shared_steps(each.run, parent.run) or each.exports or each.records:
                continue
            saved = steps_flops(each.run, step)
            out[each.key] = dataclasses.replace(each, after=(parent.key,), flops=each.flops - saved, saved=saved)
    return out


def branch_family(run: Run) -> str:
    """Fields that runs share which may go on from each other: all that is declared but length and schedule."""
    return canonical(dataclasses.replace(run, schedule=WSD(warmup_tokens=0, decay_tokens=0), steps=1))
