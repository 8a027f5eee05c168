"""`analyse fit | isoflop | allocate | compare`: the functions of this package on a CSV file.

The caller adds the parser with `add_parser(subparsers)` and calls `run(args)`; `python -m pdstudy.analysis.cli` works
too."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from pdstudy.analysis.compare.seeds import compare
from pdstudy.analysis.data.points import Points, points
from pdstudy.analysis.errors import AnalysisError, DataError, TooFewRuns, describe_os_error
from pdstudy.analysis.fit.bootstrap import Bootstrap, bootstrap
from pdstudy.analysis.fit.findings import as_data
from pdstudy.analysis.fit.fit import DELTA, fit
from pdstudy.analysis.fit.fit_result import Fit
from pdstudy.analysis.fit.holdout import hold_out
from pdstudy.analysis.laws import ALL, Law, power_law
from pdstudy.analysis.scaling.allocation import allocate
from pdstudy.analysis.scaling.isoflop import Method, isoflop
from pdstudy.analysis.summary import summary
from pdstudy.analysis.tables.builders import comparison_table, fit_table

LAWS = {law.name: law for law in ALL}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `analyse` with its four commands; parsed arguments go to `run`."""
    parser = subparsers.add_parser("analyse", help="fit scaling laws, isoFLOP minima, allocations, paired comparisons")
    _commands(parser)


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


def _commands(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="analysis", required=True, metavar="COMMAND")
    for name, text in (("fit", "fit a law to runs"), ("allocate", "fit a law and spend budgets by it")):
        command = commands.add_parser(name, help=text)
        _common(command)
        command.add_argument("--law", required=True, choices=list(LAWS), help="law to fit")
        command.add_argument("--n", metavar="COL", help="column of parameters N")
        command.add_argument("--d", metavar="COL", help="column of tokens D")
        command.add_argument(
            "--col", metavar="NAME=COL", action="append", default=[], help="column of another quantity"
        )
        command.add_argument("--loss", metavar="COL", required=True, help="column of the loss")
        command.add_argument("--weights", metavar="COL", help="column of weights")
        command.add_argument("--cluster", metavar="COL", help="rows of equal value belong together (run, seed)")
        command.add_argument("--fix", metavar="NAME=VALUE", action="append", default=[], help="hold a parameter")
        command.add_argument("--tie", metavar="A,B", action="append", default=[], help="hold parameters equal")
        command.add_argument(
            "--delta", type=float, default=DELTA, help="Huber threshold on log residuals (default 1e-3)"
        )
        command.add_argument(
            "--bootstrap", metavar="N", type=int, default=0, help="resamples for intervals (4000 is usual)"
        )
        command.add_argument("--seed", type=int, default=0, help="seed of the bootstrap")
        if name == "fit":
            command.add_argument("--holdout", metavar="EXPR", help="also fit without these rows and predict them")
            command.add_argument(
                "--predict", metavar="N=...,D=...", action="append", default=[], help="predict one loss"
            )
        else:
            command.add_argument("--budget", type=float, nargs="+", required=True, help="FLOPs")
    iso = commands.add_parser("isoflop", help="best size per budget and its growth")
    _common(iso)
    iso.add_argument("--n", metavar="COL", required=True, help="column of parameters N")
    iso.add_argument("--loss", metavar="COL", required=True, help="column of the loss")
    iso.add_argument("--c", metavar="COL", required=True, help="column of the budget in FLOPs")
    iso.add_argument("--method", choices=[m.value for m in Method], default=Method.AKIMA.value)
    iso.add_argument("--noise", type=float, help="standard deviation of ln loss (default: estimated)")
    iso.add_argument("--seed", type=int, default=0, help="seed of the noise")
    pair = commands.add_parser("compare", help="arms against a baseline, paired by seed")
    _common(pair)
    pair.add_argument("--metric", metavar="COL", required=True)
    pair.add_argument("--baseline", metavar="ARM", required=True)
    pair.add_argument("--arm", metavar="COL", default="arm")
    pair.add_argument("--seed", metavar="COL", default="seed")
    pair.add_argument("--within", metavar="COL", action="append", default=[], help="compare within each value of it")
    pair.add_argument("--higher-is-better", action="store_true")
    pair.add_argument("--relative", action="store_true", help="differences in per cent of the baseline")
    pair.add_argument("--margin", type=float, help="half-width of the region that counts as equivalent")


def _common(command: argparse.ArgumentParser) -> None:
    command.add_argument("data", metavar="DATA.csv", type=Path)
    command.add_argument("--where", metavar="EXPR", help="keep rows, as pandas' query: 'loss < 3.4 and tokens > 1e9'")
    command.add_argument("--json", action="store_true", help="print JSON instead of text")
    command.add_argument("--figures", metavar="DIR", type=Path, help="write figures and tables here")


def _read(args: argparse.Namespace) -> pd.DataFrame:
    try:
        table = pd.read_csv(args.data)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DataError(f"{args.data} is no CSV table: {error}") from None
    return _rows(table, args.where) if args.where else table


def _rows(table: pd.DataFrame, expression: str) -> pd.DataFrame:
    kept = table[_mask(table, expression)]
    if not len(kept):
        raise DataError(f"no row satisfies {expression!r}; the table has {len(table)}")
    return kept


def _mask(table: pd.DataFrame, expression: str) -> np.ndarray:
    """Rows for which an expression holds. Only columns, numbers, comparisons: no calls and no attributes."""
    # pandas' eval would resolve `@name` and attribute calls; a condition on columns needs neither.
    if "@" in expression or "__" in expression:
        raise DataError(
            f"{expression!r}: only columns, numbers, texts, comparisons, and/or/not may stand in a condition"
        )
    try:
        found = table.eval(expression, engine="python")
    except Exception as error:  # pandas raises many kinds here, all of them about the user's text
        names = ", ".join(str(c) for c in table.columns)
        raise DataError(f"{expression!r} can't be evaluated ({error}); columns: {names}") from None
    mask = np.asarray(found)
    if mask.dtype != bool or mask.shape != (len(table),):
        raise DataError(f"{expression!r} gives no yes or no per row; write a comparison such as 'loss < 3.4'")
    return mask


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
            found[name.strip()] = float(value)
        except ValueError:
            raise AnalysisError(f"{option} {part!r}: write NAME=NUMBER, for example N=7e9") from None
    return found


def _fitted(args: argparse.Namespace) -> tuple[pd.DataFrame, Points, Fit, Bootstrap | None, str]:
    table = _read(args)
    law, columns = _law(args)
    data = points(table, law, loss=args.loss, columns=columns, weights=args.weights, cluster=args.cluster)
    tied = [tuple(group.split(",")) for group in args.tie]
    fitted = fit(data, law, delta=args.delta, fixed=_values(args.fix, "--fix"), tied=tied)
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
        held = hold_out(data, fitted.law, _mask(table, args.holdout), delta=args.delta, resamples=args.bootstrap)
        result["holdout"] = {"runs": len(held.errors), "rms": held.rms, "mean": held.mean, "worst": held.worst,
                             "coverage": None if np.isnan(held.coverage) else held.coverage}  # fmt: skip
        text.append(f"hold-out {summary(held)}")
    predictions = []
    for wanted in args.predict if fitted.ok else []:
        x = _values([wanted], "--predict")
        absent = [c for c in fitted.law.columns if not x.get(c, 0) > 0]
        if absent:
            raise AnalysisError(f"--predict {wanted!r} needs a positive {', '.join(absent)}")
        row: dict[str, object] = {**x, "loss": float(fitted.predict(x)[0])}
        line = f"predicted loss at {wanted}: {row['loss']:.5f}"
        if resampled:
            for kind in ("confidence", "prediction"):
                low, high = resampled.band(x, prediction=kind == "prediction")
                row[kind] = [float(low[0]), float(high[0])]
                line += f", 95 % {kind} [{low[0]:.4f}, {high[0]:.4f}]"
        predictions.append(row)
        text.append(line)
    if predictions:
        result["predictions"] = predictions
    if args.figures and fitted.ok:
        from pdstudy.analysis.figures.diagnostics import residual_panels
        from pdstudy.analysis.figures.fits import predicted_and_measured

        predicted_and_measured(fitted).save(args.figures / "predicted")
        residual_panels({fitted.law.name: fitted}).save(args.figures / "residuals")
        fit_table(fitted, resampled).save(args.figures / "fit")
    _show(args, result, "\n".join(text))
    if not fitted.ok:
        raise AnalysisError(fitted.reason)


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
        "minima": json.loads(found.to_frame().to_json(orient="records", double_precision=15)),
        "warnings": list(found.warnings),
    }
    _show(args, result, summary(found))


def _allocate(args: argparse.Namespace) -> None:
    _, _, fitted, resampled, refused = _fitted(args)
    found = allocate(fitted, args.budget, bootstrap=resampled)
    if args.figures:
        from pdstudy.analysis.figures.isoflop_curves import allocation_curves

        allocation_curves(found).save(args.figures / "allocation")
    result = as_data(fitted, resampled, refused)
    result["allocation"] = json.loads(found.to_frame().to_json(orient="records", double_precision=15))
    text = [
        summary(resampled or fitted),
        summary(found),
        *([f"intervals refused: {refused}"] if refused else []),
    ]
    _show(args, result, "\n".join(text))


def _compare(args: argparse.Namespace) -> None:
    found = compare(
        _read(args), metric=args.metric, baseline=args.baseline, arm=args.arm, seed=args.seed, within=args.within,
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
    print(json.dumps(result, indent=2, allow_nan=False) if args.json else text)


def main() -> int:
    """`python -m pdstudy.analysis.cli fit ...`"""
    parser = argparse.ArgumentParser(prog="analyse", description=__doc__)
    _commands(parser)
    return run(parser.parse_args())


if __name__ == "__main__":
    raise SystemExit(main())
