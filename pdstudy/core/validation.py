"""Problems of declared objects: wrong types first, then what each class checks of itself."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import re
import typing
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pdstudy.core.identity import DECLARED
from pdstudy.core.origin import PROBLEMS, Spot
from pdstudy.core.types import comma, described, fits


@dataclass(frozen=True)
class Problem:
    """One mistake in a study, with all that a user needs to mend it."""

    field: str
    found: Any
    allowed: str
    file: str = ""
    line: int = 0
    hint: str = ""
    missing: bool = False
    """A file or folder that is not here, which a study that runs elsewhere (`Study.elsewhere`) may name."""

    def at(self, spot: Spot | None) -> Problem:
        """The problem with file and line, where it has none yet."""
        return self if self.file or spot is None else dataclasses.replace(self, file=spot[0], line=spot[1])

    def below(self, field: str) -> Problem:
        """The problem as one of the object that holds, in `field`, the object that has it."""
        return dataclasses.replace(self, field=f"{field}.{self.field}")

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: " if self.file else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{where}{self.field}: found {_short(self.found)}; allowed: {self.allowed}{hint}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def nearest(name: object, known: Iterable[str]) -> str:
    """A hint at the known name closest to a wrong one; nothing where none is close."""
    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else ""


def problems(value: Any, at: str = "") -> Iterator[Problem]:
    """Every problem of a frozen dataclass and of what it holds: wrong types first, then the class's own `check`."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        # Kept with the object: the runs of a grid share teachers and corpora.
        found: tuple[Problem, ...] | None = value.__dict__.get(PROBLEMS)
        if found is None:
            found = value.__dict__[PROBLEMS] = tuple(_search(value))
        for problem in found:
            yield problem.below(at) if at else problem


def _search(value: Any) -> Iterator[Problem]:
    wrong: list[Problem] = []
    inside: list[Problem] = []
    for name, hint in _hints(_class(value)).items():
        item = getattr(value, name)
        if fits(item, hint):
            inside += _part(item, name)
        else:
            wrong += _mistyped(name, item, hint)
    yield from wrong
    yield from inside
    check = getattr(value, "check", None)
    if check is not None and not wrong:
        try:
            yield from check()
        except (TypeError, ValueError, ArithmeticError, AttributeError, AssertionError):
            if not inside:  # else it tripped over a part that is wrong in itself, as was said above
                raise


def _part(item: Any, at: str) -> Iterator[Problem]:
    if isinstance(item, tuple):
        for i, element in enumerate(item):
            yield from _part(element, f"{at}[{i}]")
    elif dataclasses.is_dataclass(item):
        yield from problems(item, at)


def mistyped(value: Any) -> Iterator[Problem]:
    """The fields of any dataclass whose values are not of the type that they are annotated with."""
    for name, hint in _hints(_class(value)).items():
        item = getattr(value, name)
        if not fits(item, hint):
            yield from _mistyped(name, item, hint)


def _mistyped(name: str, item: Any, hint: Any) -> Iterator[Problem]:
    """The problem of a field; of a tuple whose elements alone are of a wrong type, those of the elements."""
    if isinstance(item, tuple) and fits((), hint):
        each = typing.get_args(hint)[0]
        wrong = ((i, element) for i, element in enumerate(item) if not fits(element, each))
        yield from (Problem(f"{name}[{i}]", element, described(each)) for i, element in wrong)
    else:
        yield Problem(name, item, described(hint), hint=comma(item, hint))


def own_problems(value: Any) -> Iterator[Problem]:
    """Problems of an object whose `check` looks into its parts itself, as that of a study does.

    Wrong types first. Then what `check` says of the object that has defaults in their place, so that they hide
    nothing else; where one has no default they come alone.
    """
    wrong = list(mistyped(value))
    yield from wrong
    fields = {f.name: f for f in dataclasses.fields(value)}
    names = {_field(problem) for problem in wrong}
    sound = {name: _default(fields[name], _hints(_class(value))[name]) for name in names}
    if dataclasses.MISSING not in sound.values():
        checked = dataclasses.replace(value, **sound) if sound else value
        yield from (problem for problem in checked.check() if _field(problem) not in names)


def _field(problem: Problem) -> str:
    """The field of the object itself that a problem's path begins with."""
    return re.split(r"[.\[]", problem.field)[0]


def _default(field: dataclasses.Field[Any], hint: Any) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return "" if hint is str else field.default


def keep_tuples(made: Any) -> None:
    """Turn lists and ranges that a user gave for tuples into tuples."""
    for name, hint in _hints(_class(made)).items():
        value = getattr(made, name)
        listed = isinstance(value, Sequence) and not isinstance(value, tuple | str | bytes)
        if listed and typing.get_origin(hint) is tuple:
            made.__dict__[name] = tuple(value)


def _class(value: Any) -> Any:
    return type(value)


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    hints = typing.get_type_hints(cls, localns=DECLARED)
    return {f.name: hints[f.name] for f in dataclasses.fields(cls)}
