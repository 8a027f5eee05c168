"""Declaring a study: a base run, a grid of changes to it, seeds, a baseline, evaluations, and what to report.

A study file defines `study(scale) -> Study` in plain Python:

    sizes = axis("student", {"22k": small, "61k": large})
    losses = axis("loss", {"LM": LM(), "KD": kd}, field="objective")
    return Study(name="demo", base=base, grid=sizes * losses, seeds=(0, 1, 2), baseline={"loss": "LM"}, ...)

Nothing is checked while a study is built; `Study.problems` reports everything at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import cached_property
from typing import Any

from pdstudy.config.data import SEEDS
from pdstudy.config.downstream import Downstream
from pdstudy.config.evaluation import Evaluation
from pdstudy.config.logits import Capture, Kept
from pdstudy.config.outputs import Output
from pdstudy.config.placement import CPU_CORE, Execution, Machine, Placement
from pdstudy.config.run import Run
from pdstudy.core.origin import Spot, remember_origin, spot_of
from pdstudy.core.validation import Problem, keep_tuples, own_problems, problems
from pdstudy.study.grid import Arm, Grid, changed
from pdstudy.study.validation import (
    check_downstream,
    check_evaluations,
    check_head_sizes,
    check_labels,
    check_outputs,
)

LONGEST_NAME = 200
"""Bytes of a study's name at most: file systems allow 255, of which suffixes and temporary files take some."""


@dataclass(frozen=True)
class Cell:
    """One run of a study: its labels on the axes, its seed, the run, and the arm that makes it of the base."""

    labels: Mapping[str, str]
    seed: int
    run: Run
    arm: Arm = Arm({}, ())

    @property
    def name(self) -> str:
        return cell_name(self.labels, self.seed)

    def spot_of(self, path: str) -> Spot | None:
        """File and line of the value at a path of its run."""
        return self.arm.spot_of(self.run, path)


def cell_name(labels: Mapping[str, str], seed: int) -> str:
    """Name of a run of a study, as the command line has it: `student=w32,loss=KD,seed=0`."""
    return ",".join([f"{k}={v}" for k, v in labels.items()] + [f"seed={seed}"])


@dataclass(frozen=True)
class Study:
    """A question: the runs that answer it, and the form of the answer.

    base, grid, seeds    every arm of the grid makes a run of `base`, with each seed
    baseline             labels of the arm that all others are compared with, matched on the axes it does not name, and
                         paired by seed
    evaluations          of every run, teachers included
    downstream           tasks on which each model is evaluated, in jobs of their own
    captures             stores to be made and looked into; with a grid of no arms the study is these alone
    outputs              tables and figures of the report
    placement            how a process carries out a run
    executions           resources of its jobs on a cluster
    machine              the device that it is priced on
    title, about         the report's heading and its first sentence
    only                 a pattern: runs whose names do not match are left out
    elsewhere            texts and models that it names need not be here to plan it: what is missing is warned of, and
                         nothing is run before it is there
    group                the plan of a folder counts the runs of studies of one group apart, under this name
    kept                 entries that truncations keep per token, for the price of stores
    """

    name: str
    base: Run
    grid: Grid = Grid((Arm({}, ()),))
    seeds: tuple[int, ...] = (0, 1, 2)
    baseline: Mapping[str, str] = field(default_factory=dict)
    evaluations: tuple[Evaluation, ...] = ()
    downstream: tuple[Downstream, ...] = ()
    captures: Mapping[str, Capture] = field(default_factory=dict)
    outputs: tuple[Output, ...] = ()
    placement: Placement = Placement()
    executions: tuple[Execution, ...] = ()
    machine: Machine = CPU_CORE
    title: str = ""
    about: str = ""
    only: str | None = None
    elsewhere: bool = False
    group: str = ""
    kept: tuple[Kept, ...] = ()

    def __post_init__(self) -> None:
        remember_origin(self, depth=3)
        keep_tuples(self)

    @property
    def where(self) -> Spot:
        """File and line of the call that made it."""
        return spot_of(self) or ("", 0)

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """All runs, in the order of the grid, seeds innermost. A faulty arm is left out: see `problems`."""
        return self._expanded[0]

    def downstream_of(self, cell: Cell) -> tuple[Downstream, ...]:
        """Tasks on which the model of one run is evaluated."""
        return self.downstream

    def problems(self) -> list[Problem]:
        """Everything that is wrong, each once, with file and line."""
        here = (p for p in own_problems(self) if not (self.elsewhere and p.missing))
        found = [_with_seeds_spelt(p).at(spot_of(self, p.field)) for p in here]
        seen: dict[tuple[Any, ...], Problem] = {}
        for p in found:
            seen.setdefault((p.file, p.line, p.field, repr(p.found), p.allowed), p)
        return list(seen.values())

    def check(self) -> Iterator[Problem]:
        """Problems of its own fields, then those of its runs."""
        if not self.name or not all(c.isalnum() or c in "-_" for c in self.name):
            yield Problem("name", self.name, "letters, digits, '-' and '_' (it names a folder)")
        if len(self.name.encode()) > LONGEST_NAME:
            yield Problem("name", self.name, f"{LONGEST_NAME} bytes at most (it names folders and files)")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds) or not all(0 <= s < SEEDS for s in self.seeds):
            yield Problem("seeds", self.seeds, f"one or more different whole numbers, 0 or more and below {SEEDS:,}")
        if self.machine.flops_per_second <= 0:
            yield Problem("machine.flops_per_second", self.machine.flops_per_second, "above 0")
        if not self.grid.arms and not self.captures:
            yield Problem("grid", "no arm", "one or more: where(...) may have left none")
        yield from check_labels(self.grid, self.baseline)
        runs = [cell.run for cell in self.cells]
        yield from check_evaluations(self.evaluations, self.base.view, runs, self.downstream)
        yield from check_downstream(self.downstream, runs)
        yield from check_head_sizes(run.student for run in runs)
        for name, capture in self.captures.items():
            yield from problems(capture, f"captures[{name!r}]")
        yield from problems(self.placement, "placement")
        for i, execution in enumerate(self.executions):
            yield from problems(execution, f"executions[{i}]")
        yield from check_outputs(self.outputs, self.grid, self.baseline)
        yield from self._expanded[1]

    @cached_property
    def missing(self) -> tuple[Problem, ...]:
        """Texts and models that its runs name and that are not here, each once: none but where `elsewhere` is set."""
        runs = {cell.run for cell in self.cells}
        tasks = dict.fromkeys(d for cell in self.cells for d in self.downstream_of(cell))
        named = (*sorted(runs, key=hash), *self.evaluations, *tasks, *self.captures.values())
        found = [p for part in named for p in problems(part) if p.missing]
        return tuple({repr(p.found): p for p in found}.values())

    @cached_property
    def _expanded(self) -> tuple[tuple[Cell, ...], list[Problem]]:
        cells: list[Cell] = []
        wrong: list[Problem] = []
        of_base = {str(p) for p in problems(self.base)}
        for a in self.grid.arms:
            run, faults = changed(self.base, a)
            wrong += faults
            found = [p for p in problems(run) if not (self.elsewhere and p.missing)]
            # What the base has as well is its own; else the arm's changes make it.
            for p in found:
                wrong.append(p.at(spot_of(self.base, p.field) if str(p) in of_base else a.spot_of(run, p.field)))
            if not found:
                made = [Cell(a.labels, s, dataclasses.replace(run, seed=s), a) for s in self.seeds]
                cells += [c for c in made if self.only is None or matches(c.name, self.only)]
        return tuple(cells), [p.at(self.where) for p in wrong]


def _with_seeds_spelt(problem: Problem) -> Problem:
    """The problem of `seeds=3`, which may be a number of seeds or a seed, with both as they are written."""
    if problem.field != "seeds" or type(problem.found) is not int:
        return problem
    count = problem.found
    several = f"{tuple(range(count))} for {count} seeds, " if 1 < count <= 10 else ""
    return dataclasses.replace(problem, hint=f"write {several}({count},) for seed {count} alone")


def matches(name: str, pattern: str) -> bool:
    """Whether a run's name is `pattern`, or fits it."""
    return name == pattern or fnmatch(name, pattern)
