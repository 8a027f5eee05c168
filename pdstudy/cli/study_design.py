"""Precision that a study's runs will give, and runs to make next: plans joined with `pdstudy.analysis.design`."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pdstudy.analysis.command_input import read_values
from pdstudy.analysis.data.law_runs import law_runs
from pdstudy.analysis.data.points import points
from pdstudy.analysis.data.runs import load_runs
from pdstudy.analysis.design.design_targets import (
    BestSize,
    DesignTarget,
    LossAt,
    exponent_targets,
    optimum_targets,
    usual_targets,
)
from pdstudy.analysis.design.information import Posterior, assumed, weak_prior
from pdstudy.analysis.design.learned_law import learn
from pdstudy.analysis.design.run_pool import Design, NextRuns, RunPool, better_designs, next_runs
from pdstudy.analysis.design.run_prices import RunPrices
from pdstudy.analysis.design.simulate import Simulation, StudySpread, simulate
from pdstudy.analysis.errors import AnalysisError, DataError, TooFewRuns
from pdstudy.analysis.fit.fit import fit
from pdstudy.analysis.laws import DISTILLATION, Law, laws_of
from pdstudy.analysis.laws.base import Array, Columns
from pdstudy.analysis.scaling.allocation import TableFlops
from pdstudy.config.declared_laws import DistillationLaw, HoldOut, JointLaw
from pdstudy.core.errors import ConfigError
from pdstudy.core.identity import encode
from pdstudy.plan.candidate_runs import CandidateRun, declared_runs, grid_around
from pdstudy.plan.plan import Plan
from pdstudy.plan.record import make_record
from pdstudy.study.study import Cell
from pdstudy.workspace.layout import Workspace

AHEAD = 4.0
"""Budget of the usual targets over the FLOPs of the largest run (no unit)."""


@dataclass(frozen=True)
class Foretold:
    """Precision that a study will have: its runs, spreads over simulated studies beside first-order errors, other
    designs with their own simulated errors (None where the law can't be fitted to one)."""

    study: str
    runs: tuple[CandidateRun, ...]
    law: Law
    values: dict[str, float]
    noise: float
    draws: int
    failed: int
    spreads: tuple[tuple[StudySpread, float], ...]
    unknown: tuple[str, ...]
    targets: tuple[str, ...]
    designs: tuple[tuple[Design, tuple[float, ...] | None], ...]
    pool: tuple[CandidateRun, ...]


@dataclass(frozen=True)
class Suggested:
    """The runs that would tell most next, out of `pool`; `done` runs are known, `basis` says how the law is."""

    study: str
    done: int
    basis: str
    budget: float
    found: NextRuns
    pool: tuple[CandidateRun, ...]


def foretell(plan: Plan, args: argparse.Namespace) -> Foretold:
    """Simulate a study before it runs. Raises `ConfigError` where it has no runs for the law, or a bad option."""
    law, values = assumed_law(args.law)
    theta = law.internal(values)
    runs, held = runs_alone(plan, declared_law(plan))
    targets = _targets(args.target, runs, held, law, theta)
    x = _columns(runs)
    linear = assumed(law, theta, x, args.noise)
    simulated = simulate(law, theta, x, args.noise, draws=args.draws, seed=args.seed)
    errors = np.sqrt(np.diag(linear.covariance)) * np.where([p.log for p in law.parameters], law.natural(theta), 1.0)
    spreads = [(simulated.parameter(name), float(e)) for name, e in zip(law.names, errors)]
    spreads += [(simulated.target(target), linear.error(target)) for target in targets]
    most = max(run.flops for run in runs)
    pool = (*runs, *(run for run in grid_around(runs, held) if run.flops <= most))
    start = Posterior(law, theta, weak_prior(law, theta), args.noise)
    designs = better_designs(start, _pool(pool, done=()), range(len(runs)), targets)
    checked = [(d, _simulated(law, theta, [pool[i] for i in d.chosen], targets, args)) for d in designs]
    return Foretold(
        plan.study.name, tuple(runs), law, values, args.noise, args.draws, simulated.failed, tuple(spreads),
        simulated.unknown(), tuple(t.name for t in targets), tuple(checked), pool,
    )  # fmt: skip


def suggest(plan: Plan, workspace: Workspace, args: argparse.Namespace) -> Suggested:
    """The runs to make next. Raises `ConfigError` where the study has no runs for the law, or a bad option."""
    runs, held = runs_alone(plan, declared_law(plan))
    done = [run for run in runs if run.done]
    pool = [run for run in (*runs, *grid_around(runs, held)) if not run.done]
    law, values = assumed_law(args.law)
    targets = _targets(args.target, runs, held, law, law.internal(values))
    places = [x for target in targets if (x := target.place(law, law.internal(values))) is not None]
    posterior, basis = _known(plan, workspace, done, [_columns(pool), *places], args)
    found = next_runs(posterior, _pool(pool, done), args.next, targets)
    return Suggested(plan.study.name, len(done), basis, args.next, found, tuple(pool))


def assumed_law(text: str) -> tuple[Law, dict[str, float]]:
    """The law of N and D that has these coefficients ("E=2.47,A=21.65,..."). Raises `ConfigError` where none has."""
    values = read_values([text], "--law")
    for law in laws_of(("N", "D")):
        if set(law.names) == set(values):
            if not _meaningful(law, values):
                raise ConfigError(f"--law: found {text}; allowed: coefficients above 0, exponents above 0 and up to 10")
            return law, values
    forms = "; ".join(f"{', '.join(law.names)} ({law.name})" for law in laws_of(("N", "D")))
    raise ConfigError(f"--law: found {', '.join(values)}; allowed: {forms}")


def assumed_student_law(text: str) -> dict[str, float]:
    """Coefficients of the law of distilled students. Raises `ConfigError` where they are not its own."""
    values = read_values([text], "--student-law")
    if set(values) != set(DISTILLATION.names):
        raise ConfigError(f"--student-law: found {', '.join(values)}; allowed: {', '.join(DISTILLATION.names)}")
    if not _meaningful(DISTILLATION, values):
        raise ConfigError(
            f"--student-law: found {text}; allowed: A, B, k above 0, exponents above 0 and up to 10, c0 of -10 to 30, "
            "f1 of .01 to 10"
        )
    return values


def _meaningful(law: Law, values: Mapping[str, float]) -> bool:
    """Whether all coefficients are within the law's bounds."""
    theta, (low, high) = law.internal(values), law.bounds()
    return bool(((low <= theta) & (theta <= high)).all())


def declared_law(plan: Plan) -> JointLaw:
    """The first law of size and tokens that the study's outputs name; one of all runs where none does."""
    found = (output if isinstance(output, JointLaw) else getattr(output, "law", None) for output in plan.study.outputs)
    return next((law for law in found if isinstance(law, JointLaw)), JointLaw())


def held_out(plan: Plan, law: JointLaw | DistillationLaw) -> Callable[[Cell], bool]:
    """Whether a law must predict a cell."""
    outputs = [each for each in plan.study.outputs if isinstance(each, HoldOut) and each.law == law]
    return lambda cell: any(has_labels(cell, output.where) for output in outputs)


def runs_alone(plan: Plan, law: JointLaw) -> tuple[list[CandidateRun], list[CandidateRun]]:
    """The runs of a law, and those that it must predict."""
    held = held_out(plan, law)
    total = law.size == "total"
    runs = declared_runs(plan, total, lambda cell: has_labels(cell, law.where) and not held(cell))
    sizes, budgets = ({getattr(run, field) for run in runs} for field in ("size", "tokens"))
    if len(sizes) < 3 or len(budgets) < 3:
        raise ConfigError(
            f"study {plan.study.name} has {len(runs)} LM runs of {len(sizes)} sizes and {len(budgets)} token budgets; "
            "a law of size and tokens takes 3 or more of each: add sizes or budgets to its grid"
        )
    return runs, declared_runs(plan, total, held)


def has_labels(cell: Cell, where: Mapping[str, Any]) -> bool:
    """Whether a run has one of the labels on every axis."""
    return all(cell.labels.get(a) in ((labels,) if isinstance(labels, str) else labels) for a, labels in where.items())


def _targets(
    texts: Sequence[str], runs: Sequence[CandidateRun], held: Sequence[CandidateRun], law: Law, theta: Array
) -> tuple[DesignTarget, ...]:
    n, d, flops = (np.array([getattr(run, f) for run in runs], dtype=float) for f in ("size", "tokens", "per_token"))
    per_token = TableFlops.measure(n, d, flops * d)
    if held and not texts:
        places = dict.fromkeys((float(r.size), r.tokens) for r in held)
        return *(LossAt({"N": n, "D": d}) for n, d in places), *exponent_targets(law)
    if not texts:
        return usual_targets(law, theta, AHEAD * float((flops * d).max()), per_token)
    found: list[DesignTarget] = []
    for text in texts:
        kind, _, rest = text.partition(":")
        values = read_values([rest], f"--target {kind}") if rest else {}
        wrong = not all(0 < value < np.inf for value in values.values())
        if not wrong and (kind, set(values)) == ("loss", {"N", "D"}):
            found.append(LossAt(values))
        elif not wrong and (kind, set(values)) == ("optimum", {"C"}):
            found += optimum_targets(law, theta, values["C"], per_token)
        else:
            raise ConfigError(f"--target: found {text!r}; allowed: loss:N=...,D=... or optimum:C=..., above 0")
    if any(isinstance(target, BestSize) for target in found):
        found += exponent_targets(law)
    return tuple(found)


def _columns(runs: Sequence[CandidateRun]) -> dict[str, Array]:
    return {"N": np.array([float(run.size) for run in runs]), "D": np.array([run.tokens for run in runs])}


def _pool(runs: Sequence[CandidateRun], done: Sequence[CandidateRun]) -> RunPool:
    numbers = {family: i for i, family in enumerate(dict.fromkeys(run.family for run in (*runs, *done)))}
    there: dict[int, list[float]] = {}
    for run in done:
        there.setdefault(numbers[run.family], []).append(run.trunk)
    prices = RunPrices(
        np.array([numbers[run.family] for run in runs]),
        np.array([run.trunk for run in runs]),
        np.array([run.own for run in runs]),
        there,
    )
    return RunPool(tuple(run.name for run in runs), _columns(runs), prices)


def _simulated(
    law: Law, theta: Array, runs: Sequence[CandidateRun], targets: Sequence[DesignTarget], args: argparse.Namespace
) -> tuple[float, ...] | None:
    try:
        simulated: Simulation = simulate(law, theta, _columns(runs), args.noise, draws=args.draws, seed=args.seed)
    except AnalysisError:  # too few places to fit the law at
        return None
    return tuple(simulated.target(target).error for target in targets)


def _known(
    plan: Plan, workspace: Workspace, runs: Sequence[CandidateRun], around: Sequence[Columns], args: argparse.Namespace
) -> tuple[Posterior, str]:
    """The law with its misfit as the finished runs leave it, about the assumed one where they are too few to fit."""
    law, values = assumed_law(args.law)
    centre = law.internal(values)
    keys = {run.key for run in runs if run.done}
    start = Posterior(law, centre, weak_prior(law, centre), args.noise)
    if not keys:
        return start, f"{law.name} with assumed coefficients, since no run is done"
    declared = declared_law(plan)
    table = law_runs(load_runs(workspace.root, make_record(plan)), encode(declared), declared.where)
    scored = table[table["run"].isin(keys) & table["loss"].notna()]
    if scored.empty:
        return start, f"{law.name} with assumed coefficients, since no finished run has a loss"
    data = points(scored, law, duplicates="keep")
    about = "with assumed coefficients before them"
    with contextlib.suppress(TooFewRuns, DataError):
        first = fit(data, law)
        if first.ok:
            centre, about = first.theta, ""
    told = learn(law, centre, data.x, data.log_loss, around)
    bend = told.misfit.size if told.misfit else 0.0
    basis = f"{law.name} learned from {len(data)} runs, noise {told.noise:.2%} of the loss, misfit {bend:.2%}"
    return told, f"{basis} {about}".rstrip()
