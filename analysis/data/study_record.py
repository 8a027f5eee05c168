"""The record of a study, and the names of columns made from it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

Record = Mapping[str, Any]


RESERVED = frozenset((
    "study", "cell", "seed", "run", "state", "step", "steps", "tokens", "non_embedding", "total", "train_loss",
    "validation_loss", "test_loss", "validation_bits_per_byte", "test_bits_per_byte", "bits_per_byte", "nats_per_token",
    "flops_student", "flops_evaluation", "flops_planned", "seconds_train", "seconds_evaluate", "tokens_per_second",
    "peak_memory_bytes", "attempts", "teacher", "teacher_total", "teacher_non_embedding", "teacher_tokens",
    "teacher_test_loss",
    "teacher_validation_loss", "teacher_validation_accuracy", "teacher_test_accuracy", "error", "split", "final", "arm",
    "N", "N (non-embedding)", "panel", "runs", "validation loss", "test loss", "tokens/s", "mean", "low", "high",
    "seeds",
    "validation_recalibrated", "test_recalibrated", "validation_accuracy", "test_accuracy", "validation_ece",
    "test_ece", "kl", "agreement", "kept_entries", "kept_mass", "kept",
    "suite", "key", "task", "metric", "items",
    "responses_loss", "responses_accuracy",
    "validation_accuracy_top5", "test_accuracy_top5", "by_sequence", "family_low", "family_high", "error_seeds",
    "error_text",
    "baseline", "value", "baseline_value", "difference", "p", "dof", "verdict",
))  # fmt: skip
"""Names of columns that the analysis uses itself: an axis of such a name has its column called `axis_NAME`."""


_OF_RUNS = re.compile(r"config\.|tasks\d*\.")
"""Beginnings of the columns that a table of runs has by configuration and task."""


def axis_column(axis: str) -> str:
    """The column that holds the labels of an axis, in every table here."""
    return f"axis_{axis}" if axis in RESERVED or _OF_RUNS.match(axis) else axis


def axis_title(column: str) -> str:
    """Heading of an axis: its name, or its column's where the name would repeat a heading of `arm_summary`."""
    name = column.removeprefix("axis_")
    return column if name in ("N (non-embedding)", "runs", "validation loss", "test loss", "tokens/s") else name
