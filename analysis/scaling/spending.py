"""The best use of a budget on one student, distilled or trained, with intervals, from laws fitted to a study's runs.

Nothing is said of teachers that no student had: L_T stays within those of the runs, and the teacher's own size and
tokens within four times those that the law of L_M was fitted to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from pdstudy.analysis.errors import AnalysisError
from pdstudy.analysis.fit.bootstrap import interval
from pdstudy.analysis.fit.distilled_fit import DistilledFit
from pdstudy.analysis.laws.base import Array
from pdstudy.analysis.scaling.scenarios import Scenario

BEYOND = 4.0
"""Factor beyond the runs within which a teacher's size and tokens are chosen (no unit)."""

COLUMNS = [
    "N", "budget", "scenario", "loss", "low", "high", "D", "teacher_N", "teacher_D", "LT",
    "gain", "gain_low", "gain_high",
]  # fmt: skip
"""Columns of a table of spent budgets; those on teachers are NaN where no scenario leaves the student a token."""


def spend(
    fitted: DistilledFit, n: float, budgets: Sequence[float], per_token: Callable[[Array], Array]
) -> pd.DataFrame:
    """The lowest loss of a student of `n` parameters for each budget (FLOPs), one row per budget and scenario.

    Columns: `N`, `budget`, `scenario` ("trained" without a teacher), `loss`, `low`, `high`, `D` (the student's tokens),
    `teacher_N`, `teacher_D`, `LT`, and `gain`, `gain_low`, `gain_high`: the loss trained minus that distilled. In every
    resample the budget is spent anew, but a teacher's loss is the law's best fit in all of them.

    Args:
        per_token: training FLOPs per token of a size; a third of it is a forward pass.

    Raises:
        AnalysisError: a budget is not positive; no teacher of these sizes and tokens has a loss like those of the runs.
    """
    wrong = [budget for budget in budgets if not 0 < budget < np.inf]
    if wrong:
        raise AnalysisError(f"the budget is {wrong[0]:g}; it must be positive (FLOPs)")
    data = fitted.supervised.fit.points.x
    sizes = np.geomspace(data["N"].min(), BEYOND * data["N"].max(), 24)
    tokens = np.geomspace(data["D"].min(), BEYOND * data["D"].max(), 32)
    teacher_n, teacher_d = (v.ravel() for v in np.meshgrid(sizes, tokens, indexing="ij"))
    teacher = fitted.matched_loss(teacher_n, teacher_d)
    known = fitted.fit.points.x["LT"]
    usable = (teacher >= known.min()) & (teacher <= known.max())
    if not usable.any():
        raise AnalysisError(f"the law of L_M gives no teacher a loss within {known.min():.3f} to {known.max():.3f}")
    teacher_n, teacher_d, teacher = teacher_n[usable], teacher_d[usable], teacher[usable]
    own, theirs = float(per_token(np.array([n]))[0]), per_token(teacher_n)
    rows = []
    for budget in budgets:
        alone = np.array([budget / own])
        trained = _losses_alone(fitted, n, alone)
        rows.append({"N": n, "budget": budget, "scenario": "trained", "D": alone[0], **_bounds(trained)})
        for scenario in Scenario:
            inference, pretraining = scenario.value
            d = (budget - pretraining * theirs * teacher_d) / (own + inference * theirs / 3)
            can = d >= 1
            if not can.any():
                continue
            place = (np.full(int(can.sum()), n), d[can], teacher[can])
            losses = fitted.losses(*place)
            best = int(np.argmin(losses))
            drawn = fitted.losses(*place, drawn=True).min(axis=1) if fitted.bootstrap else np.empty(0)
            found = np.concatenate([[losses[best]], drawn])
            free = scenario is Scenario.FREE  # any teacher of this loss will do
            rows.append(
                {"N": n, "budget": budget, "scenario": scenario.label, "D": place[1][best],
                 "teacher_N": np.nan if free else teacher_n[can][best],
                 "teacher_D": np.nan if free else teacher_d[can][best], "LT": teacher[can][best],
                 **_bounds(found), **{f"gain{k}": v for k, v in zip(("", "_low", "_high"), _three(trained - found))}}
            )  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def _losses_alone(fitted: DistilledFit, n: float, d: Array) -> Array:
    """The loss trained on data alone, and then that of each resample."""
    size = np.array([n])
    drawn = fitted.matched_loss(size, d, fitted.supervised_theta)[:, 0] if fitted.bootstrap else np.empty(0)
    return np.concatenate([fitted.matched_loss(size, d), drawn])


def _bounds(values: Array) -> dict[str, float]:
    return dict(zip(("loss", "low", "high"), _three(values)))


def _three(values: Array) -> tuple[float, float, float]:
    """The first of values with the 95 % interval of the others."""
    low, high = interval(values[1:], 0.95) if len(values) > 1 else (float("nan"), float("nan"))
    return float(values[0]), low, high
