"""Quantities that a study of distillation is to tell: where training alone catches up, and the best teacher's loss."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pdstudy.analysis.design.design_targets import DesignTarget
from pdstudy.analysis.errors import AnalysisError
from pdstudy.analysis.laws.base import Array, Law
from pdstudy.analysis.laws.taught import TaughtLaw
from pdstudy.analysis.scaling.crossover import REACH, best_losses, crossings


@dataclass(frozen=True, eq=False)
class Crossover(DesignTarget):
    """Tokens up to which a student of `n` parameters is better under a teacher of this loss than without one.

    `tokens` are those of the students; a crossover beyond `REACH` of them counts as the end of that range.
    """

    n: float
    teacher_loss: float
    tokens: Array

    @property
    def name(self) -> str:
        return f"crossover at N {self.n:.3g}, L_T {self.teacher_loss:.3g}"

    def estimate(self, law: Law, theta: Array) -> Array:
        found = crossings(_taught(law), theta, self.n, self.teacher_loss, self.tokens)
        return np.log(np.clip(found, self.tokens.min() / REACH, self.tokens.max() * REACH))

    def end(self, law: Law, theta: Array) -> str:
        """Which is better throughout the range with these parameters (k,); empty where there is a crossover."""
        found = crossings(_taught(law), theta[None, :], self.n, self.teacher_loss, self.tokens)[0]
        return "trained" if found == 0 else "distilled" if np.isinf(found) else ""


@dataclass(frozen=True, eq=False)
class BestTeacherLoss(DesignTarget):
    """Loss of the teacher under which a student of `n` parameters and `d` tokens has the lowest loss, in nats, within
    the losses `tried`."""

    n: float
    d: float
    tried: Array
    logarithmic = False

    @property
    def name(self) -> str:
        return f"best L_T at N {self.n:.3g}, D {self.d:.3g}"

    def estimate(self, law: Law, theta: Array) -> Array:
        return best_losses(_taught(law), theta, self.n, self.d, self.tried)

    def end(self, law: Law, theta: Array) -> str:
        """The end of those tried at which the best loss is with these parameters (k,); empty where it is between."""
        found = float(self.estimate(law, theta[None, :])[0])
        return "lowest" if found <= self.tried.min() else "highest" if found >= self.tried.max() else ""


def _taught(law: Law) -> TaughtLaw:
    if not isinstance(law, TaughtLaw):
        raise AnalysisError(f"{law.name} has no teacher")
    return law
