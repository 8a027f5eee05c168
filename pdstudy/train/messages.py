"""Frozen dataclasses that travel as JSON, paths and ranges included: what a worker, a SLURM job or torchrun is sent."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, dataclass_transform

from pdstudy.core.errors import ConfigError
from pdstudy.core.identity import decode, encode

T = TypeVar("T")

_CLASSES: dict[str, type] = {}


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def message(cls: type[T]) -> type[T]:
    """Make `cls` a frozen dataclass that `to_json` and `from_json` know."""
    made = dataclasses.dataclass(frozen=True)(cls)
    _CLASSES[made.__name__] = made
    return made


def to_json(value: Any) -> Any:
    """Plain JSON data of a message, of declared objects, paths, ranges, and tuples and mappings of them."""
    if isinstance(value, Path):
        return {"path": str(value)}
    if isinstance(value, range):
        return {"range": [value.start, value.stop]}
    if isinstance(value, tuple):
        return [to_json(each) for each in value]
    if isinstance(value, Mapping):
        return {name: to_json(each) for name, each in value.items()}
    if type(value).__name__ in _CLASSES:
        return {"message": type(value).__name__} | {name: to_json(each) for name, each in vars(value).items()}
    return encode(value)


def from_json(data: Any) -> Any:
    """The value that `to_json` wrote. Raises `ConfigError` on data of another kind or version."""
    if isinstance(data, list):
        return tuple(from_json(each) for each in data)
    if not isinstance(data, dict) or "is" in data:
        return decode(data)
    if data.keys() == {"path"}:
        return Path(data["path"])
    if data.keys() == {"range"}:
        return range(*data["range"])
    values = {name: from_json(each) for name, each in data.items() if name != "message"}
    if "message" not in data:
        return values
    try:
        return _CLASSES[data["message"]](**values)
    except (KeyError, TypeError) as error:
        raise ConfigError(f"a {data['message']} was written by another version of pdstudy ({error})") from error
