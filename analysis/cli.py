"""`analyse fit | isoflop | allocate | compare`: the functions of this package on a CSV file.

The caller adds the parser with `add_parser(subparsers)` and calls `run(args)`; `python -m pdstudy.analysis.cli` works
too."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from pdstudy.analysis.compare.seeds import compare
from pdstudy.analysis.data.points import Points, column, points, positive
from pdstudy.analysis.data.table_file import evaluate, parse_number, read_table, select_rows
from pdstudy.analysis.errors import AnalysisError, TooFewRuns, describe_os_error
from pdstudy.analysis.fit.bootstrap import Bootstrap, bootstrap
from pdstudy.analysis.fit.extrapolation import fit_other_laws, measure_distance
from pdstudy.analysis.fit.findings import as_data, warnings
from pdstudy.analysis.fit.fit import fit
from pdstudy.analysis.fit.fit_result import Fit
from pdstudy.analysis.fit.holdout import hold_out
from pdstudy.analysis.laws import Law, power_law
from pdstudy.analysis.options import LAWS, add_commands
from pdstudy.analysis.scaling.allocation import TableFlops, allocate, six_n
from pdstudy.analysis.scaling.budget_minimum import Method
from pdstudy.analysis.scaling.isoflop import isoflop
from pdstudy.analysis.summary import summary
from pdstudy.analysis.tables.builders import comparison_table, fit_table
from pdstudy.core.streams import printable


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `analyse` with its four commands; parsed arguments go to `run`."""
    parser = subparsers.add_parser("analyse", help="fit scaling laws, isoFLOP minima, allocations, paired comparisons")
    add_commands(parser)


def run(args: argparse.Namespace) -> int:
    """Run the chosen command and return its exit status. A refusal is one line on standard error and status 2."""
    command = {"fit": _fit, "isoflop": _isoflop, "allocate": _allocate, "compare": _compare}[args.analysis]
    try:
        command(args)
    except AnalysisError as error:
        print(f"analyse {args.analysis}: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"analyse {args.analysis}: {describe_os_error(error)}", file=sys.stderr)
        return 2
    return 0


def _read(args: argparse.Namespace, labels: Sequence[str] = ()) -> pd.DataFrame:
    table = read_table(args.data, labels)
    quantities = {"N": getattr(args, "n", None), "D": getattr(args, "d", None)}
    for name, factor in _values(args.units, "--units").items():
        chosen = quantities.get(name) or name
        table[chosen] = factor * column(table, chosen, "--units")
    return select_rows(table, args.where) if args.where else table


def _fit_options(args: argparse.Namespace) -> dict[str, Any]:
    """Options that every fit of one command shares, that without the held-out runs too."""
    tied = [tuple(group.split(",")) for group in args.tie]
    return {"delta": args.delta, "fixed": _values(args.fix, "--fix"), "tied": tied}


def _law(args: argparse.Namespace) -> tuple[Law, dict[str, str]]:
    columns = {k: v for k, v in (("N", args.n), ("D", args.d)) if v}
    for text in args.col:
        name, equal, value = text.partition("=")
        if not equal or not value:
            raise AnalysisError(f"--col {text!r}: write NAME=COL, for example --col U=unique_tokens")
        columns[name] = value
    law = LAWS[args.law]
    if len(law.columns) == 1 and len(columns) == 1:  # a law of one quantity takes whichever is given
        law = power_law(next(iter(columns)), floor="E" in law.names)
    missing = [c for c in law.columns if c not in columns]
    if missing:
        options = {"N": "--n COL", "D": "--d COL"}
        raise AnalysisError(f"{law.name} needs {', '.join(options.get(c, f'--col {c}=COL') for c in missing)}")
    return law, columns


def _values(texts: list[str], option: str) -> dict[str, float]:
    found = {}
    for part in (p for text in texts for p in text.split(",")):
        name, _, value = part.partition("=")
        try:
            found[name.strip()] = parse_number(value or "no value")
        except ValueError:
            raise AnalysisError(f"{option} {part!r}: write NAME=NUMBER, for example N=7e9") from None
    return found


def _fitted(args: argparse.Namespace) -> tuple[pd.DataFrame, Points, Fit, Bootstrap | None, str]:
    table = _read(args)
    law, columns = _law(args)
    data = points(
        table, law, loss=args.loss, columns=columns, weights=args.weights, cluster=args.cluster,
        duplicates=args.duplicates,
    )  # fmt: skip
    fitted = fit(data, law, **_fit_options(args))
    if not fitted.ok or not args.bootstrap:
        return table, data, fitted, None, ""
    try:
        return table, data, fitted, bootstrap(fitted, args.bootstrap, args.seed), ""
    except TooFewRuns as error:
        return table, data, fitted, None, str(error)


def _fit(args: argparse.Namespace) -> None:
    table, data, fitted, resampled, refused = _fitted(args)
    result = as_data(fitted, resampled, refused)
    text = [summary(resampled or fitted)]
    text += [f"intervals refused: {refused}"] if refused else []
    if args.holdout and fitted.ok:
        # Rows that were dropped as copies are in the table, not among the points.
        held_out = evaluate(table, args.holdout)[table.index.get_indexer(pd.Index(data.rows))]
        held = hold_out(
            data, fitted.law, held_out, resamples=args.bootstrap, seed=args.seed,
            **_fit_options(args),
        )  # fmt: skip
        result["holdout"] = {
            "runs": len(held.errors), "rms": held.rms, "training_rms": held.training_rms, "mean": held.mean,
            "worst": held.worst, "coverage": None if np.isnan(held.coverage) else held.coverage,
            "warnings": warnings(held.fit), "beyond": measure_distance(held.fit.points, held.test.x),
        }  # fmt: skip
        text.append(f"hold-out {summary(held)}")
    if args.predict and fitted.ok:
        predictions = [_predict(fitted, resampled, wanted) for wanted in args.predict]
        result["predictions"] = [row for row, _ in predictions]
        text += [line for _, line in predictions]
    if args.figures and fitted.ok:
        from pdstudy.analysis.figures.diagnostics import residual_panels
        from pdstudy.analysis.figures.fits import predicted_and_measured

        predicted_and_measured(fitted).save(args.figures / "predicted")
        residual_panels({fitted.law.name: fitted}).save(args.figures / "residuals")
        fit_table(fitted, resampled).save(args.figures / "fit")
    _show(args, result, "\n".join(text))
    if not fitted.ok:
        raise AnalysisError(fitted.reason)


def _predict(fitted: Fit, resampled: Bootstrap | None, wanted: str) -> tuple[dict[str, object], str]:
    """The loss at one place as data and as text; beyond the runs with what other laws say there."""
    x = _values([wanted], "--predict")
    absent = [c for c in fitted.law.columns if not x.get(c, 0) > 0]
    if absent:
        raise AnalysisError(f"--predict {wanted!r} needs a positive {', '.join(absent)}")
    loss = float(fitted.predict(x)[0])
    row: dict[str, object] = {**x, "loss": loss}
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


def _isoflop(args: argparse.Namespace) -> None:
    found = isoflop(
        _read(args),
        n=args.n,
        loss=args.loss,
        budget=args.c,
        method=Method(args.method),
        noise=args.noise,
        seed=args.seed,
    )
    if args.figures:
        from pdstudy.analysis.figures.isoflop_curves import isoflop_curves

        isoflop_curves(found).save(args.figures / "isoflop")
    low, high = found.size.interval()
    result = {
        "method": found.method.value,
        "exponent_n": found.size.exponent,
        "exponent_d": found.tokens.exponent,
        "interval_n": None if np.isnan(low) else [low, high],
        "r2": found.size.r2,
        "noise": None if np.isnan(found.noise) else found.noise,
        "noise_source": found.noise_source,
        "minima": json.loads(found.to_frame().to_json(orient="records", double_precision=15)),
        "warnings": list(found.warnings),
    }
    _show(args, result, summary(found))


def _allocate(args: argparse.Namespace) -> None:
    table, data, fitted, resampled, refused = _fitted(args)
    if set(fitted.law.columns) != {"N", "D"}:
        raise AnalysisError(
            f"{fitted.law.name} is a law in {', '.join(fitted.law.columns)}; --law needs one in N and D"
        )
    per_token = (
        six_n
        if args.flops is None
        else TableFlops.measure(
            data.x["N"], data.x["D"], positive(table.loc[list(data.rows)], args.flops, "training FLOPs")
        )
    )
    found = allocate(fitted, args.budget, bootstrap=resampled, flops=per_token)
    if args.figures:
        from pdstudy.analysis.figures.isoflop_curves import allocation_curves

        allocation_curves(found).save(args.figures / "allocation")
    result = as_data(fitted, resampled, refused)
    result["allocation_warnings"] = list(found.warnings)
    result["allocation"] = json.loads(found.to_frame().to_json(orient="records", double_precision=15))
    text = [
        summary(resampled or fitted),
        summary(found),
        *([f"intervals refused: {refused}"] if refused else []),
    ]
    _show(args, result, "\n".join(text))


def _compare(args: argparse.Namespace) -> None:
    table = _read(args, [args.arm, args.seed, *args.within])
    found = compare(
        table, metric=args.metric, baseline=args.baseline, arm=args.arm, seed=args.seed, within=args.within,
        lower_is_better=not args.higher_is_better, relative=args.relative, margin=args.margin,
    )  # fmt: skip
    if args.figures:
        from pdstudy.analysis.figures.run_comparisons import effects

        effects(found).save(args.figures / "comparison")
        comparison_table(found).save(args.figures / "comparison")
    result = {
        "caption": found.caption(),
        "effects": json.loads(found.to_frame().to_json(orient="records", double_precision=15)),
    }
    _show(args, result, summary(found))


def _show(args: argparse.Namespace, result: dict[str, object], text: str) -> None:
    print(json.dumps(result, indent=2, allow_nan=False) if args.json else printable(text, keep="\n"))


def main() -> int:
    """`python -m pdstudy.analysis.cli fit ...`"""
    parser = argparse.ArgumentParser(prog="analyse", description=__doc__)
    add_commands(parser)
    return run(parser.parse_args())


if __name__ == "__main__":
    raise SystemExit(main())
