"""Trajectory of a run: learning rate and alpha at each step, and how many steps two runs share."""

from __future__ import annotations

import dataclasses
import itertools
import math

from pdstudy.config.alpha import Steady, WSDMix
from pdstudy.config.normal_form import normal_form
from pdstudy.config.optimizer import WSD
from pdstudy.config.run import KD, LM, Run
from pdstudy.core.identity import canonical


def learning_rate(run: Run, step: int) -> float:
    """Learning rate of step `step` (0-based): the schedule at the middle of the step's tokens.

    The middle, because the beginning would waste the first step of a warm-up at 0 and the end would waste the last
    step of a decay to 0; and because the sum of rates over a run then hardly depends on the tokens of a step.
    """
    middle = (step + 0.5) * run.tokens_per_step
    return run.optimiser.lr * run.schedule.factor(middle, run.num_tokens)


def alpha_at(objective: LM | KD, step: int, total_steps: int) -> float:
    """Alpha of step `step` (0-based) of `total_steps`."""
    return objective.alpha * objective.mix.factor(step / total_steps) if isinstance(objective, KD) else 0.0


def shared_steps(one: Run, other: Run) -> int:
    """Number of steps from the beginning through which two runs are the same computation.

    They are where all that is declared is equal but for length and schedule, up to the first step whose learning rate
    or alpha differs.
    """
    a, b = normal_form(one), normal_form(other)
    if canonical(dataclasses.replace(a, schedule=b.schedule, steps=b.steps)) != canonical(b):
        return 0
    steps = min(a.num_steps, b.num_steps)
    level = _overlap(_level_steps(a), _level_steps(b))
    # Of a stretch through which both are level, one step stands for all: a long trunk is compared at once.
    for step in itertools.chain(range(min(steps, level.start + 1)), range(min(steps, level.stop), steps)):
        if learning_rate(a, step) != learning_rate(b, step):
            return step
        if alpha_at(a.objective, step, a.num_steps) != alpha_at(b.objective, step, b.num_steps):
            return step
    return steps


def _overlap(one: range, other: range) -> range:
    start = max(one.start, other.start)
    return range(start, max(start + 1, min(one.stop, other.stop)))


def _level_steps(run: Run) -> range:
    """Steps through which neither learning rate nor alpha moves, minus one at either end for rounding."""
    steps, mix = run.num_steps, run.objective.mix if isinstance(run.objective, KD) else Steady()
    if not isinstance(run.schedule, WSD) or not isinstance(mix, Steady | WSDMix):
        return range(0)
    warmup, decay = (mix.warmup, mix.decay) if isinstance(mix, WSDMix) else (0.0, 0.0)
    first = max(run.schedule.warmup_tokens / run.tokens_per_step, warmup * steps)
    last = steps - max(run.schedule.decay_tokens / run.tokens_per_step, decay * steps)
    return range(math.ceil(first) + 1, max(math.ceil(first) + 1, math.floor(last) - 1))


def lasting_steps(run: Run) -> tuple[int, ...]:
    """Steps whose checkpoints are kept for other runs to start from: the end of a WSD schedule's stable part."""
    if not isinstance(run.schedule, WSD):
        return ()
    # The first step whose middle lies in the decay is the first that a longer run does otherwise.
    start = (run.num_tokens - run.schedule.decay_tokens) / run.tokens_per_step
    step = math.floor(start + 0.5)
    return (step,) if 0 < step < run.num_steps else ()
