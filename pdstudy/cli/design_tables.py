"""Designs, in words and as JSON."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from functools import singledispatch
from typing import Any

from pdstudy.analysis.design.run_pool import Design
from pdstudy.analysis.design.simulate import StudySpread
from pdstudy.cli.study_design import Foretold, Suggested
from pdstudy.cli.tables import print_table
from pdstudy.cli.terminal import say
from pdstudy.core.format import si
from pdstudy.plan.candidate_runs import CandidateRun


@singledispatch
def print_design(found: object) -> None:
    """Print what a study will tell, or the runs to make next."""
    raise TypeError(f"no text for {type(found).__name__}")


@print_design.register
def _(found: Foretold) -> None:
    coefficients = ", ".join(f"{name} {value:g}" for name, value in found.values.items())
    say(f"study {found.study}: {len(found.runs)} LM runs")
    say(f"assumed: {found.law.name} ({coefficients}), noise {found.noise:.2%} of the loss")
    failed = f", {found.failed} fits did not converge" if found.failed else ""
    say(f"{found.draws} simulated studies, each fitted{failed}\n")
    rows = []
    for spread, linear in found.spreads:
        known = "not identified" if spread.name in found.unknown else ""
        errors = (format_error(spread.error, spread), format_error(spread.monte_carlo, spread, 1))
        ends = f"{spread.low:.4g} to {spread.high:.4g}"
        rows.append([spread.name, f"{spread.value:.4g}", *errors, format_error(linear, spread), ends, known])
    head = ["quantity", "true", "s.e.", "+-", "first order", "95 % of studies", ""]
    print_table(head, rows, right=frozenset({1, 2, 3, 4}))
    for name in found.unknown:
        say(f"warning: {name} will not be identified; predictions may be good all the same, its number means nothing")
    say("\nother designs of these runs and of the grid by root two around them (s.e. of targets, simulated):")
    targets = [spread for spread, _ in found.spreads if spread.name in found.targets]
    rows = [
        [design.title, f"{len(design.chosen)}", si(design.flops), *_errors(design, simulated, targets)]
        for design, simulated in found.designs
    ]
    print_table(["design", "runs", "FLOPs", *found.targets], rows, right=frozenset(range(1, 3 + len(found.targets))))
    say("runs are taken to err independently, branches of one trunk too: spread them over sizes rather than branches")
    for design, _ in found.designs[1:2]:
        say(f"\n{design.title}, tokens by size:")
        _print_grid([found.pool[i] for i in design.chosen])


def format_error(error: float, spread: StudySpread, digits: int = 3) -> str:
    """A standard error in the quantity's units, or in per cent where it is relative."""
    return f"{100 * error:.{digits}g} %" if spread.relative else f"{error:.{digits}g}"


def _errors(design: Design, simulated: tuple[float, ...] | None, targets: Sequence[StudySpread]) -> list[str]:
    """Standard errors of the targets; those to first order in brackets."""
    shown = [format_error(e, spread) for e, spread in zip(simulated or design.errors, targets, strict=True)]
    return shown if simulated else [f"({text})" for text in shown]


def _print_grid(runs: Sequence[CandidateRun]) -> None:
    tokens: dict[int, list[float]] = defaultdict(list)
    for run in runs:
        tokens[run.size].append(run.tokens)
    rows = [[si(size), ", ".join(si(t) for t in sorted(tokens[size]))] for size in sorted(tokens)]
    print_table(["N", "D"], rows, right=frozenset({0}))


@print_design.register
def _(found: Suggested) -> None:
    say(f"study {found.study}: {found.done} runs done; {found.basis}")
    if not found.found.chosen:
        cheapest = min(run.flops for run in found.pool) if found.pool else 0.0
        say(f"no run is within {si(found.budget)} FLOPs that would tell anything; the cheapest takes {si(cheapest)}")
        return
    say(f"{len(found.found.chosen)} runs within {si(found.budget)} FLOPs, {si(found.found.flops)} in all:\n")
    rows = []
    for i, left in zip(found.found.chosen, found.found.left, strict=True):
        run = found.pool[i]
        rows.append([run.name, si(run.size), si(run.tokens), si(run.flops), f"{left:.0%}", "" if run.key else "new"])
    print_table(["run", "N", "D", "FLOPs alone", "variance left", ""], rows, right=frozenset({1, 2, 3, 4}))
    say()
    rows = [[t.name, f"{t.value:.5g}", _range(t.now), _range(t.after)] for t in found.found.targets]
    print_table(["target", "value", "95 % now", "expected after"], rows, right=frozenset({1}))


def _range(ends: tuple[float, float]) -> str:
    return f"{ends[0]:.5g} to {ends[1]:.5g}"


@singledispatch
def design_json(found: object) -> dict[str, Any]:
    """The same as plain data."""
    raise TypeError(f"no JSON for {type(found).__name__}")


@design_json.register
def _(found: Foretold) -> dict[str, Any]:
    return {
        "study": found.study,
        "runs": len(found.runs),
        "law": {"name": found.law.name, "values": found.values},
        "noise": found.noise,
        "draws": found.draws,
        "failed": found.failed,
        "quantities": [asdict(spread) | {"first_order": linear} for spread, linear in found.spreads],
        "not_identified": list(found.unknown),
        "targets": list(found.targets),
        "designs": [
            {
                "title": design.title,
                "flops": design.flops,
                "errors": list(design.errors),
                "simulated_errors": None if simulated is None else list(simulated),
                "runs": [_run_json(found.pool[i]) for i in design.chosen],
            }
            for design, simulated in found.designs
        ],
    }


@design_json.register
def _(found: Suggested) -> dict[str, Any]:
    runs = [
        _run_json(found.pool[i]) | {"variance_left": left}
        for i, left in zip(found.found.chosen, found.found.left, strict=True)
    ]
    return {
        "study": found.study,
        "done": found.done,
        "basis": found.basis,
        "budget": found.budget,
        "flops": found.found.flops,
        "runs": runs,
        "targets": [asdict(target) for target in found.found.targets],
    }


def _run_json(run: CandidateRun) -> dict[str, Any]:
    return {"name": run.name, "N": run.size, "D": run.tokens, "flops": run.flops, "declared": run.key is not None}
