"""The small files of a run's folder, read whole or found damaged: a torn file is the trouble of one run alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pdstudy.core.errors import ConfigError
from pdstudy.core.files import read_json

FIELDS: dict[str, dict[str, type]] = {
    "config.json": {"run": dict},
    "provenance.json": {},
    "status.json": {"state": str},
    "result.json": {"state": str, "flops": dict, "seconds": dict, "evals": list},
}
"""The files and the types of fields of theirs; the first of a file must be there."""


SEQUENCES = "sequences"
"""Folder of the tables by sequence of a run's final evaluations."""


class DamagedRun(ConfigError):
    """A file of a run cannot be read, is not JSON, or is not pdstudy's."""


def read_run_file(folder: Path, name: str) -> dict[str, Any] | None:
    """The content of one of `FIELDS` in a run's folder; None where it is absent. Raises `DamagedRun`."""
    path = folder / name
    try:
        content = read_json(path)
    except ConfigError as error:
        raise DamagedRun(str(error)) from error
    except OSError as error:
        raise DamagedRun(f"{path} is damaged: {error.strerror or error}; restore it, or move {folder} away") from error
    if content is None:
        return None
    ours = isinstance(content, dict)
    needed = list(FIELDS[name])[:1]
    wrong = [
        field
        for field, kind in FIELDS[name].items()
        if ours and (field in content or field in needed) and not isinstance(content.get(field), kind)
    ]
    if wrong or not ours:
        said = f"without a right {', '.join(wrong)}" if wrong else "no object"
        raise DamagedRun(f"{path} is damaged: it is JSON, but {said}; delete it and run again, which makes it anew")
    found: dict[str, Any] = content
    return found


def whole_run_file(folder: Path, name: str) -> dict[str, Any] | None:
    """`read_run_file`, or None where the file is damaged: for sums over many runs, whose damage is said elsewhere."""
    try:
        return read_run_file(folder, name)
    except DamagedRun:
        return None


def find_damage(folder: Path) -> str | None:
    """What is wrong with the first damaged file of a run, and what to do; None where all are whole or absent."""
    for name in FIELDS:
        try:
            read_run_file(folder, name)
        except DamagedRun as damaged:
            return str(damaged)
    return None
