"""The law of a distilled student joined with that of the same student without a teacher, as one law of N, D and L_T.

L_M, a column of the students' law, is here the other law's loss at the same N and D: the parameters of both are one
vector, and what follows from them together (a loss, where the two are equal) is a function of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pdstudy.analysis.errors import AnalysisError
from pdstudy.analysis.laws.base import Array, Columns, Law

_STEP = 1e-5
# Of ln L_M, for the derivative by it.


class TaughtLaw(Law):
    """L_S(N, D, L_T) with the parameters of the students' law, primed where both have the name, and those of L_M's."""

    columns = ("N", "D", "LT")

    def __init__(self, students: Law, alone: Law) -> None:
        self.students, self.alone = students, alone
        self.name = f"{students.name} with {alone.name}"
        self.formula, self.source = students.formula, students.source
        primed = [replace(p, name=f"{p.name}'") if "'" in p.latex else p for p in students.parameters]
        self.parameters = (*primed, *alone.parameters)

    def split(self, theta: Array) -> tuple[Array, Array]:
        """The parameters of the students' law (..., k) and of L_M's."""
        here = len(self.students.parameters)
        return theta[..., :here], theta[..., here:]

    def log_matched(self, theta: Array, x: Columns) -> Array:
        """ln L_M at `x` for each parameter vector (S, k), (S, n)."""
        return self.alone.log_loss(self.split(theta)[1], x)[0]

    def log_loss(self, theta: Array, x: Columns) -> tuple[Array, Sequence[Array]]:
        taught, alone = self.split(theta)
        matched, slopes = self.alone.log_loss(alone, x)
        value, derivatives = self.students.log_loss(taught, {**x, "LM": np.exp(matched)})
        above, below = (
            self.students.log_loss(taught, {**x, "LM": np.exp(matched + step)})[0] for step in (_STEP, -_STEP)
        )
        pull = (above - below) / (2 * _STEP)
        return value, [*derivatives, *(pull * slope for slope in slopes)]

    def starts(self, x: Columns, loss: Array) -> Array:
        raise AnalysisError(f"{self.name} is fitted in two steps: see distilled_fit")
