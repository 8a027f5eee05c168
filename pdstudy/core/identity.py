"""Declared objects, their canonical form, and the fingerprints made of it.

The fields of a run, and of what is measured of it, are frozen dataclasses made by `declared`. This module turns them
into plain JSON and back, hashes them, and compares them field by field. It raises on what it cannot encode: a hash that
silently falls back on `repr` forks identities.

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
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, dataclass_transform

from pdstudy.core.errors import ConfigError
from pdstudy.core.origin import HASH, remember_origin, without_origin

SCHEMA = 1
"""Version of the stored configuration format; kept beside every result, never hashed."""


T = TypeVar("T")


DECLARED: dict[str, type] = {}
"""Every declared class, by its name."""


_NEUTRAL = "neutral"
"""Metadata of a field: its neutral value."""


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(dataclasses.field,))
def declared(cls: type[T]) -> type[T]:
    """Make `cls` a frozen keyword-only dataclass that can be encoded, decoded, hashed and checked."""
    cls.__post_init__ = remember_origin  # type: ignore[attr-defined]
    made = dataclass(frozen=True, kw_only=True)(cls)
    made.__hash__ = _remembered_hash(made.__hash__)  # type: ignore[method-assign]
    made.__getstate__ = lambda self: without_origin(self.__dict__)  # type: ignore[method-assign]
    if made.__name__ in DECLARED:
        raise TypeError(f"two declared classes are called {made.__name__}")
    DECLARED[made.__name__] = made
    return made


def _remembered_hash(compute: Any) -> Any:
    """A hash computed once per object: a grid of 10,000 runs hashes one teacher over and over."""

    def __hash__(self: Any) -> int:
        known: int | None = self.__dict__.get(HASH)
        if known is None:
            known = self.__dict__[HASH] = compute(self)
        return known

    return __hash__


def neutral(value: Any) -> Any:
    """A field that the hash leaves out at its default `value`, so that it can be added without new identities."""
    return dataclasses.field(default=value, metadata={_NEUTRAL: value})


def class_named(name: str) -> type | None:
    """The declared class of this name."""
    return DECLARED.get(name)


def encode(value: Any) -> Any:
    """Plain JSON data of a declared object, every field included. Raises `TypeError` on anything else."""
    return _encode(value, hashed=False)


def hashed_form(value: Any) -> Any:
    """Plain JSON data of what is hashed: neutral fields left out, content hashes in the place of paths."""
    return _encode(value, hashed=True)


def canonical(value: Any) -> str:
    """The text whose hash is the identity: sorted keys, shortest floats, neutral fields left out.

    Declared objects inside are represented by their own fingerprints, so that a shared teacher is encoded once.
    """
    form = _encode(value, hashed=True, inside=lambda v: {"is": type(v).__name__, "fingerprint": fingerprint(v)})
    return json.dumps(form, sort_keys=True, separators=(",", ":"), allow_nan=False)


@functools.lru_cache(maxsize=65536)
def _fingerprint_of(value: Any) -> str:
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:16]


def forget_fingerprints() -> None:
    """Compute fingerprints anew: those of texts and teachers hold for as long as nobody edits them."""
    _fingerprint_of.cache_clear()


def fingerprint(value: Any) -> str:
    """16 hex digits of the sha256 of the canonical form of a declared object."""
    return _fingerprint_of(value)


def _encode(value: Any, *, hashed: bool, inside: Callable[[Any], Any] | None = None) -> Any:
    """Plain data; `inside` says what stands for the declared objects that a declared object holds."""
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"cannot encode {value!r}: only finite numbers have an identity")
        # 1 and 1.0 are one value to a user who writes a temperature or a share.
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if isinstance(value, tuple | list):
        return [_part(v, hashed, inside) for v in value]
    if isinstance(value, dict):
        if not all(isinstance(k, str) for k in value):
            raise TypeError(f"cannot encode a mapping whose keys are not all text: {list(value)!r}")
        return {k: _part(v, hashed, inside) for k, v in value.items()}
    if not is_declared(value):
        raise TypeError(
            f"cannot encode {type(value).__name__} {value!r}: use numbers, text, tuples or declared objects"
        )
    out: dict[str, Any] = {"is": type(value).__name__}
    external = value.content() if hashed and hasattr(value, "content") else {}
    for field in dataclasses.fields(value):
        item = getattr(value, field.name)
        if field.name in external:
            item = external[field.name]
        if hashed and _NEUTRAL in field.metadata and item == field.metadata[_NEUTRAL]:
            continue
        out[field.name] = _part(item, hashed, inside)
    return out


def _part(value: Any, hashed: bool, inside: Callable[[Any], Any] | None) -> Any:
    if inside is not None and is_declared(value):
        return inside(value)
    return _encode(value, hashed=hashed, inside=inside)


def is_declared(value: Any) -> bool:
    """Whether an object is of a class made by `declared`."""
    return DECLARED.get(type(value).__name__) is type(value)


def decode(data: Any) -> Any:
    """The object that `encode` wrote. Raises `ConfigError` on an unknown class or field."""
    if isinstance(data, list):
        return tuple(decode(v) for v in data)
    if not isinstance(data, dict):
        return data
    if "is" not in data:
        return {k: decode(v) for k, v in data.items()}
    cls = DECLARED.get(data["is"])
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
