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
from pdstudy.plan.cost import training_flops

if TYPE_CHECKING:
    from pdstudy.plan.plan import Artifact
    from pdstudy.workspace.layout import Workspace


def branched(items: Iterable[Artifact], workspace: Workspace) -> dict[str, Artifact]:
    """Those of `items` (students) that go on from another one of them: told so, and at the price of what is left.

    Of those that are done `saved` says what they took over, as they themselves recorded it.
    """
    families: dict[str, list[tuple[int, Artifact, Run]]] = {}
    for item in items:
        run = item.subject
        assert isinstance(run, Run)
        for step in lasting_steps(run):
            families.setdefault(_family(run), []).append((step, item, run))
    out: dict[str, Artifact] = {}
    for members in families.values():
        members.sort(key=lambda member: (member[0], member[1].key))
        for _, item, run in members:
            if item.state == "done":
                out[item.key] = dataclasses.replace(item, saved=_of(run, workspace.run(run).branched_at))
        for (step, parent, trunk), (_, item, run) in itertools.pairwise(members):
            left = parent.done and not (workspace.run(trunk).checkpoints / f"step-{step:08d}").exists()
            if item.state != "new" or left or step > shared_steps(run, trunk) or item.exports or item.records:
                continue
            saved = _of(run, step)
            out[item.key] = dataclasses.replace(item, after=(parent.key,), flops=item.flops - saved, saved=saved)
    return out


def _of(run: Run, steps: int) -> float:
    """FLOPs of so many steps of a run."""
    return training_flops(run) * steps / run.num_steps


def _family(run: Run) -> str:
    return canonical(dataclasses.replace(run, schedule=WSD(warmup_tokens=0, decay_tokens=0), steps=1))
