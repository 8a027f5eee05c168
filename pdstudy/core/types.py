"""Types of fields: the test whether a value has the annotated type, and the type in a user's words."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping
from typing import Any

_WORDS = {
    int: "a whole number",
    float: "a finite number",
    str: "text",
    bool: "True or False",
    types.NoneType: "None",
    Mapping: "a mapping",
}


LONGEST_EXAMPLE = 40
"""Characters of a value that a hint repeats."""

_MANY = {"a whole number": "whole numbers", "a finite number": "finite numbers", "text": "texts"}


def fits(value: Any, hint: Any) -> bool:
    """Whether `value` is of the type `hint`. Whole numbers are numbers; True, False, inf and nan are none."""
    if (type(value) is hint and hint is not float) or hint is Any:
        return True
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return value in args
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, a) for a in args)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if len(args) == 2 and args[1] is Ellipsis:
            return all(fits(v, args[0]) for v in value)
        return len(value) == len(args) and all(fits(v, a) for v, a in zip(value, args, strict=True))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    kind = origin or hint
    return isinstance(value, kind) if isinstance(kind, type) else True


def described(hint: Any) -> str:
    """The values of a type: "a whole number or None", "'train', 'validation' or 'test'", "a tuple of Shape"."""
    *others, last = _list_alternatives(hint)
    return f"{', '.join(others)} or {last}" if others else last


def _list_alternatives(hint: Any) -> list[str]:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return [repr(value) for value in args]
    if origin in (typing.Union, types.UnionType):
        return list(dict.fromkeys(words for a in args for words in _list_alternatives(a)))
    if origin is tuple:
        of = [described(a) for a in args if a is not Ellipsis]
        return [f"a tuple of {_MANY.get(of[0], of[0])}" if args[-1] is Ellipsis else f"a tuple ({', '.join(of)})"]
    kind = origin or hint
    words = _WORDS.get(kind) or getattr(kind, "DESCRIBED", None) or getattr(kind, "__name__", kind)
    return [str(words)]


def comma(value: Any, hint: Any) -> str:
    """The hint for a single element in the place of a tuple of such; else nothing."""
    args = typing.get_args(hint)
    alone = typing.get_origin(hint) is tuple and args[-1] is Ellipsis and fits(value, args[0])
    written = repr(value) if len(repr(value)) <= LONGEST_EXAMPLE else "it"
    return f"a tuple of one is written ({written},)" if alone else ""
