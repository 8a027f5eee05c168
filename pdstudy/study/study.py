"""Declaring a study: a base run, a grid of changes to it, seeds, a baseline, evaluations, and what to report.

A study file defines `study(scale) -> Study` in plain Python:

    sizes = axis("student", {"22k": small, "61k": large})
    losses = axis("loss", {"LM": LM(), "KD": kd}, field="objective")
    return Study(name="demo", base=base, grid=sizes * losses, seeds=(0, 1, 2), baseline={"loss": "LM"}, ...)

Nothing is checked while a study is being built; `Study.problems` reports everything at once.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import cached_property
from typing import Any

from pdstudy.config.downstream import Downstream
from pdstudy.config.evaluation import Evaluation
from pdstudy.config.logits import Capture, Kept
from pdstudy.config.outputs import Output
from pdstudy.config.placement import CPU_CORE, Execution, Machine, Placement
from pdstudy.config.run import Run
from pdstudy.core.types import comma, described, fits
from pdstudy.core.validation import Problem, nearest, problems
from pdstudy.study.grid import Arm, Grid, caller, changed
from pdstudy.study.validation import check_downstream, check_evaluations, check_outputs


@dataclass(frozen=True)
class Cell:
    """One run of a study: its labels on the axes, its seed, and the run."""

    labels: Mapping[str, str]
    seed: int
    run: Run
    file: str
    line: int

    @property
    def name(self) -> str:
        return cell_name(self.labels, self.seed)


def cell_name(labels: Mapping[str, str], seed: int) -> str:
    """How a cell is called on the command line: `student=w32,loss=KD,seed=0`."""
    return ",".join([f"{k}={v}" for k, v in labels.items()] + [f"seed={seed}"])


@dataclass(frozen=True)
class Study:
    """A question with its runs and its answers' form.

    `baseline` gives the labels of the arm that every other arm is compared with, matched on all axes it does not
    name, and paired by seed. `evaluations` are made of every run, teachers included; `downstream` asks each
    cell's model tasks, in jobs of their own. `captures` are stores to be made and looked into; a study may be these
    alone, with a grid of no arms. `outputs` are the tables and figures wanted. `placement` says how a run is
    carried out, `executions` what its jobs ask of a cluster, `machine` what it is priced on. `only` leaves out the
    cells whose names do not match it. `elsewhere`: the texts and models that it names need not be here to plan it; what
    is missing is warned of, and nothing is run before it is there. `group`: the plan of a folder counts the runs of
    studies that have one apart, under that name. `kept` says what cuts keep of a token, for the price of stores.
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
    where: tuple[str, int] = field(default_factory=caller, compare=False)

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """All runs, in the order of the grid, seeds innermost. Call `problems` first: a faulty change is left out."""
        return self._expanded[0]

    def asked_of(self, cell: Cell) -> tuple[Downstream, ...]:
        """The tasks that a cell's model is asked."""
        return self.downstream

    def problems(self) -> list[Problem]:
        """Everything that is wrong, each once, with file and line."""
        file, line = self.where
        own = self._mistyped()
        found = self._expanded[1] if {"base", "grid", "seeds"}.isdisjoint(p.field for p in own) else []
        own = own or self._own_problems()
        found = [*(dataclasses.replace(p, file=p.file or file, line=p.line or line) for p in own), *found]
        seen: dict[tuple[Any, ...], Problem] = {}
        for p in found:
            seen.setdefault((p.file, p.line, p.field, repr(p.found), p.allowed), p)
        return list(seen.values())

    @cached_property
    def missing(self) -> tuple[Problem, ...]:
        """Texts and models that its runs name and that are not here, each once: none but where `elsewhere` is set."""
        runs = {cell.run for cell in self.cells}
        asked = dict.fromkeys(d for cell in self.cells for d in self.asked_of(cell))
        named = (*sorted(runs, key=hash), *self.evaluations, *asked, *self.captures.values())
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
            file, line = (a.changes[-1].file, a.changes[-1].line) if a.changes else self.where
            found = [p for p in problems(run) if not (self.elsewhere and p.missing)]
            for p in found:
                at = self.where if str(p) in of_base else (file, line)
                wrong.append(dataclasses.replace(p, file=at[0], line=at[1]))
            if not found:
                made = [Cell(a.labels, s, dataclasses.replace(run, seed=s), file, line) for s in self.seeds]
                cells += [c for c in made if self.only is None or matches(c.name, self.only)]
        return tuple(cells), wrong

    def _mistyped(self) -> list[Problem]:
        """Fields of a wrong type, with which nothing else can be checked."""
        one: dict[str, type] = {
            "name": str,
            "base": Run,
            "grid": Grid,
            "placement": Placement,
            "machine": Machine,
            "title": str,
            "about": str,
            "group": str,
            "baseline": Mapping,
            "captures": Mapping,
        }
        many: dict[str, Any] = {
            "seeds": tuple[int, ...],
            "evaluations": tuple[Evaluation, ...],
            "downstream": tuple[Downstream, ...],
            "outputs": tuple[Output, ...],
            "executions": tuple[Execution, ...],
            "kept": tuple[Kept, ...],
        }
        wrong = []
        for name, kind in one.items():
            if not isinstance(getattr(self, name), kind):
                wrong.append(Problem(name, getattr(self, name), described(kind)))
        for name, kind in many.items():
            value = getattr(self, name)
            if not isinstance(value, Sequence) or not fits(tuple(value), kind):
                wrong.append(Problem(name, value, described(kind), hint=comma(value, kind)))
        return wrong

    def _own_problems(self) -> list[Problem]:
        wrong = []
        if not self.name or not all(c.isalnum() or c in "-_" for c in self.name):
            wrong.append(Problem("name", self.name, "letters, digits, '-' and '_' (it names a folder)"))
        if not self.seeds or len(set(self.seeds)) != len(self.seeds) or min(self.seeds) < 0:
            wrong.append(Problem("seeds", self.seeds, "one or more different whole numbers, 0 or more"))
        if self.machine.flops_per_second <= 0:
            wrong.append(Problem("machine.flops_per_second", self.machine.flops_per_second, "above 0"))
        if not self.grid.arms and not self.captures:
            wrong.append(Problem("grid", "no arm", "one or more: where(...) may have left none"))
        axes: dict[str, set[str]] = {}
        for a in self.grid.arms:
            for name, label in a.labels.items():
                axes.setdefault(name, set()).add(label)
        for name, label in self.baseline.items():
            if name not in axes:
                wrong.append(Problem("baseline", name, f"an axis: {sorted(axes)}", hint=nearest(name, axes)))
            elif not isinstance(label, str) or label not in axes[name]:
                allowed = f"a level of {name!r}: {sorted(axes[name])}"
                wrong.append(Problem(f"baseline[{name!r}]", label, allowed, hint=nearest(label, axes[name])))
        names = [",".join(f"{k}={v}" for k, v in a.labels.items()) for a in self.grid.arms]
        for twice in sorted(name for name, count in Counter(names).items() if count > 1):
            wrong.append(Problem("grid", twice, "arms with labels of their own; this one occurs more than once"))
        wrong += check_evaluations(self)
        wrong += check_downstream(self)
        for name, capture in self.captures.items():
            faults = list(problems(capture, f"captures[{name!r}]"))
            wrong += [p for p in faults if not (self.elsewhere and p.missing)]
        wrong += problems(self.placement, "placement")
        for i, execution in enumerate(self.executions):
            wrong += problems(execution, f"executions[{i}]")
        wrong += check_outputs(self, axes)
        return wrong


def matches(name: str, pattern: str) -> bool:
    """Whether a cell's name is the one asked for, or fits the pattern."""
    return name == pattern or fnmatch(name, pattern)
