"""Problems of declared objects: wrong types first, then what each class checks of itself."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import typing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pdstudy.core.identity import _CLASSES, is_declared
from pdstudy.core.types import comma, described, fits


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a study, in the words that a user needs to mend it."""

    field: str
    found: Any
    allowed: str
    file: str = ""
    line: int = 0
    hint: str = ""
    missing: bool = False
    """A file or folder that is not here, which a study that runs elsewhere (`Study.elsewhere`) may name."""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: " if self.file else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{where}{self.field}: found {_short(self.found)}; allowed: {self.allowed}{hint}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def nearest(name: object, known: Iterable[str]) -> str:
    """A hint at the known name closest to a wrong one, or nothing."""
    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else ""


def problems(value: Any, at: str = "") -> Iterator[Problem]:
    """Every problem of a declared object and of what it holds: wrong types first, then the class's own `check`."""
    if is_declared(value):
        try:
            found = _problems_of(value)
        except TypeError:  # an unhashable field, which is a wrong type
            found = tuple(_search(value))
        for problem in found:
            yield dataclasses.replace(problem, field=f"{at}.{problem.field}" if at else problem.field)


@functools.lru_cache(maxsize=65536)
def _problems_of(value: Any) -> tuple[Problem, ...]:
    return tuple(_search(value))


def _search(value: Any) -> Iterator[Problem]:
    wrong = inside = False
    cls: Any = type(value)
    for name, hint in _hints(cls).items():
        item = getattr(value, name)
        if not fits(item, hint):
            wrong = True
            yield _mistyped(name, item, hint)
        else:
            for problem in _of_part(item, name):
                inside = True
                yield problem
    check = getattr(value, "check", None)
    if check is not None and not wrong:
        try:
            yield from check()
        except (TypeError, ValueError, ArithmeticError, AttributeError, AssertionError):
            if not inside:  # else it tripped over a part that is wrong in itself, as was said above
                raise


def mistyped(value: Any) -> Iterator[Problem]:
    """The fields of any dataclass whose values are not of the type that they are annotated with."""
    cls: Any = type(value)
    for name, hint in _hints(cls).items():
        item = getattr(value, name)
        if not fits(item, hint):
            yield _mistyped(name, item, hint)


def _mistyped(name: str, item: Any, hint: Any) -> Problem:
    return Problem(name, item, described(hint), hint=comma(item, hint))


def _of_part(item: Any, at: str) -> Iterator[Problem]:
    if isinstance(item, tuple):
        for i, element in enumerate(item):
            yield from _of_part(element, f"{at}[{i}]")
    else:
        yield from problems(item, at)


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    hints = typing.get_type_hints(cls, localns=_CLASSES)
    return {f.name: hints[f.name] for f in dataclasses.fields(cls)}
