"""Declared objects, their canonical form, and the fingerprints made of it.

Everything that a study declares is a frozen dataclass made by `declared`. This module turns such objects into plain
JSON and back, hashes them, compares them field by field, and walks them for problems. It imports neither torch nor
numpy, and it raises on what it cannot encode: a hash that silently falls back on `repr` forks identities.

Two forms exist. `encode` writes every field and is what a run directory stores. `canonical` is what is hashed: it
leaves out fields at their *neutral* value (see `neutral`), so that a field added next year changes no old fingerprint,
and puts what a class's `content()` returns (field name to content hash) in the place of paths.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar, dataclass_transform

SCHEMA = 1
"""Version of the stored configuration format; kept beside every result, never hashed."""

T = TypeVar("T")
_CLASSES: dict[str, type] = {}
_NEUTRAL = "neutral"


class ConfigError(ValueError):
    """A user's input is wrong; the message names the value found, what is allowed, and the fix."""


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(dataclasses.field,))
def declared(cls: type[T]) -> type[T]:
    """Make `cls` a frozen keyword-only dataclass that can be encoded, decoded, hashed and checked."""
    made = dataclass(frozen=True, kw_only=True)(cls)
    if made.__name__ in _CLASSES:
        raise TypeError(f"two declared classes are called {made.__name__}")
    _CLASSES[made.__name__] = made
    return made


def neutral(value: Any) -> Any:
    """A field whose default `value` means "as if this field did not exist": the hash leaves it out there."""
    return dataclasses.field(default=value, metadata={_NEUTRAL: value})


def encode(value: Any) -> Any:
    """Plain JSON data of a declared object, every field included. Raises `TypeError` on anything else."""
    return _encode(value, hashed=False)


def hashed_form(value: Any) -> Any:
    """Plain JSON data of what is hashed: neutral fields left out, content hashes in the place of paths."""
    return _encode(value, hashed=True)


def canonical(value: Any) -> str:
    """The text whose hash is the identity: sorted keys, shortest floats, neutral fields left out."""
    return json.dumps(hashed_form(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def fingerprint(value: Any) -> str:
    """16 hex digits of the sha256 of the canonical form."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:16]


def _encode(value: Any, *, hashed: bool) -> Any:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"cannot encode {value!r}: only finite numbers have an identity")
        # 1 and 1.0 are one value to a user who writes a temperature or a share.
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if isinstance(value, tuple | list):
        return [_encode(v, hashed=hashed) for v in value]
    if isinstance(value, dict):
        if not all(isinstance(k, str) for k in value):
            raise TypeError(f"cannot encode a mapping whose keys are not all text: {list(value)!r}")
        return {k: _encode(v, hashed=hashed) for k, v in value.items()}
    if type(value).__name__ in _CLASSES and _CLASSES[type(value).__name__] is type(value):
        return dict(_encode_declared(value, hashed))  # a copy: callers may edit what they get
    raise TypeError(f"cannot encode {type(value).__name__} {value!r}: use numbers, text, tuples or declared objects")


@functools.lru_cache(maxsize=4096)
def _encode_declared(value: Any, hashed: bool) -> dict[str, Any]:
    out: dict[str, Any] = {"is": type(value).__name__}
    external = value.content() if hashed and hasattr(value, "content") else {}
    for field in dataclasses.fields(value):
        item = getattr(value, field.name)
        if field.name in external:
            item = external[field.name]
        elif hashed and _NEUTRAL in field.metadata and item == field.metadata[_NEUTRAL]:
            continue
        out[field.name] = _encode(item, hashed=hashed)
    return out


def decode(data: Any) -> Any:
    """The object that `encode` wrote. Raises `ConfigError` on an unknown class or field."""
    if isinstance(data, list):
        return tuple(decode(v) for v in data)
    if not isinstance(data, dict):
        return data
    if "is" not in data:
        return {k: decode(v) for k, v in data.items()}
    cls = _CLASSES.get(data["is"])
    if cls is None:
        raise ConfigError(
            f"stored configuration names an unknown class {data['is']!r}; it was written by a newer pdstudy"
        )
    known = {f.name for f in dataclasses.fields(cls)}
    unknown = set(data) - known - {"is"}
    if unknown:
        raise ConfigError(
            f"stored {data['is']} has unknown fields {sorted(unknown)}; it was written by a newer pdstudy"
        )
    return cls(**{k: decode(v) for k, v in data.items() if k != "is"})


def differences(a: Any, b: Any, at: str = "") -> list[tuple[str, Any, Any]]:
    """Dotted paths at which two encoded objects differ, with both values ('(absent)' where one lacks the field)."""
    if isinstance(a, dict) and isinstance(b, dict) and a.get("is") == b.get("is"):
        out = []
        for key in sorted(set(a) | set(b)):
            path = f"{at}.{key}" if at else key
            out += differences(a.get(key, "(absent)"), b.get(key, "(absent)"), path)
        return out
    return [] if a == b else [(at, a, b)]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a study, in the words that a user needs to mend it."""

    field: str
    found: Any
    allowed: str
    file: str = ""
    line: int = 0
    hint: str = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: " if self.file else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{where}{self.field}: found {_short(self.found)}; allowed: {self.allowed}{hint}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def problems(value: Any, at: str = "") -> Iterator[Problem]:
    """Every problem of a declared object and of what it holds: wrong types first, then the class's own `check`."""
    cls: Any = type(value)
    if _CLASSES.get(cls.__name__) is not cls:
        return
    wrong = False
    for name, (hint, text) in _hints(cls).items():
        item = getattr(value, name)
        path = f"{at}.{name}" if at else name
        if not _fits(item, hint):
            wrong = True
            yield Problem(path, item, text)
        elif isinstance(item, tuple):
            for i, element in enumerate(item):
                yield from problems(element, f"{path}[{i}]")
        else:
            yield from problems(item, path)
    check = getattr(value, "check", None)
    if check is not None and not wrong:
        for problem in check():
            yield dataclasses.replace(problem, field=f"{at}.{problem.field}" if at else problem.field)


@functools.cache
def _hints(cls: type) -> dict[str, tuple[Any, str]]:
    hints = typing.get_type_hints(cls, localns=_CLASSES)
    return {f.name: (hints[f.name], str(f.type)) for f in dataclasses.fields(cls)}


def _fits(value: Any, hint: Any) -> bool:
    origin = typing.get_origin(hint)
    args = typing.get_args(hint)
    if hint is Any:
        return True
    if origin is typing.Literal:
        return value in args
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, a) for a in args)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if len(args) == 2 and args[1] is Ellipsis:
            return all(_fits(v, args[0]) for v in value)
        return len(value) == len(args) and all(_fits(v, a) for v, a in zip(value, args, strict=True))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint) if isinstance(hint, type) else True
