"""The grid of a study: arms made of axes over any field of a run.

Grids combine: `a * b` (product), `a + b` (one after the other), `a.zip(b)` (in step), `a.where(condition)`,
`a.set(field, value)`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pdstudy.config.run import Run
from pdstudy.core.origin import Place, Spot, calling, spot_of
from pdstudy.core.validation import Problem, nearest


@dataclass(frozen=True)
class Change:
    """One field set to a value, and the place in the user's file where that stands (None where pdstudy sets it)."""

    path: str
    value: Any
    place: Place | None = field(default=None, compare=False, repr=False)

    def spot_of(self, path: str) -> Spot | None:
        """File and line of the value at a path of the run that this change sets, or sets a part of; else None."""
        if path == self.path or path.startswith((f"{self.path}.", f"{self.path}[")):
            inside = path[len(self.path) :].removeprefix(".")
            deeper = spot_of(self.value, inside) if inside else None
            return deeper or self.spot
        return self.spot if self.path.startswith(f"{path}.") else None

    @property
    def spot(self) -> Spot | None:
        """File and line of the change itself."""
        return None if self.place is None else self.place.spot()


@dataclass(frozen=True)
class Arm:
    """One combination of levels: a label per axis, and the changes that make it out of the base run."""

    labels: Mapping[str, str]
    changes: tuple[Change, ...]

    def __getitem__(self, axis_name: str) -> str:
        return self.labels[axis_name]

    def spot_of(self, run: Run, path: str) -> Spot | None:
        """File and line that a problem at a path of this arm's `run` comes from: the change that set it, else the last
        change, else the run's own text."""
        for change in reversed(self.changes):
            if (found := change.spot_of(path)) is not None:
                return found
        return self.spot or spot_of(run, path)

    @property
    def spot(self) -> Spot | None:
        """File and line of the last change."""
        return self.changes[-1].spot if self.changes else None


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
        place = calling("value", 1)
        made = []
        for a in self.arms:
            change = Change(path, value(a) if callable(value) else value, place)
            made.append(Arm(a.labels, (*a.changes, change)))
        return Grid(tuple(made))


def _merge(a: Arm, b: Arm) -> Arm:
    return Arm({**a.labels, **b.labels}, a.changes + b.changes)


def axis(name: str, levels: Mapping[str, Any] | Sequence[Any], *, field: str | None = None) -> Grid:
    """One axis. `levels` maps labels to values of `field`, or is a plain sequence of values (their text is the label).

    Without `field` each level is itself a mapping from dotted fields to values: `{"tuned": {"optimiser.lr": 4e-3}}`.
    Raises `TypeError` where `levels` are neither.
    """
    if isinstance(levels, str) or not isinstance(levels, Mapping | Sequence):
        raise TypeError(
            f"levels of axis {name!r}: found {levels!r}; allowed: a mapping from labels, or a list of values"
        )
    place = calling("levels", 1)
    named = levels.items() if isinstance(levels, Mapping) else [(v, v) for v in levels]
    arms = []
    for i, (label, value) in enumerate(named):
        at = _inside(place, ("nth" if isinstance(levels, Mapping) else "item", i))
        bundled = field is None and isinstance(value, Mapping)
        changes = _changes(value, at) if bundled else (Change(field or name, value, at),)
        arms.append(Arm({name: _label(label)}, changes))
    return Grid(tuple(arms))


def arm(label: str, changes: Mapping[str, Any], *, axis: str = "arm") -> Grid:
    """One explicit arm: `arm("PD*", {"objective": kd, "schedule": wsd})`."""
    return Grid((Arm({axis: _label(label)}, _changes(changes, calling("changes", 1))),))


def _changes(updates: Mapping[str, Any], place: Place | None) -> tuple[Change, ...]:
    return tuple(Change(path, value, _inside(place, ("item", path))) for path, value in updates.items())


def _inside(place: Place | None, key: tuple[str, Any]) -> Place | None:
    return None if place is None else place._replace(keys=(*place.keys, key))


def _label(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def changed(base: Run, arm: Arm) -> tuple[Run, list[Problem]]:
    """The run that an arm makes of the base, and what is wrong with its changes, which are then left out."""
    run, wrong = base, []
    for change in arm.changes:
        if change.path == "seed":
            wrong.append(Problem("seed", change.value, "no axis: Study(seeds=...) sets it").at(change.spot))
        try:
            run = _replace(run, change.path.split("."), change.value)
        except _UnknownField as unknown:
            found = Problem(change.path, unknown.name, unknown.allowed, hint=unknown.hint)
            wrong.append(found.at(change.spot))
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
