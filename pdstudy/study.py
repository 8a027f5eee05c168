"""Declaring a study: a base run, a grid of changes to it, seeds, a baseline, evaluations, and what to report.

A study file defines `study(scale) -> Study` in plain Python:

    sizes = axis("student", {"22k": small, "61k": large})
    losses = axis("loss", {"LM": LM(), "KD": kd}, field="objective")
    return Study(name="demo", base=base, grid=sizes * losses, seeds=(0, 1, 2), baseline={"loss": "LM"}, ...)

Grids combine: `a * b` (product), `a + b` (one after the other), `a.zip(b)` (in step), `a.where(condition)`,
`a.set(field, value)`. Nothing is checked while a study is being built; `Study.problems` reports everything at once.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import Any

from pdstudy.captures import Capture
from pdstudy.checks import of_downstream, of_evaluations
from pdstudy.config import Placement, Run
from pdstudy.downstream import Downstream
from pdstudy.evaluations import Evaluation
from pdstudy.execution import Execution
from pdstudy.machines import CPU_CORE, Machine
from pdstudy.normal import Problem, problems
from pdstudy.outputs import Output
from pdstudy.storage import Kept

_PACKAGE = str(Path(__file__).parent) + os.sep


def _caller() -> tuple[str, int]:
    """File and line of the user's call: the innermost frame outside this package."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith((_PACKAGE, "<")):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


@dataclass(frozen=True)
class Change:
    """One field set to a value, or to what a function of the cell's labels returns; remembers the user's line."""

    path: str
    value: Any
    file: str
    line: int


@dataclass(frozen=True)
class Arm:
    """One combination of levels: a label per axis, and the changes that make it out of the base run."""

    labels: Mapping[str, str]
    changes: tuple[Change, ...]

    def __getitem__(self, axis_name: str) -> str:
        return self.labels[axis_name]


@dataclass(frozen=True)
class Grid:
    """A list of arms. Built by `axis` and `arm`."""

    arms: tuple[Arm, ...]

    def __mul__(self, other: Grid) -> Grid:
        return Grid(tuple(_merge(a, b) for a in self.arms for b in other.arms))

    def __add__(self, other: Grid) -> Grid:
        return Grid(self.arms + other.arms)

    def zip(self, other: Grid) -> Grid:
        """The i-th level of one with the i-th of the other. Raises `ValueError` when their lengths differ."""
        if len(self.arms) != len(other.arms):
            raise ValueError(f"zip needs axes of one length; these have {len(self.arms)} and {len(other.arms)} levels")
        return Grid(tuple(_merge(a, b) for a, b in zip(self.arms, other.arms, strict=True)))

    def where(self, keep: Callable[[Arm], bool]) -> Grid:
        """Only the arms for which `keep(arm)` holds; `arm["axis"]` is the label on that axis."""
        return Grid(tuple(a for a in self.arms if keep(a)))

    def set(self, path: str, value: Any) -> Grid:
        """Set a field in every arm: to a value, or to `value(arm)` where it is a function (a rate per size, say)."""
        file, line = _caller()
        made = []
        for a in self.arms:
            change = Change(path, value(a) if callable(value) else value, file, line)
            made.append(Arm(a.labels, (*a.changes, change)))
        return Grid(tuple(made))


def _merge(a: Arm, b: Arm) -> Arm:
    return Arm({**a.labels, **b.labels}, a.changes + b.changes)


def axis(name: str, levels: Mapping[str, Any] | Sequence[Any], *, field: str | None = None) -> Grid:
    """One axis. `levels` maps labels to values of `field`, or is a plain sequence of values (their text is the label).

    Without `field` each level is itself a mapping from dotted fields to values: `{"tuned": {"optimiser.lr": 4e-3}}`.
    """
    file, line = _caller()
    named = levels.items() if isinstance(levels, Mapping) else [(v, v) for v in levels]
    arms = []
    for label, value in named:
        updates = value if field is None and isinstance(value, Mapping) else {field or name: value}
        arms.append(Arm({name: _label(label)}, tuple(Change(p, v, file, line) for p, v in updates.items())))
    return Grid(tuple(arms))


def arm(label: str, changes: Mapping[str, Any], *, axis: str = "arm") -> Grid:
    """One explicit arm: `arm("PD*", {"objective": kd, "schedule": wsd})`."""
    file, line = _caller()
    return Grid((Arm({axis: _label(label)}, tuple(Change(p, v, file, line) for p, v in changes.items())),))


def _label(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


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
    where: tuple[str, int] = field(default_factory=_caller, compare=False)

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
        found = self._expanded[1] if not own else []
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
            "seeds": int,
            "evaluations": Evaluation,
            "downstream": Downstream,
            "outputs": Output,
            "executions": Execution,
            "kept": Kept,
        }
        wrong = []
        for name, kind in one.items():
            if not isinstance(getattr(self, name), kind):
                wrong.append(Problem(name, getattr(self, name), f"a {kind.__name__}"))
        for name, kind in many.items():
            value = getattr(self, name)
            if not isinstance(value, Sequence) or not all(isinstance(v, kind) for v in value):
                wrong.append(Problem(name, value, f"a tuple of {getattr(kind, '__name__', kind)}"))
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
            elif label not in axes[name]:
                allowed = f"a level of {name!r}: {sorted(axes[name])}"
                wrong.append(Problem(f"baseline[{name!r}]", label, allowed, hint=nearest(label, axes[name])))
        names = [",".join(f"{k}={v}" for k, v in a.labels.items()) for a in self.grid.arms]
        for twice in sorted(name for name, count in Counter(names).items() if count > 1):
            wrong.append(Problem("grid", twice, "arms with labels of their own; this one occurs more than once"))
        wrong += of_evaluations(self)
        wrong += of_downstream(self)
        for name, capture in self.captures.items():
            faults = list(problems(capture, f"captures[{name!r}]"))
            wrong += [p for p in faults if not (self.elsewhere and p.missing)]
        wrong += problems(self.placement, "placement")
        for i, execution in enumerate(self.executions):
            wrong += problems(execution, f"executions[{i}]")
        for i, output in enumerate(self.outputs):
            wrong += problems(output, f"outputs[{i}]")
            for name in output.axes():
                if name not in axes:
                    wrong.append(Problem(f"outputs[{i}]", name, f"an axis: {sorted(axes)}", hint=nearest(name, axes)))
        return wrong


def changed(base: Run, arm: Arm) -> tuple[Run, list[Problem]]:
    """The run that an arm makes of the base, and what is wrong with its changes, which are then left out."""
    run, wrong = base, []
    for change in arm.changes:
        file, line = change.file, change.line
        if change.path == "seed":
            wrong.append(Problem("seed", change.value, "no axis: Study(seeds=...) sets it", file, line))
        try:
            run = _replace(run, change.path.split("."), change.value)
        except _UnknownField as unknown:
            wrong.append(Problem(change.path, unknown.name, unknown.allowed, file, line, unknown.hint))
    return run, wrong


class _UnknownField(Exception):
    def __init__(self, name: str, owner: object) -> None:
        known = [f.name for f in dataclasses.fields(owner)] if dataclasses.is_dataclass(owner) else []
        self.name = name
        kind = type(owner).__name__
        self.allowed = f"a field of {kind}: {', '.join(known)}" if known else f"nothing: {kind} has no fields"
        self.hint = nearest(name, known)


def _replace(owner: Any, path: list[str], value: Any) -> Any:
    name = path[0]
    if not dataclasses.is_dataclass(owner) or name not in {f.name for f in dataclasses.fields(owner)}:
        raise _UnknownField(name, owner)
    new = value if len(path) == 1 else _replace(getattr(owner, name), path[1:], value)
    return dataclasses.replace(owner, **{name: new})  # type: ignore[type-var]


def matches(name: str, pattern: str) -> bool:
    """Whether a cell's name is the one asked for, or fits the pattern."""
    return name == pattern or fnmatch(name, pattern)


def nearest(name: object, known: Any) -> str:
    """A hint at the known name closest to a wrong one, or nothing."""
    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else ""
