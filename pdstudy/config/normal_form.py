"""The normal form of a run, whose hash is its identity."""

from __future__ import annotations

import dataclasses
import functools

from pdstudy.config.run import KD, LM, Objective, Online, Pretrained, Run, Start


def normal_form(run: Run) -> Run:
    """The run with all that cannot affect its result put to one form: KD at alpha 0 is LM, a token budget is steps."""
    start = run.start
    if start is not None and isinstance(start.model, Run):
        at = None if start.step is None else start.tokens
        start = Start(model=normal_form(start.model), tokens=at)
    objective = _normal_objective(run.objective)
    return dataclasses.replace(run, objective=objective, steps=run.num_steps, tokens=None, start=start)


@functools.lru_cache(maxsize=4096)
def _normal_objective(objective: Objective) -> Objective:
    if not isinstance(objective, KD):
        return objective
    if not objective.needs_teacher:
        return LM()
    return dataclasses.replace(objective, teacher=normal_teacher(objective.teacher))


def normal_teacher(teacher: Run | Pretrained | Online) -> Run | Pretrained | Online:
    """`normal_form` of whatever teaches."""
    if isinstance(teacher, Online):
        return Online(run=normal_form(teacher.run))
    return normal_form(teacher) if isinstance(teacher, Run) else teacher
