"""Runs that begin alike: how far, and from which checkpoint of another run one may start."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from pathlib import Path

from pdstudy.config import WSD, Run, normal_form
from pdstudy.distill.mixing import alpha_at
from pdstudy.normal import canonical
from pdstudy.rundir import RunDir
from pdstudy.train.checkpoint import step_of, whole
from pdstudy.train.optim import learning_rate


def shared_steps(one: Run, other: Run) -> int:
    """How many steps from the beginning two runs are the same computation.

    They are where all that is declared is equal but for length and schedule, up to the first step whose learning rate
    or share of distillation differs.
    """
    a, b = normal_form(one), normal_form(other)
    if canonical(dataclasses.replace(a, schedule=b.schedule, steps=b.steps)) != canonical(b):
        return 0
    steps = min(a.num_steps, b.num_steps)
    for step in range(steps):
        if learning_rate(a, step) != learning_rate(b, step):
            return step
        if alpha_at(a.objective, step, a.num_steps) != alpha_at(b.objective, step, b.num_steps):
            return step
    return steps


def lasting_steps(run: Run) -> tuple[int, ...]:
    """Steps whose checkpoints stay for others to start from: the end of a WSD schedule's stable part."""
    if not isinstance(run.schedule, WSD):
        return ()
    # The first step whose middle lies in the decay is the first that a longer run does otherwise.
    start = (run.num_tokens - run.schedule.decay_tokens) / run.tokens_per_step
    step = math.floor(start + 0.5)
    return (step,) if 0 < step < run.num_steps else ()


def starting_point(run: Run, relatives: Iterable[RunDir], limit: float = math.inf) -> tuple[RunDir, Path] | None:
    """The latest checkpoint among `relatives` that lies on the way of `run`, and stays where it is.

    `limit`: steps after which the run has something of its own to write.
    """
    found: list[tuple[int, RunDir, Path]] = []
    for relative in relatives:
        theirs = relative.config()
        shared = shared_steps(run, theirs)
        stays = {*lasting_steps(theirs), theirs.num_steps if relative.result() else 0}
        found += [
            (step_of(path), relative, path)
            for path in whole(relative.checkpoints)
            if step_of(path) in stays and step_of(path) <= min(shared, limit)
        ]
    if not found:
        return None
    _, relative, path = max(found, key=lambda item: item[0])
    return relative, path
