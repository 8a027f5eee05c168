"""Declared scaling laws of a study as figures and tables: its runs selected, the laws fitted, each once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from pdstudy.analysis.data.law_runs import check_told_apart, law_runs, select_cells
from pdstudy.analysis.data.study_record import Record
from pdstudy.analysis.errors import AnalysisError
from pdstudy.analysis.figures.diagnostics import residual_panels
from pdstudy.analysis.figures.law_curves import held_out_predictions, joint_law_curves
from pdstudy.analysis.fit.distilled_fit import DistilledFit, check_teachers, distilled_fit
from pdstudy.analysis.fit.extrapolation import fit_other_laws, measure_distance
from pdstudy.analysis.fit.joint_fit import JointFit, joint_fit
from pdstudy.analysis.report.page import Block, Folded, Listing, Text
from pdstudy.analysis.summary import summary
from pdstudy.analysis.tables.builders import fit_table
from pdstudy.analysis.tables.laws import hold_out_table

UNITS = {
    "loss": "loss (nats/token)",
    "recalibrated": "recalibrated loss (nats/token)",
    "bits_per_byte": "bits per byte",
}
"""Label of each metric that a law can have."""


class LawOutputs:
    """How each law that a study declares is made of its runs (from `load_runs`)."""

    def __init__(self, record: Record, runs: pd.DataFrame) -> None:
        self.runs = runs
        self.axes = list(record["axes"])
        self.hold_outs = [output for output in record["outputs"] if output["is"] == "HoldOut"]
        self._joint: dict[str, JointFit] = {}
        self._distilled: dict[str, DistilledFit] = {}

    def held_out(self, law: Mapping[str, Any]) -> pd.Series:
        """Which runs the study's hold-outs leave out of the fit of a law."""
        found = pd.Series(False, index=self.runs.index)
        for each in self.hold_outs:
            if each["law"] == law:
                found |= select_cells(self.runs, each["where"])
        return found

    def joint(self, law: Mapping[str, Any]) -> JointFit:
        """The fit of a `JointLaw` without the runs that are held out."""
        key = json.dumps(law, sort_keys=True)
        if key not in self._joint:
            rows, done = self._kept(law, law, law["where"])
            check_told_apart(done, self.runs, self.axes, ["N", "D"])
            try:
                self._joint[key] = joint_fit(done[["N", "D", "loss"]], law["law"])
            except AnalysisError as error:
                raise AnalysisError(f"{len(done)} of {len(rows)} runs of the law are done: {error}") from None
        return self._joint[key]

    def distilled(self, law: Mapping[str, Any]) -> DistilledFit:
        """The fit of a `DistillationLaw` without the runs that are held out."""
        key = json.dumps(law, sort_keys=True)
        if key not in self._distilled:
            rows, done = self._kept(law, law["supervised"], law["where"], taught=True)
            try:
                check_teachers(done)
                check_told_apart(done, self.runs, self.axes, ["N", "D", "teacher"])
                self._distilled[key] = distilled_fit(done[["N", "D", "LT", "loss"]], self.joint(law["supervised"]))
            except AnalysisError as error:
                raise AnalysisError(f"{len(done)} of {len(rows)} students of the law are done: {error}") from None
        return self._distilled[key]

    def students(self, law: Mapping[str, Any]) -> pd.DataFrame:
        """The runs that a `DistillationLaw` is fitted to."""
        return self._kept(law, law["supervised"], law["where"], taught=True)[1]

    def supervised_runs(self, law: Mapping[str, Any]) -> pd.DataFrame:
        """The runs that a `JointLaw` is fitted to."""
        return self._kept(law, law, law["where"])[1]

    def _kept(
        self, law: Mapping[str, Any], measured: Mapping[str, Any], where: Mapping[str, Any], *, taught: bool = False
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Runs of a law that are not held out, and those of them that are done; `taught`: only those with a teacher.
        `measured` is the law whose size, metric and split count."""
        rows = law_runs(self.runs[~self.held_out(law)], measured, where)
        rows = rows[rows["teacher"].notna()] if taught else rows
        return rows, rows.dropna(subset=["loss"])

    def joint_law(self, output: dict[str, Any]) -> list[Block]:
        """The fit of a law with its figures, coefficients and limits."""
        found = self.joint(output)
        held = law_runs(self.runs[self.held_out(output)], output, output["where"])
        predictions = found.predict(held).assign(loss=held["loss"].to_numpy())
        label = f"{output['split']} {UNITS[output['metric']]}"
        return [
            joint_law_curves(found, predictions, size_label=_name_size(output), y_label=label),
            residual_panels({found.fit.law.name: found.fit}),
            fit_table(found.fit, found.bootstrap),
            *([Listing(summary(found.choice))] if found.choice else []),
            Folded("Details of the fit", (Listing(summary(found.bootstrap or found.fit)),)),
            *([Text(f"No intervals: {found.refused}.")] if found.refused else []),
        ]

    def hold_out(self, output: dict[str, Any]) -> list[Block]:
        """Predictions of the runs held out, and how they came out."""
        law = output["law"]
        taught = law["is"] == "DistillationLaw"
        measured = law["supervised"] if taught else law
        found = self.distilled(law) if taught else self.joint(law)
        held = law_runs(self.runs[select_cells(self.runs, output["where"])], measured, law["where"])
        held = held[held["teacher"].notna()] if taught else held
        if not len(held):
            raise AnalysisError("none of the runs held out is one of the law's")
        if taught:
            check_teachers(held)
        predicted = found.predict(held)
        table = pd.concat([held[["cell", "loss"]].reset_index(drop=True), predicted], axis=1)
        others = {other.law.name: other.predict(predicted) for other in fit_other_laws(found.fit)}
        label = f"{measured['split']} {UNITS[measured['metric']]}"
        distance = measure_distance(found.fit.points, {c: predicted[c] for c in found.fit.law.columns})
        beyond = f"Beyond the runs of the fit: {'; '.join(distance)}." if distance else ""
        return [
            held_out_predictions(table, x_label=label),
            hold_out_table(table, others),
            *([Text(beyond)] if beyond else []),
            Text(_judge(table, found)),
        ]


def _name_size(law: Mapping[str, Any]) -> str:
    return f"parameters N ({law['size'].replace('_', '-')})"


def _judge(table: pd.DataFrame, found: JointFit | DistilledFit) -> str:
    """How many of the held-out runs came out within their intervals, as a sentence."""
    done = table.dropna(subset=["loss"])
    law = f"{found.fit.law.name} fitted to {len(found.fit.points)} runs"
    if not len(done):
        return f"None of the {len(table)} held-out runs is done: these are predictions of {law}."
    if found.bootstrap is None:
        return f"{len(done)} of {len(table)} held-out runs are done; {law} has no intervals: {found.refused}."
    inside = int(done["loss"].between(done["low"], done["high"]).sum())
    return f"{inside} of {len(done)} held-out runs that are done lie in the 95 % interval of {law}."
