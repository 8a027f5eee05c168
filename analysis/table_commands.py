"""`analyse isoflop`, `analyse exponents` and `analyse compare`: results without a law of the loss."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable

import numpy as np

from pdstudy.analysis.command_input import read_command_table
from pdstudy.analysis.compare.seeds import compare
from pdstudy.analysis.data.table_file import parse_number
from pdstudy.analysis.errors import AnalysisError
from pdstudy.analysis.fit_commands import Printed
from pdstudy.analysis.laws.base import Array
from pdstudy.analysis.scaling.budget_minimum import Method
from pdstudy.analysis.scaling.frontier import exponents
from pdstudy.analysis.scaling.isoflop import isoflop
from pdstudy.analysis.summary import summary
from pdstudy.analysis.tables.builders import comparison_table


def run_isoflop(args: argparse.Namespace) -> Printed:
    """Best size per budget and its growth."""
    found = isoflop(
        read_command_table(args), n=args.n, loss=args.loss, budget=args.c, tokens=args.d, method=Method(args.method),
        noise=_read_noise(args.noise), seed=args.seed,
    )  # fmt: skip
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
    return result, summary(found)


def run_exponents(args: argparse.Namespace) -> Printed:
    """The power law through a table of optima."""
    found = exponents(read_command_table(args), budget=args.c, optimal=args.optimum, spread=args.spread, seed=args.seed)
    low, high = found.interval()
    result = {
        "exponent": found.exponent, "coefficient": float(np.exp(found.intercept)), "r2": found.r2,
        "interval": None if np.isnan(low) else [low, high],
    }  # fmt: skip
    return result, f"{args.optimum}: {summary(found)}"


def run_compare(args: argparse.Namespace) -> Printed:
    """Arms against a baseline, paired by seed."""
    table = read_command_table(args, [args.arm, args.seed, *args.within])
    found = compare(
        table, metric=args.metric, baseline=args.baseline, arm=args.arm, seed=args.seed, within=args.within,
        lower_is_better=not args.higher_is_better, relative=args.relative, margin=args.margin,
    )  # fmt: skip
    if args.figures:
        from pdstudy.analysis.figures.run_comparisons import effects

        effects(found).save(args.figures / "comparison")
        comparison_table(found).save(args.figures / "comparison")
    frame = json.loads(found.to_frame().to_json(orient="records", double_precision=15))
    return {"caption": found.caption(), "effects": frame}, summary(found)


def _read_noise(text: str | None) -> float | Callable[[Array], Array] | None:
    """A standard deviation of ln loss, or one per loss: between those given it is a power of the loss."""
    if text is None:
        return None
    try:
        pairs = [[parse_number(v) for v in part.split(":")] for part in text.split(",")]
        if any(not v > 0 for pair in pairs for v in pair):
            raise ValueError
        if pairs == [pairs[0]] and len(pairs[0]) == 1:
            return pairs[0][0]
        losses, sigmas = np.log(sorted(pairs)).T
    except ValueError:
        raise AnalysisError(
            f"--noise {text!r}: write a positive standard deviation of ln loss, or LOSS:SIGMA,LOSS:SIGMA"
        ) from None
    return lambda loss: np.exp(np.interp(np.log(loss), losses, sigmas))
