"""Why an artifact that is no run could not be made, beside its log, so that whoever looks later can say so.

Runs have a status of their own (`pdstudy.workspace.run_dir`).
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

from pdstudy.core.errors import ConfigError
from pdstudy.core.files import read_json, write_json


def _note(log: Path) -> Path:
    return log.with_name(log.name.removesuffix(".txt") + ".failed.json")


def write_failure(log: Path, error: str) -> None:
    """Note the reason beside the artifact's log; a disk that takes no note is no second failure."""
    with contextlib.suppress(OSError):
        write_json(_note(log), {"state": "failed", "time": time.time(), "error": error})


def read_failure(log: Path) -> dict[str, Any] | None:
    """The note, or None where the last attempt did not fail."""
    try:
        note: dict[str, Any] | None = read_json(_note(log), fields=("state", "error"))
    except ConfigError as damaged:
        return {"state": "failed", "error": f"for a reason that is lost: {damaged}"}
    return note


def clear_failure(log: Path) -> None:
    """Forget the note: the artifact is being made again."""
    with contextlib.suppress(OSError):
        _note(log).unlink(missing_ok=True)
