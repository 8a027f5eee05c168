"""`analyse distil` and `analyse transfer`: students against their teachers, and best rates against width."""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pdstudy.analysis.command_input import read_command_table
from pdstudy.analysis.data.points import find_column, positive
from pdstudy.analysis.data.table_file import evaluate
from pdstudy.analysis.errors import AnalysisError
from pdstudy.analysis.fit.distilled_fit import DistilledFit, distilled_fit
from pdstudy.analysis.fit.findings import as_data
from pdstudy.analysis.fit.joint_fit import joint_fit
from pdstudy.analysis.fit_commands import Printed
from pdstudy.analysis.scaling.allocation import TableFlops, six_n
from pdstudy.analysis.scaling.crossover import best_teacher, crossover
from pdstudy.analysis.scaling.rate_transfer import best_rates
from pdstudy.analysis.scaling.spending import spend
from pdstudy.analysis.summary import summary


def run_distil(args: argparse.Namespace) -> Printed:
    """The law of students and teachers with L_M fitted beside it: crossovers, best teachers, budgets, held-out runs."""
    table = read_command_table(args)
    alone = evaluate(table, args.supervised)
    held = evaluate(table, args.holdout) if args.holdout else np.zeros(len(table), dtype=bool)
    _check_rows(args, alone, held)
    runs = _rename(table[alone & ~held], {"N": args.n, "D": args.d, "loss": args.loss})
    names = {"N": args.n, "D": args.d, "LT": args.teacher_loss, "loss": args.loss}
    students, unseen = _rename(table[~alone & ~held], names), table[~alone & held]
    joint = joint_fit(runs, args.law, resamples=args.bootstrap, seed=args.seed)
    fitted = distilled_fit(students, joint, resamples=args.bootstrap, seed=args.seed)
    result: dict[str, Any] = {
        "ok": True,
        "supervised": as_data(joint.fit, joint.bootstrap, joint.refused),
        "distilled": as_data(fitted.fit, fitted.bootstrap, fitted.refused),
    }
    lines = [f"law of L_M, from {len(runs)} runs without a teacher:", summary(joint.bootstrap or joint.fit)]
    lines += [f"law of {len(students)} students:", summary(fitted.bootstrap or fitted.fit)]
    lines += [f"no intervals: {fitted.refused}"] if fitted.refused else []
    for name, frame in _find_conclusions(args, fitted, table[alone & ~held], students, unseen, names).items():
        result[name] = json.loads(frame.to_json(orient="records", double_precision=15))
        lines += [f"{name.replace('_', ' ')}:", frame.to_string(index=False, float_format=lambda v: f"{v:.5g}")]
    if args.figures:
        from pdstudy.analysis.figures.distilled_curves import student_by_teacher
        from pdstudy.analysis.figures.fits import predicted_and_measured

        student_by_teacher(fitted, students, y_label=args.loss).save(args.figures / "students")
        predicted_and_measured(fitted.fit).save(args.figures / "predicted")
    return result, "\n".join(lines)


def _check_rows(args: argparse.Namespace, alone: NDArray[np.bool_], held: NDArray[np.bool_]) -> None:
    """Raises `AnalysisError` where a law has no rows, or none is held out (masks of the rows)."""
    if not (alone & ~held).any() or not (~alone & ~held).any():
        left = f" and --holdout {args.holdout!r} leaves" if args.holdout else " leaves"
        raise AnalysisError(
            f"--supervised {args.supervised!r}{left} {int((alone & ~held).sum())} runs without a teacher and "
            f"{int((~alone & ~held).sum())} students, of {len(alone)} rows; allowed: some of both"
        )
    if args.holdout and not (~alone & held).any():
        raise AnalysisError(f"--holdout {args.holdout!r} holds for no row with a teacher; allowed: one that does")


def _find_conclusions(
    args: argparse.Namespace, fitted: DistilledFit, alone: pd.DataFrame, students: pd.DataFrame, unseen: pd.DataFrame,
    names: dict[str, str],
) -> dict[str, pd.DataFrame]:  # fmt: skip
    """Tables by what they tell, in the order of the output."""
    sizes = sorted(set(students["N"]))
    crossed = [
        {"N": n, "LT": t, **dict(zip(("tokens", "low", "high"), vars(crossover(fitted, n, t)).values()))}
        for n in sizes
        for t in sorted(set(students["LT"]))
    ]
    best = []
    for n, d in sorted(set(zip(students["N"], students["D"], strict=True))):
        found = best_teacher(fitted, n, d)
        each = dict(zip(("LT", "low", "high"), vars(found.teacher_loss).values()))
        best.append({"N": n, "D": d, **each, "interior": found.interior, "loss": found.student_loss})
    shown = {"crossovers": pd.DataFrame(crossed), "best_teachers": pd.DataFrame(best)}
    if args.budget:
        per_token = six_n
        if args.c:
            n, d, cost = (positive(alone, c, m) for c, m in ((args.n, "N"), (args.d, "D"), (args.c, "training FLOPs")))
            per_token = TableFlops.measure(n, d, cost)
        shown["budgets"] = pd.concat([spend(fitted, n, args.budget, per_token) for n in sizes], ignore_index=True)
    if args.holdout:
        places = _rename(unseen, names)
        shown["held_out"] = fitted.predict(places).assign(measured=places["loss"].to_numpy())
    return shown


def run_transfer(args: argparse.Namespace) -> Printed:
    """Best rates by width and line, and their drift."""
    table = read_command_table(args, [args.line] if args.line else [])
    if args.line:
        find_column(table, args.line, "lines")
    made = _rename(table, {"width": args.width, "rate": args.rate, "loss": args.loss})
    found = best_rates(made.assign(line=table[args.line] if args.line else "all runs"), seed=args.seed)
    if args.figures:
        from pdstudy.analysis.figures.compute_optimal_curves import rates_by_width

        rates_by_width(found, rate_label=args.rate, width_label=args.width).save(args.figures / "transfer")
    source = "by the scatter of seeds" if found.by_seeds else "the neighbouring rates of the grid"
    text = found.frame.to_string(index=False, float_format=lambda v: f"{v:.4g}")
    rows = json.loads(found.frame.to_json(orient="records", double_precision=15))
    said = f"best rates; intervals: {source}; drift from the smallest width in steps of root two"
    return {"intervals": source, "rates": rows}, f"{said}\n{text}"


def _rename(table: pd.DataFrame, names: dict[str, str]) -> pd.DataFrame:
    """A table of the named columns alone, as numbers above zero."""
    return pd.DataFrame({new: positive(table, old, new) for new, old in names.items()}, index=table.index)
