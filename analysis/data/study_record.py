"""What a study's record is, the names of columns made from it, and JSON files that may not be there yet."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pdstudy.analysis.errors import DataError

Record = Mapping[str, Any]


RESERVED = frozenset((
    "study", "cell", "seed", "run", "state", "step", "steps", "tokens", "non_embedding", "total", "train_loss",
    "validation_loss", "test_loss", "validation_bits_per_byte", "test_bits_per_byte", "bits_per_byte", "nats_per_token",
    "flops_student", "flops_evaluation", "flops_planned", "seconds_train", "seconds_evaluate", "tokens_per_second",
    "peak_memory_bytes", "attempts", "teacher", "teacher_total", "teacher_test_loss", "error", "split", "final", "arm",
    "N", "N (non-embedding)", "panel", "runs", "validation loss", "test loss", "tokens/s", "mean", "low", "high",
    "seeds",
    "validation_recalibrated", "test_recalibrated", "validation_accuracy", "test_accuracy", "validation_ece",
    "test_ece", "kl", "agreement", "kept_entries", "kept_mass", "kept",
    "suite", "key", "task", "metric", "items",
    "responses_loss", "responses_accuracy",
    "baseline", "value", "baseline_value", "difference", "p", "dof", "verdict",
))  # fmt: skip
"""Columns of ours, here and in what `analysis` makes of these tables: an axis of such a name has its column called
`axis_NAME`."""


def axis_column(axis: str) -> str:
    """The column that holds the labels of an axis, in every table here."""
    return f"axis_{axis}" if axis in RESERVED else axis


def axis_title(column: str) -> str:
    """What a reader is shown above an axis: its name, but for one that would repeat a heading of `summary`."""
    name = column.removeprefix("axis_")
    return column if name in ("N (non-embedding)", "runs", "validation loss", "test loss", "tokens/s") else name


def read_json(path: Path) -> Any:
    """The content of a JSON file, or None where there is none. Raises `DataError` on a damaged one."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise DataError(f"{path} is damaged: it is not JSON ({error}); delete it and run again") from error


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a JSON-lines file; a last line without its end was cut short by a kill, and is left out. Raises
    `DataError` on another one that is damaged."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.endswith(b"\n"):
                try:
                    yield json.loads(line)
                except ValueError as error:
                    raise DataError(f"{path}:{number} is damaged: it is not JSON ({error}); delete the line") from error
