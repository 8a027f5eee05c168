"""Precision that a study's law of distilled students will have: plans joined with `pdstudy.analysis.design`."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pdstudy.analysis.design.design_targets import DesignTarget, LossAt
from pdstudy.analysis.design.information import Posterior
from pdstudy.analysis.design.simulate import Simulation, StudySpread
from pdstudy.analysis.design.taught_study import (
    TaughtStudy,
    assumed_study,
    foretell_unknown,
    ranges_missing,
    simulate_study,
)
from pdstudy.analysis.design.taught_targets import BestTeacherLoss, Crossover
from pdstudy.analysis.laws import DISTILLATION
from pdstudy.analysis.laws.base import Array
from pdstudy.analysis.laws.taught import TaughtLaw
from pdstudy.cli.study_design import assumed_law, assumed_student_law, has_labels, held_out, runs_alone
from pdstudy.config.declared_laws import DistillationLaw
from pdstudy.core.errors import ConfigError
from pdstudy.plan.account import totals
from pdstudy.plan.builder import make_plan
from pdstudy.plan.candidate_runs import CandidateRun, TaughtRun, taught_runs
from pdstudy.plan.plan import Plan
from pdstudy.study.grid import Grid
from pdstudy.workspace.layout import Workspace


@dataclass(frozen=True)
class PlaceSpread:
    """A quantity at a size and at a second coordinate (a teacher's loss, or tokens), over simulated studies and to
    first order. `end` is the end of its range where the assumed law has it at one, in a word; else empty."""

    size: float
    other: float
    spread: StudySpread
    first_order: float
    end: str


@dataclass(frozen=True)
class StudentsDesign:
    """The study without the students of one label: how many are fitted, the FLOPs of its plan, and standard errors to
    first order, None where there is nothing to take them of: relative ones of the held-out losses (root mean square)
    and of the crossovers (median), of the best teacher's loss in nats (median); `missing` is why it can't be fitted."""

    title: str
    students: int
    flops: float
    held_out: float | None
    crossover: float | None
    best_teacher: float | None
    missing: str


@dataclass(frozen=True)
class ForetoldStudents:
    """Precision that a study of distillation will have, and that of the study without one of its labels."""

    study: str
    alone: int
    students: int
    teachers: tuple[float, ...]
    law: dict[str, float]
    student_law: dict[str, float]
    noise: float
    draws: int
    failed: int
    parameters: tuple[tuple[StudySpread, float], ...]
    unknown: tuple[str, ...]
    held_out: tuple[tuple[StudySpread, float], ...]
    crossovers: tuple[PlaceSpread, ...]
    best_teachers: tuple[PlaceSpread, ...]
    designs: tuple[StudentsDesign, ...]


def declared_student_law(plan: Plan) -> DistillationLaw | None:
    """The first law of distilled students that the study's outputs name."""
    found = (getattr(output, "law", output) for output in plan.study.outputs)
    return next((law for law in found if isinstance(law, DistillationLaw)), None)


def foretell_students(
    plan: Plan, workspace: Workspace, declared: DistillationLaw, args: argparse.Namespace
) -> ForetoldStudents:
    """Simulate a study of distillation before it runs. Raises `ConfigError` where it has too few runs for the law."""
    alone, values = assumed_law(args.law)
    student_values = assumed_student_law(args.student_law)
    law = TaughtLaw(DISTILLATION, alone)
    theta = np.concatenate([DISTILLATION.internal(student_values), alone.internal(values)])
    runs = _runs(plan, declared)
    targets = _Targets.of(runs, law, theta)
    linear = assumed_study(runs.study, law, theta, args.noise)
    simulated = simulate_study(runs.study, law, theta, args.noise, draws=args.draws, seed=args.seed)
    scale = np.where([p.log for p in law.parameters], law.natural(theta), 1.0)
    errors = np.sqrt(np.diag(linear.covariance)) * scale
    return ForetoldStudents(
        study=plan.study.name,
        alone=len(runs.alone),
        students=len(runs.students),
        teachers=tuple(sorted(map(float, runs.study.teacher_losses(law, theta)))),
        law=values,
        student_law=student_values,
        noise=args.noise,
        draws=args.draws,
        failed=simulated.failed,
        parameters=tuple((simulated.parameter(n), float(e)) for n, e in zip(law.names, errors, strict=True)),
        unknown=foretell_unknown(runs.study, law, theta, args.noise),
        held_out=tuple((simulated.target(t), linear.error(t)) for t in targets.held_out),
        crossovers=tuple(_place(t, t.n, t.teacher_loss, simulated, linear) for t in targets.crossovers),
        best_teachers=tuple(_place(t, t.n, t.d, simulated, linear) for t in targets.best_teachers),
        designs=tuple(_designs(plan, workspace, runs, targets, linear)),
    )


@dataclass(frozen=True)
class _Runs:
    """Runs of the law of L_M, students that are fitted and held out, and the study that the fitted ones make."""

    alone: list[CandidateRun]
    students: list[TaughtRun]
    held: list[TaughtRun]
    study: TaughtStudy


def _runs(plan: Plan, declared: DistillationLaw) -> _Runs:
    supervised = declared.supervised
    total, held = supervised.size == "total", held_out(plan, declared)
    alone = runs_alone(plan, supervised)[0]
    every = taught_runs(plan, total, lambda cell: has_labels(cell, declared.where))
    names = {cell.name for cell in plan.study.cells if held(cell)}
    students = [run for run in every if run.name not in names]
    study = _study(alone, students)
    if missing := ranges_missing(study):
        raise ConfigError(
            f"study {plan.study.name} has too few {missing}; a law of students takes 3 sizes, token budgets and "
            f"teachers or more, and {len(DISTILLATION.names) + 1} students: add to its grid"
        )
    return _Runs(alone, students, [run for run in every if run.name in names], study)


def _study(alone: Sequence[CandidateRun], students: Sequence[TaughtRun]) -> TaughtStudy:
    teachers = {run.teacher: run for run in students}
    places = {run.key: i for i, run in enumerate(alone)}
    numbers = {key: i for i, key in enumerate(teachers)}
    return TaughtStudy(
        alone={"N": _floats([run.size for run in alone]), "D": _floats([run.tokens for run in alone])},
        teachers={
            "N": _floats([run.teacher_size for run in teachers.values()]),
            "D": _floats([run.teacher_tokens for run in teachers.values()]),
        },
        among=np.array([places.get(key, -1) for key in teachers], dtype=int),
        students={"N": _floats([run.size for run in students]), "D": _floats([run.tokens for run in students])},
        teacher=np.array([numbers[run.teacher] for run in students], dtype=int),
    )


def _floats(values: Sequence[float]) -> Array:
    return np.array(values, dtype=float)


@dataclass(frozen=True)
class _Targets:
    """What the page reads off the law: losses held out, crossovers by size and teacher, best teachers by student."""

    held_out: list[LossAt]
    crossovers: list[Crossover]
    best_teachers: list[BestTeacherLoss]

    @classmethod
    def of(cls, runs: _Runs, law: TaughtLaw, theta: Array) -> _Targets:
        study = runs.study
        losses = study.teacher_losses(law, theta)
        places = sorted(set(zip(study.students["N"].tolist(), study.students["D"].tolist(), strict=True)))
        held = [LossAt(_place_of(run, law, theta)) for run in runs.held]
        sizes = sorted({n for n, _ in places})
        crossovers = [Crossover(n, float(t), study.students["D"]) for n in sizes for t in np.sort(losses)]
        return cls(held, crossovers, [BestTeacherLoss(n, d, losses) for n, d in places])


def _place_of(run: TaughtRun, law: TaughtLaw, theta: Array) -> dict[str, float]:
    teacher = {"N": _floats([run.teacher_size]), "D": _floats([run.teacher_tokens])}
    return {"N": float(run.size), "D": run.tokens, "LT": float(np.exp(law.log_matched(theta[None, :], teacher)[0, 0]))}


def _place(
    target: Crossover | BestTeacherLoss, size: float, other: float, simulated: Simulation, linear: Posterior
) -> PlaceSpread:
    end = target.end(simulated.law, simulated.truth)
    return PlaceSpread(size, other, simulated.target(target), linear.error(target), end)


def _designs(
    plan: Plan, workspace: Workspace, runs: _Runs, targets: _Targets, linear: Posterior
) -> Iterator[StudentsDesign]:
    """The declared design, and that without each label that some but not all students have."""
    yield _design("declared", plan, runs.study, targets, linear)
    labels = {run.name: run.labels.items() for run in (*runs.students, *runs.held)}
    axes = list(runs.students[0].labels)
    found = dict.fromkeys(pair for run in runs.students for pair in run.labels.items())
    for pair in sorted(found, key=lambda pair: axes.index(pair[0])):
        dropped = np.array([pair in labels[run.name] for run in runs.students])
        if dropped.all():
            continue
        gone = [pairs for pairs in labels.values() if pair in pairs]
        grid = Grid(tuple(arm for arm in plan.study.grid.arms if arm.labels.items() not in gone))
        smaller = make_plan(dataclasses.replace(plan.study, grid=grid, outputs=(), baseline={}), workspace)
        yield _design(f"no {'='.join(pair)}", smaller, runs.study.without(dropped), targets, linear)


def _design(title: str, plan: Plan, study: TaughtStudy, targets: _Targets, linear: Posterior) -> StudentsDesign:
    law, theta = linear.law, linear.theta
    assert isinstance(law, TaughtLaw)
    known = assumed_study(study, law, theta, linear.noise)

    def errors(wanted: Sequence[DesignTarget]) -> list[float]:
        return [known.error(target) for target in wanted]

    held = errors(targets.held_out)
    crossed = errors([t for t in targets.crossovers if not t.end(law, theta)])
    best = errors([t for t in targets.best_teachers if not t.end(law, theta)])
    return StudentsDesign(
        title=title,
        students=len(study.teacher),
        flops=float(totals(plan)["flops"]),
        held_out=float(np.sqrt(np.mean(np.square(held)))) if held else None,
        crossover=float(np.median(crossed)) if crossed else None,
        best_teacher=float(np.median(best)) if best else None,
        missing=ranges_missing(study),
    )
