"""Distil or train? Busbridge et al.'s compute scenarios, on a supervised law and a distillation law."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
import pandas as pd

from pdstudy.analysis.errors import AnalysisError, NoMinimum
from pdstudy.analysis.laws import DISTILLATION_FULL, DISTILLATION_PUBLISHED, GAMMA, GAMMA_PUBLISHED, Law
from pdstudy.analysis.laws.base import Array


class Scenario(Enum):
    """Which of the teacher's FLOPs the student pays (their eq. 9): inference on its tokens, pre-training."""

    FREE = (0.0, 0.0)
    INFERENCE = (1.0, 0.0)
    PRETRAINING = (0.0, 1.0)
    BOTH = (1.0, 1.0)

    @property
    def label(self) -> str:
        """Name in captions."""
        return {
            Scenario.FREE: "teacher free",
            Scenario.INFERENCE: "teacher inference",
            Scenario.PRETRAINING: "teacher pre-training",
            Scenario.BOTH: "inference + pre-training",
        }[self]


def two_n(n: Array) -> Array:
    """2 N FLOPs per token forward. `allocation.TrueFlops(...).forward` counts attention and embeddings too."""
    return 2.0 * n


@dataclass(frozen=True)
class ComputeModel:
    """A supervised law, a distillation law, and the cost of a forward pass.

    N without embeddings, D in tokens, losses in nats per token, FLOPs. The default values are Busbridge et al.'s
    Table 6 (their data, vocabulary and architecture: for other models fit your own).
    """

    supervised_law: Law = GAMMA
    supervised_values: Mapping[str, float] = field(default_factory=lambda: GAMMA_PUBLISHED)
    distilled_law: Law = DISTILLATION_FULL
    distilled_values: Mapping[str, float] = field(default_factory=lambda: DISTILLATION_PUBLISHED)
    forward: Callable[[Array], Array] = two_n

    def supervised(self, n: Array | float, d: Array | float) -> Array:
        """Loss of a model trained on data alone."""
        n, d = np.broadcast_arrays(np.asarray(n, dtype=float), np.asarray(d, dtype=float))
        flat = self.supervised_law.predict(self.supervised_values, {"N": n.ravel(), "D": d.ravel()})
        return flat.reshape(n.shape)

    def distilled(self, n: Array | float, d: Array | float, teacher_loss: Array | float) -> Array:
        """Loss of a student of `n` parameters and `d` tokens under a teacher of this loss."""
        n, d, t = np.broadcast_arrays(*(np.asarray(v, dtype=float) for v in (n, d, teacher_loss)))
        x = {"N": n.ravel(), "D": d.ravel(), "LT": t.ravel(), "LM": self.supervised(n, d).ravel()}
        return self.distilled_law.predict(self.distilled_values, x).reshape(n.shape)

    def best_teacher(self, n: Array | float, d: Array | float) -> tuple[Array, Array]:
        """The teacher loss that gives the lowest student loss, and that loss: the bottom of the U (capacity gap)."""
        n, d = np.broadcast_arrays(np.asarray(n, dtype=float), np.asarray(d, dtype=float))
        floor = float(self.supervised_values["E"])
        low, high = np.full(n.shape, floor), 1.5 * self.supervised(n, d)
        steps = np.linspace(0, 1, 80)
        for _ in range(5):
            grid = low[..., None] + (high - low)[..., None] * steps
            best = np.argmin(self.distilled(n[..., None], d[..., None], grid), axis=-1)[..., None]
            low = np.take_along_axis(grid, np.maximum(best - 1, 0), axis=-1)[..., 0]
            high = np.take_along_axis(grid, np.minimum(best + 1, len(steps) - 1), axis=-1)[..., 0]
        loss = 0.5 * (low + high)
        return loss, self.distilled(n, d, loss)

    def per_token(self, n: float) -> float:
        """Forward FLOPs per token of one size."""
        return float(self.forward(np.array([n]))[0])

    def cost(self, n: Array, d: Array, teacher_n: Array, teacher_d: Array, scenario: Scenario) -> Array:
        """FLOPs of student and teacher: 3 F(N_S) D_S + F(N_T) (inference D_S + 3 pre-training D_T)."""
        inference, pretraining = scenario.value
        return 3 * self.forward(n) * d + self.forward(teacher_n) * (inference * d + 3 * pretraining * teacher_d)

    def tokens_for(self, teacher_n: float, teacher_loss: float) -> float:
        """Tokens with which a teacher of this size reaches this loss.

        Raises:
            NoMinimum: no number of tokens brings it there.
        """
        low, high = 0.0, 60.0  # ln of tokens: 1 to 1e26
        if float(self.supervised(teacher_n, np.exp(high))) > teacher_loss:
            raise NoMinimum(
                f"a model of {teacher_n:g} parameters never reaches a loss of {teacher_loss:g}; take a larger one"
            )
        for _ in range(100):
            middle = 0.5 * (low + high)
            low, high = (
                (middle, high) if float(self.supervised(teacher_n, np.exp(middle))) > teacher_loss else (low, middle)
            )
        return float(np.exp(high))


@dataclass(frozen=True)
class Best:
    """The best way to spend a budget on one student size. Teacher fields are NaN for supervised training; its size
    and tokens also where it is free, since only its loss counts there."""

    student_n: float
    budget: float
    scenario: str
    loss: float
    student_d: float
    teacher_n: float
    teacher_d: float
    teacher_loss: float
    student_share: float


def best_supervised(model: ComputeModel, student_n: float, budget: float) -> Best:
    """All of the budget on the student's own tokens."""
    d = budget / (3 * model.per_token(student_n))
    nan = float("nan")
    return Best(student_n, budget, "supervised", float(model.supervised(student_n, d)), d, nan, nan, nan, 1.0)


def best_distilled(
    model: ComputeModel, student_n: float, budget: float, scenario: Scenario, *, max_teacher_tokens: float = 1e14
) -> Best:
    """The best student tokens, teacher size and teacher tokens for this budget.

    By a grid that zooms in on its best point: the surface is U-shaped along a curved valley, where a gradient method
    ends wherever it began. Where the teacher's pre-training isn't charged, its tokens end at `max_teacher_tokens`.

    Raises:
        AnalysisError: the budget isn't positive.
    """
    if not budget > 0:
        raise AnalysisError(f"the budget is {budget}; it must be positive (FLOPs)")
    inference, pretraining = scenario.value
    # ln teacher size, ln teacher tokens, and the share of the budget (logit) that goes to the student's own training.
    low = np.array([np.log(1e7), np.log(1e8), -12.0])
    high = np.array([np.log(1e13), np.log(max_teacher_tokens), 12.0])
    best: tuple[float, Array] = (np.inf, low)
    for _ in range(14):
        axes = [np.linspace(a, b, 23) for a, b in zip(low, high)]
        teacher_n, teacher_d, logit = (
            np.exp(v) if i < 2 else v for i, v in enumerate(np.meshgrid(*axes, indexing="ij"))
        )
        share = 1 / (1 + np.exp(-logit))
        per_token = 3 * model.per_token(student_n) + inference * model.forward(teacher_n)
        if pretraining:
            # The rest of the budget is the teacher's: its tokens follow, the second axis only repeats.
            d = share * budget / per_token
            teacher_d = (1 - share) * budget / (3 * model.forward(teacher_n))
        else:
            d = budget / per_token
        teacher_d = np.clip(teacher_d, 1.0, max_teacher_tokens)
        teacher_loss = model.supervised(teacher_n, teacher_d)
        loss = model.distilled(student_n, d, teacher_loss)
        i = np.unravel_index(int(np.argmin(loss)), loss.shape)
        if loss[i] < best[0]:
            best = (float(loss[i]), np.array([teacher_n[i], teacher_d[i], d[i], teacher_loss[i]]))
        centre = np.array([axes[k][i[k]] for k in range(3)])
        half = (high - low) * 0.2
        low, high = np.maximum(centre - half, low), np.minimum(centre + half, high)
    size, seen, tokens, level = (float(v) for v in best[1])
    if scenario is Scenario.FREE:  # any teacher of this loss will do: its size and tokens aren't determined
        size = seen = float("nan")
    own = 3 * model.per_token(student_n) * tokens / budget
    return Best(student_n, budget, scenario.label, best[0], tokens, size, seen, level, own)


def compare_scenarios(model: ComputeModel, student_n: float, budgets: Sequence[float]) -> pd.DataFrame:
    """The best loss of each scenario and of supervised training per budget: one row each, columns as `Best`."""
    rows = []
    for budget in budgets:
        rows.append(best_supervised(model, student_n, budget))
        rows += [best_distilled(model, student_n, budget, scenario) for scenario in Scenario]
    return pd.DataFrame([vars(r) for r in rows])


def distil_or_train(model: ComputeModel, sizes: Array, tokens: Array, teacher_loss: float) -> Array:
    """L_S - L_supervised over students (rows: sizes, columns: tokens); below zero the teacher helps."""
    n, d = np.meshgrid(sizes, tokens, indexing="ij")
    return model.distilled(n, d, teacher_loss) - model.supervised(n, d)
