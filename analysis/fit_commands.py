"""`analyse fit` and `analyse allocate`: a law fitted to a table, and what it predicts."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pdstudy.analysis.command_input import AUTO, read_columns, read_command_table, read_law, read_values
from pdstudy.analysis.data.points import Points, points, positive
from pdstudy.analysis.data.table_file import evaluate, select_rows
from pdstudy.analysis.errors import AnalysisError, TooFewRuns
from pdstudy.analysis.fit.bootstrap import Bootstrap, bootstrap
from pdstudy.analysis.fit.choice import LawChoice, choose_law
from pdstudy.analysis.fit.estimated_columns import draw_columns
from pdstudy.analysis.fit.extrapolation import fit_other_laws, measure_distance
from pdstudy.analysis.fit.findings import as_data, warnings
from pdstudy.analysis.fit.fit import fit
from pdstudy.analysis.fit.fit_result import Fit
from pdstudy.analysis.fit.given_law import judge_law
from pdstudy.analysis.fit.holdout import hold_out
from pdstudy.analysis.fit.outliers import leave_out_outliers
from pdstudy.analysis.laws import GAMMA, laws_of
from pdstudy.analysis.scaling.allocation import TableFlops, allocate, six_n
from pdstudy.analysis.summary import summary
from pdstudy.analysis.tables.builders import fit_table

Printed = tuple[dict[str, Any], str]
"""A result as JSON holds it, and as text."""


@dataclass(frozen=True)
class _Fitted:
    """A fit of the command line with all that was learned on the way."""

    table: pd.DataFrame
    data: Points
    fit: Fit
    resampled: Bootstrap | None
    refused: str
    choice: LawChoice | None
    supervised: Fit | None

    def shown(self) -> Printed:
        result = as_data(self.fit, self.resampled, self.refused)
        text = [summary(self.choice)] if self.choice else []
        text += [f"law of LM, from the runs without a teacher:\n{summary(self.supervised)}"] if self.supervised else []
        text.append(summary(self.resampled or self.fit))
        text += [f"intervals refused: {self.refused}"] if self.refused else []
        if self.choice:
            frame = json.loads(self.choice.frame.to_json(orient="records", double_precision=15))
            result["choice"] = {"said": self.choice.said, "laws": frame}
        if self.supervised:
            result["supervised"] = as_data(self.supervised, None, "")
        return result, "\n".join(text)


def run_fit(args: argparse.Namespace) -> Printed:
    """Fit, intervals, hold-out and predictions; coefficients that are all given are judged."""
    columns = read_columns(args)
    given = read_values(args.fix, "--fix")
    if args.law != AUTO and not args.supervised:
        law = read_law(args.law, columns)
        if set(given) == set(law.names):
            data = _read_points(args, read_command_table(args), law, columns)
            judged = judge_law(data, law, given, delta=args.delta)
            names = ("rms", "mean", "worst", "objective")
            result = {"law": law.name, "given": given, "runs": len(data), **{n: getattr(judged, n) for n in names}}
            return result, summary(judged)
    found = _fit_command(args)
    result, text = found.shown()
    lines = [text]
    if not found.fit.ok:
        return result, text
    if args.holdout and not found.choice:
        held, line = _hold_out(args, found)
        result["holdout"] = held
        lines.append(line)
    if args.predict:
        predictions = [_predict(found.fit, found.resampled, wanted) for wanted in args.predict]
        result["predictions"] = [row for row, _ in predictions]
        lines += [line for _, line in predictions]
    if args.figures:
        from pdstudy.analysis.figures.diagnostics import residual_panels
        from pdstudy.analysis.figures.fits import predicted_and_measured

        predicted_and_measured(found.fit).save(args.figures / "predicted")
        residual_panels({found.fit.law.name: found.fit}).save(args.figures / "residuals")
        fit_table(found.fit, found.resampled).save(args.figures / "fit")
    return result, "\n".join(lines)


def run_allocate(args: argparse.Namespace) -> Printed:
    """Fit a law and spend budgets by it."""
    found = _fit_command(args)
    fitted = found.fit
    if set(fitted.law.columns) != {"N", "D"}:
        raise AnalysisError(
            f"{fitted.law.name} is a law in {', '.join(fitted.law.columns)}; --law needs one in N and D"
        )
    per_token = six_n
    if args.flops is not None:
        rows = found.table.loc[list(found.data.rows)]
        flops = positive(rows, args.flops, "training FLOPs")
        per_token = TableFlops.measure(found.data.x["N"], found.data.x["D"], flops)
    plan = allocate(fitted, args.budget, bootstrap=found.resampled, flops=per_token)
    if args.figures:
        from pdstudy.analysis.figures.isoflop_curves import allocation_curves

        allocation_curves(plan).save(args.figures / "allocation")
    result, text = found.shown()
    result["allocation_warnings"] = list(plan.warnings)
    result["allocation"] = json.loads(plan.to_frame().to_json(orient="records", double_precision=15))
    return result, f"{text}\n{summary(plan)}"


def _read_points(args: argparse.Namespace, table: pd.DataFrame, law: Any, columns: dict[str, str]) -> Points:
    return points(
        table, law, loss=args.loss, columns=columns, weights=args.weights, cluster=args.cluster,
        duplicates=args.duplicates,
    )  # fmt: skip


def _fit_options(args: argparse.Namespace) -> dict[str, Any]:
    """Options that every fit of one command shares, that without the held-out runs too."""
    tied = [tuple(group.split(",")) for group in args.tie]
    return {"delta": args.delta, "fixed": read_values(args.fix, "--fix"), "tied": tied}


def _fit_command(args: argparse.Namespace) -> _Fitted:
    table, columns = read_command_table(args), read_columns(args)
    supervised, choice = None, None
    if args.law == AUTO:
        law, choice = _choose(args, table, columns)
    else:
        law = read_law(args.law, columns, predicted=("LM",) if args.supervised else ())
        exact = {"--supervised": args.supervised, "--teacher-error": args.teacher_error}
        needless = [option for option, value in exact.items() if value]
        if needless and not {"LT", "LM"} <= set(law.columns):
            raise AnalysisError(f"{needless[0]} is for laws of LT and LM, such as distillation; {law.name} is none")
        if args.supervised:
            table, supervised = _fit_supervised(args, table, columns)
    data = _read_points(args, table, law, columns)
    fitted = fit(data, law, **_fit_options(args))
    if args.outliers and fitted.ok:
        fitted = leave_out_outliers(fitted, args.outliers)
        data = fitted.points
    resampled, refused = None, ""
    if fitted.ok and args.bootstrap:
        try:
            estimates = None
            if supervised or args.teacher_error:
                again = bootstrap(supervised, max(100, args.bootstrap // 4), args.seed) if supervised else None
                estimates = draw_columns(data, supervised=again, teacher_error=args.teacher_error)
            resampled = bootstrap(fitted, args.bootstrap, args.seed, estimates=estimates)
        except TooFewRuns as error:
            refused = str(error)
    return _Fitted(table, data, fitted, resampled, refused, choice, supervised)


def _choose(args: argparse.Namespace, table: pd.DataFrame, columns: dict[str, str]) -> tuple[Any, LawChoice]:
    """The law that predicts the held-out runs best, among those of the quantities given."""
    if args.fix or args.tie:
        raise AnalysisError("--law auto compares whole laws: name one law to fix or tie its parameters")
    laws = laws_of(columns)
    if not laws:
        raise AnalysisError(f"no law has exactly the quantities {', '.join(columns) or 'none'}; give --n, --d, --col")
    data = _read_points(args, table, laws[0], columns)
    test = _held_out(args, table, data) if getattr(args, "holdout", None) else None
    choice = choose_law(data, laws, test=test, rule=args.holdout if test is not None else "", delta=args.delta,
                        seed=args.seed)  # fmt: skip
    return choice.law, choice


def _fit_supervised(args: argparse.Namespace, table: pd.DataFrame, columns: dict[str, str]) -> tuple[pd.DataFrame, Fit]:
    """The students with LM from the supervised law of the rows without a teacher, and that law's fit."""
    alone = evaluate(table, args.supervised)
    if "LM" in columns:
        raise AnalysisError("--supervised fits LM; leave out --col LM=...")
    rows = select_rows(table, args.supervised)
    own = {c: columns[c] for c in GAMMA.columns}
    supervised = fit(points(rows, GAMMA, loss=args.loss, columns=own), GAMMA, delta=args.delta)
    if not supervised.ok:
        raise AnalysisError(
            f"the law of LM was not fitted to the {len(rows)} rows without a teacher: {supervised.reason}"
        )
    students = table[~alone]
    if not len(students):
        raise AnalysisError(f"--supervised {args.supervised!r} holds for every row: no students are left")
    at = {c: positive(students, own[c], c) for c in GAMMA.columns}
    columns["LM"] = "LM"
    return students.assign(LM=supervised.predict(at)), supervised


def _held_out(args: argparse.Namespace, table: pd.DataFrame, data: Points) -> np.ndarray:
    """Which of the points are held out: rows dropped as copies or outliers are in the table, not among the points."""
    return evaluate(table, args.holdout)[table.index.get_indexer(pd.Index(data.rows))]


def _hold_out(args: argparse.Namespace, found: _Fitted) -> Printed:
    held = hold_out(
        found.data, found.fit.law, _held_out(args, found.table, found.data), resamples=args.bootstrap, seed=args.seed,
        **_fit_options(args),
    )  # fmt: skip
    result = {
        "runs": len(held.errors), "rms": held.rms, "training_rms": held.training_rms, "mean": held.mean,
        "worst": held.worst, "coverage": None if np.isnan(held.coverage) else held.coverage,
        "warnings": warnings(held.fit), "beyond": measure_distance(held.fit.points, held.test.x),
    }  # fmt: skip
    return result, f"hold-out {summary(held)}"


def _predict(fitted: Fit, resampled: Bootstrap | None, wanted: str) -> Printed:
    """The loss at one place as data and as text; beyond the runs with what other laws say there."""
    x = read_values([wanted], "--predict")
    absent = [c for c in fitted.law.columns if not x.get(c, 0) > 0]
    if absent:
        raise AnalysisError(f"--predict {wanted!r} needs a positive {', '.join(absent)}")
    loss = float(fitted.predict(x)[0])
    row: dict[str, Any] = {**x, "loss": loss}
    lines = [f"predicted loss at {wanted}: {loss:.5f}"]
    ends = [loss]
    for kind in ("confidence", "prediction") if resampled else ():
        assert resampled is not None
        low, high = (float(end[0]) for end in resampled.band(x, prediction=kind == "prediction"))
        row[kind] = [low, high]
        lines[0] += f", 95 % {kind} [{low:.4f}, {high:.4f}]"
        ends = [low, high]
    distance = measure_distance(fitted.points, x)
    if distance:
        others = {other.law.name: float(other.predict(x)[0]) for other in fit_other_laws(fitted)}
        ends = [min(*ends, *others.values(), loss), max(*ends, *others.values(), loss)]
        row |= {"beyond": distance, "other_laws": others, "range": ends}
        lines.append(f"  warning: {', '.join(distance)}; the band holds for {fitted.law.name} alone")
        if others:
            said = ", ".join(f"{name} {value:.5f}" for name, value in others.items())
            lines.append(f"  laws that fit as well predict {said}; range with them [{ends[0]:.4f}, {ends[1]:.4f}]")
    return row, "\n".join(lines)
