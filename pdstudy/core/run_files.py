"""The small files of runs and of answers, read whole or found damaged: a torn one is the trouble of its owner alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pdstudy.core.errors import ConfigError
from pdstudy.core.files import read_json, read_jsonl

_NUMBER = (int, float)

FIELDS: dict[str, dict[str, type | tuple[type, ...]]] = {
    "config.json": {"run": dict},
    "provenance.json": {},
    "status.json": {"state": str},
    "result.json": {"state": str, "flops.student": _NUMBER, "seconds.train": _NUMBER, "evals": list},
}
"""The files and the types of fields of theirs, parts of objects dotted. The first of a file must be there, the others
where their object is."""

ROW_FIELDS = frozenset({"eval", "split", "loss"})
"""Fields that each of the evaluations in result.json has."""


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
    found: dict[str, Any] = content
    wrong = [field for field in FIELDS[name] if not _is_right(found, name, field)]
    if wrong:
        said = f"without a right {', '.join(wrong)}"
        raise DamagedRun(f"{path} is damaged: it is JSON, but {said}; delete it and run again, which makes it anew")
    return found


def _is_right(found: dict[str, Any], name: str, field: str) -> bool:
    first, _, part = field.partition(".")
    if first not in found:
        return field != next(iter(FIELDS[name]))
    value = found[first]
    if part:
        value = value.get(part) if isinstance(value, dict) else None
    if field == "evals" and isinstance(value, list):
        return all(isinstance(row, dict) and row.keys() >= ROW_FIELDS for row in value)
    return isinstance(value, FIELDS[name][field])


def whole_run_file(folder: Path, name: str) -> dict[str, Any] | None:
    """`read_run_file`, or None where the file is damaged: for sums over many runs, whose damage is said elsewhere."""
    try:
        return read_run_file(folder, name)
    except DamagedRun:
        return None


def find_damage(folder: Path) -> str | None:
    """The fault of the first damaged file of a run, and what to do; None where all are whole or absent."""
    for name in FIELDS:
        try:
            read_run_file(folder, name)
        except DamagedRun as damaged:
            return str(damaged)
    return None


def find_row_damage(folder: Path, *names: str) -> str | None:
    """The fault of the first damaged row of a run's files of rows, and what to do; None where all are whole."""
    try:
        for name in names:
            for _ in read_jsonl(folder / name):
                pass
    except ConfigError as damaged:
        return str(damaged)
    return None


def whole_answers(folder: Path) -> dict[str, Any] | None:
    """results.json of a model's answers to tasks; None where it is absent or damaged, as its next evaluation says."""
    try:
        found: dict[str, Any] | None = read_json(folder / "results.json", fields=("tasks",))
    except ConfigError:
        return None
    return found
