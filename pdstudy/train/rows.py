"""Rows of metrics.jsonl and evals.jsonl that belong to a checkpoint: on disk before it, and there when it is used.

A row is appended without waiting for the disk, a checkpoint is not. After a crash of the machine, a checkpoint could
otherwise outlive rows of the steps before it, which nobody would write again.
"""

from __future__ import annotations

from pathlib import Path

from pdstudy.core.errors import ConfigError
from pdstudy.core.files import read_json, read_jsonl, sync
from pdstudy.workspace.run_dir import RunDir


def sync_rows(directory: RunDir, step: int) -> dict[str, int]:
    """Force both files to disk; the number of rows up to `step` in each, by file name."""
    for path in (directory.metrics_file, directory.evals_file, directory.path):
        if path.exists():
            sync(path)
    return _count_rows(directory, step)


def lost_rows(directory: RunDir, checkpoint: Path) -> str | None:
    """The rows that were there when a checkpoint was written and are not now, in words; None where all are."""
    try:
        saved = read_json(checkpoint / "trainer.json") or {}
    except ConfigError:  # said when the checkpoint is loaded
        return None
    if "rows" not in saved:  # written by an earlier version
        return None
    for name, found in _count_rows(directory, saved["step"]).items():
        if found < saved["rows"][name]:
            return f"{directory.path / name} has {found} rows up to step {saved['step']}, of {saved['rows'][name]}"
    return None


def _count_rows(directory: RunDir, step: int) -> dict[str, int]:
    files = (directory.metrics_file, directory.evals_file)
    return {path.name: sum(row["step"] <= step for row in read_jsonl(path)) for path in files}
