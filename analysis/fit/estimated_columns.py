"""Columns of a distillation law that are estimates themselves: the teacher's loss, and a student's without one."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from pdstudy.analysis.data.points import Points
from pdstudy.analysis.fit.bootstrap import Bootstrap, Estimates
from pdstudy.analysis.laws.base import Array


def draw_columns(points: Points, *, supervised: Bootstrap | None = None, teacher_error: float = 0.0) -> Estimates:
    """Draws of LM from a resampled supervised law of the points' N and D, and of LT with its standard error.

    Args:
        supervised: resamples of the law that predicts LM: each draw is one of them, at all students. teacher_error:
            standard error of ln LT; students of one teacher (equal LT) share its error.
    """
    teachers = pd.factorize(points.x["LT"])[0]

    def draw(rng: np.random.Generator) -> Mapping[str, Array]:
        found = {}
        if supervised is not None:
            theta = supervised.theta[rng.integers(len(supervised.theta))]
            law = supervised.fit.law
            found["LM"] = np.exp(law.log_loss(theta[None, :], {c: points.x[c] for c in law.columns})[0][0])
        if teacher_error:
            found["LT"] = points.x["LT"] * np.exp(teacher_error * rng.standard_normal(teachers.max() + 1))[teachers]
        return found

    return draw
