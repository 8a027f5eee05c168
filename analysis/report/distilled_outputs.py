"""Declared outputs on distillation: the law of students and teachers, and whether to distil or to train."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from pdstudy.analysis.figures.diagnostics import residual_panels
from pdstudy.analysis.figures.distillation_maps import distil_or_train_map
from pdstudy.analysis.figures.distilled_curves import spent_budgets, student_by_teacher
from pdstudy.analysis.figures.fits import predicted_and_measured
from pdstudy.analysis.fit.distilled_fit import DistilledFit
from pdstudy.analysis.fit.extrapolation import rms
from pdstudy.analysis.fit.findings import warnings
from pdstudy.analysis.report.law_outputs import UNITS, LawOutputs
from pdstudy.analysis.report.page import Block, Text
from pdstudy.analysis.scaling.allocation import TableFlops
from pdstudy.analysis.scaling.crossover import best_teacher, crossover
from pdstudy.analysis.scaling.scenarios import ComputeModel
from pdstudy.analysis.scaling.spending import spend
from pdstudy.analysis.tables.laws import crossover_table, spending_table, teacher_table_of

PANELS = 3
"""Teachers of the map: the worst, the middle and the best."""


class DistilledOutputs:
    """How each output on distillation is made of a study's laws."""

    def __init__(self, laws: LawOutputs) -> None:
        self.laws = laws

    def distillation_law(self, output: dict[str, Any]) -> list[Block]:
        """The law's predictions and limits; its coefficients lie on a ridge and are left out."""
        fitted = self.laws.distilled(output)
        runs = self.laws.students(output)
        students = sorted(set(zip(runs["N"], runs["D"], strict=True)))
        best = {place: best_teacher(fitted, *place) for place in students}
        return [
            student_by_teacher(fitted, runs, y_label=_label(output["supervised"])),
            predicted_and_measured(fitted.fit),
            residual_panels({fitted.fit.law.name: fitted.fit}),
            teacher_table_of(best),
            *map(Text, _limits(fitted, runs)),
        ]

    def distil_or_train(self, output: dict[str, Any]) -> list[Block]:
        law = output["law"]
        fitted, runs = self.laws.distilled(law), self.laws.students(law)
        alone = self.laws.supervised_runs(law["supervised"])
        per_token = TableFlops.measure(*(alone[c].to_numpy(dtype=float) for c in ("N", "D", "C")))
        sizes, teachers = np.unique(runs["N"]), np.unique(runs["LT"])
        crossed = {(n, t): crossover(fitted, n, t) for n in sizes for t in teachers}
        budgets = output["budgets"] or _fourfold(runs["C"].min(), 4 * alone["C"].max())
        chosen = sizes[np.unique(np.linspace(0, len(sizes) - 1, PANELS).round().astype(int))]
        spent = pd.concat([spend(fitted, float(n), budgets, per_token) for n in chosen], ignore_index=True)
        shown = teachers[np.unique(np.linspace(0, len(teachers) - 1, PANELS).round().astype(int))]
        return [
            distil_or_train_map(
                _model(fitted),
                np.geomspace(sizes.min() / 1.5, sizes.max() * 1.5, 50),
                np.geomspace(runs["D"].min() / 2, runs["D"].max() * 4, 50),
                [round(float(t), 4) for t in shown],
            ),
            crossover_table(crossed, per_token, runs["D"].max()),
            spent_budgets(spent, y_label=_label(law["supervised"])),
            spending_table(spent),
            *map(Text, _limits(fitted, runs)[:1]),
        ]


def _label(law: Mapping[str, Any]) -> str:
    return f"{law['split']} {UNITS[law['metric']]}"


def _model(fitted: DistilledFit) -> ComputeModel:
    joint = fitted.supervised.fit
    return ComputeModel(joint.law, joint.parameters, fitted.fit.law, fitted.fit.parameters)


def _fourfold(low: float, high: float) -> list[float]:
    """A grid of factor four from the lowest to the highest budget."""
    return list(low * 4.0 ** np.arange(int(np.log(high / low) / np.log(4)) + 1))


def _limits(fitted: DistilledFit, runs: pd.DataFrame) -> list[str]:
    """Basis of the fit, and its limits."""
    joint = fitted.supervised
    said = (
        f"{len(fitted.fit.points)} students under {runs['LT'].nunique()} teachers; L_M by {joint.fit.law.name} fitted "
        f"to {len(joint.fit.points)} runs without a teacher. Rms of log residuals: "
        f"{rms(fitted.fit.residuals):.2e} of the students, {rms(joint.fit.residuals):.2e} of the others."
    )
    said += f" No intervals: {fitted.refused}." if fitted.refused else ""
    found = [said]
    found += [f"{fitted.lack.describe()}."] if fitted.lack else []
    return [*found, *(f"{text}." for text in warnings(fitted.fit))]
