"""Lines of a user's files: which call made an object, and where in that call a value is written.

An object remembers its call as a code object and an instruction, which costs well below a microsecond. The line is
worked out when a problem is reported, from the text of the call: that of the argument, and within a literal that of
the element.
"""

from __future__ import annotations

import ast
import copy
import dataclasses
import functools
import itertools
import linecache
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")

ORIGIN = "_origin"
"""The entry of an object's `__dict__` that holds its `Call`. It is no field: not compared, hashed, shown or stored."""

PROBLEMS, HASH = "_problems", "_hash"
"""Entries of the same kind: what was found wrong with an object, and its hash."""

_OURS = str(Path(__file__).parents[1]) + os.sep
_COPIERS = (dataclasses.__file__, copy.__file__)

Spot = tuple[str, int]
"""A file and a line in it, from 1."""

Key = tuple[str, Any]
"""A step into a value: ("field", name) or ("item", index or key)."""


class Call(NamedTuple):
    """A call in a user's file."""

    code: CodeType
    instruction: int
    copies: bool = False
    """Whether it is `dataclasses.replace`, which sets only some fields anew."""
    before: Call | None = None
    """The call that made the object of which this one copies the other fields."""


def remember_origin(made: Any, depth: int = 2) -> None:
    """Keep the call that makes an object; installed as its `__post_init__`, or called there with a `depth` of 3.

    Copies that pdstudy makes keep the origin of what they were copied from; objects that it makes itself have none.
    """
    # Who calls the generated __init__, which calls this function, or a `__post_init__` that calls it.
    frame: FrameType | None = sys._getframe(depth)
    assert frame is not None
    before, copies = None, frame.f_code.co_filename in _COPIERS
    if copies:
        local = frame.f_locals
        before = origin(local.get("obj", local.get("self")))
        while frame.f_code.co_filename in _COPIERS and frame.f_back is not None:
            frame = frame.f_back
    if not frame.f_code.co_filename.startswith(_OURS):
        made.__dict__[ORIGIN] = Call(frame.f_code, frame.f_lasti, copies, before)
    elif before is not None:
        made.__dict__[ORIGIN] = before


class HasOrigin:
    """A frozen dataclass that remembers the call that made it."""

    def __post_init__(self) -> None:
        remember_origin(self, depth=3)


def origin(made: Any) -> Call | None:
    """The call that made an object, where a user's file made it."""
    found: Call | None = getattr(made, "__dict__", {}).get(ORIGIN)
    return found


def pass_on(old: Any, new: T) -> T:
    """`new`, said to be made where `old` was."""
    if (call := origin(old)) is not None:
        new.__dict__[ORIGIN] = call
    return new


def without_origin(state: dict[str, Any]) -> dict[str, Any]:
    """The `__dict__` of an object without what holds in this process alone."""
    return {name: value for name, value in state.items() if name not in (ORIGIN, PROBLEMS, HASH)}


class Place(NamedTuple):
    """A value in a call: its argument, by name and position, then keys into the literal that stands there."""

    call: Call
    name: str = ""
    position: int = -1
    keys: tuple[Key, ...] = ()

    def spot(self) -> Spot:
        """Its file and line, or those of what holds it where the text does not show it."""
        node = _node(self.call)
        found = _argument_of(node, self.name, self.position) if node is not None else None
        line = _line(self.call) if found is None else found.lineno
        for key in self.keys:
            found = _inside(found, key)
            line = line if found is None else found.lineno
        return self.call.code.co_filename, line


def calling(name: str = "", position: int = -1) -> Place | None:
    """An argument of the call that the calling function runs for; None where pdstudy itself made that call."""
    frame = sys._getframe(2)
    if frame.f_code.co_filename.startswith(_OURS):
        return None
    return Place(Call(frame.f_code, frame.f_lasti), name, position)


def spot_of(root: Any, path: str = "") -> Spot | None:
    """File and line of the value at a path of an object, such as `evaluations[0].data.tokens`; None without an origin.

    It is the line of the deepest value on the way that the user's text shows.
    """
    call = origin(root)
    found: Spot | None = None if call is None else (call.code.co_filename, _line(call))
    node: ast.expr | None = None
    at, file = root, ""
    for key in _steps(path):
        call = origin(at)
        if call is not None and key[0] == "field":
            call, node = _argument(call, type(at), key[1])
            file = call.code.co_filename
            found = file, _line(call) if node is None else node.lineno
        else:
            node = _inside(node, key)
            found = found if node is None else (file, node.lineno)
        at = _value(at, key)
    return found


def _steps(path: str) -> Iterator[Key]:
    """`a.b[0]['c']: d.e` as fields a and b and the items 0, "c" and "d.e"; what follows a step of no such form is left
    out."""
    path, _, changed = path.partition(": ")
    at = 0
    while step := _STEP.match(path, at):
        at = step.end()
        yield ("field", step["field"]) if step["field"] else ("item", ast.literal_eval(step["item"]))
    if changed and at == len(path):
        yield "item", changed


_STEP = re.compile(r"""\.?(?P<field>[A-Za-z_]\w*)|\[(?P<item>\d+|'[^']*'|"[^"]*")\]""")


def _value(at: Any, key: Key) -> Any:
    try:
        return getattr(at, key[1]) if key[0] == "field" else at[key[1]]
    except (AttributeError, LookupError, TypeError):
        return None


def _argument(call: Call, cls: type, name: str) -> tuple[Call, ast.expr | None]:
    """The call that set a field, and the expression that it set it to; None where its text does not name the field."""
    positional = [f.name for f in dataclasses.fields(cls) if f.init and not f.kw_only]
    at: Call | None = call
    while at is not None:
        position = positional.index(name) if name in positional and not at.copies else -1
        node = _node(at)
        value = None if node is None else _argument_of(node, name, position)
        if value is not None or at.before is None:
            return at, value
        at = at.before
    return call, None


def _argument_of(node: ast.Call, name: str, position: int) -> ast.expr | None:
    for keyword in node.keywords:
        if keyword.arg == name:
            return keyword.value
    arguments = node.args[: position + 1]
    starred = any(isinstance(argument, ast.Starred) for argument in arguments)
    return arguments[position] if 0 <= position < len(node.args) and not starred else None


def _inside(node: ast.expr | None, key: Key) -> ast.expr | None:
    """The expression of an element of a literal, or of an argument of a call."""
    kind, name = key
    if isinstance(node, ast.Dict):
        for i, (label, value) in enumerate(zip(node.keys, node.values)):
            if isinstance(label, ast.Constant) and label.value == name:
                return value
            if kind == "nth" and i == name and None not in node.keys:
                return value
    if isinstance(node, ast.Tuple | ast.List) and isinstance(name, int):
        starred = any(isinstance(element, ast.Starred) for element in node.elts[: name + 1])
        return None if starred or name >= len(node.elts) else node.elts[name]
    if isinstance(node, ast.Call) and isinstance(name, str):
        return next((keyword.value for keyword in node.keywords if keyword.arg == name), None)
    return None


def _line(call: Call) -> int:
    return _positions(call)[0] or call.code.co_firstlineno


def _positions(call: Call) -> tuple[int | None, int | None, int | None, int | None]:
    return next(itertools.islice(call.code.co_positions(), call.instruction // 2, None), (None,) * 4)


def _node(call: Call) -> ast.Call | None:
    """The call in the syntax tree of its file; None where the text is not there, or is another by now."""
    file = call.code.co_filename
    linecache.checkcache(file)
    _, end_line, _, end_column = _positions(call)
    # By its end: the start of a method's call is that of the method's name.
    return _calls("".join(linecache.getlines(file))).get((end_line, end_column))


@functools.lru_cache(maxsize=64)
def _calls(text: str) -> dict[tuple[int | None, int | None], ast.Call]:
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return {}
    return {(n.end_lineno, n.end_col_offset): n for n in ast.walk(tree) if isinstance(n, ast.Call)}
