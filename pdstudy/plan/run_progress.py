"""How far a run is, and how well it does, in numbers: the share that is done, losses, speed, its latest news."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pdstudy.core.errors import ConfigError
from pdstudy.core.files import read_jsonl
from pdstudy.core.run_files import whole_run_file
from pdstudy.plan.artifact import Artifact, RunArtifact
from pdstudy.workspace.layout import Workspace


@dataclass(frozen=True)
class RunProgress:
    """Numbers of a run; None where there are none yet.

    share              of its steps that are done
    split, loss        nats per token of the newest evaluation, on the test split at the end; "train" before the first
    tokens_per_second  of the newest steps; of the whole run at its end
    updated            when it last said anything, in seconds since 1970
    """

    share: float | None = None
    split: str | None = None
    loss: float | None = None
    tokens_per_second: float | None = None
    updated: float | None = None


def run_progress(artifact: Artifact, workspace: Workspace) -> RunProgress:
    """Numbers of an artifact that is a run; no numbers of others, and of files that are damaged."""
    if not isinstance(artifact, RunArtifact):
        return RunProgress()
    folder = artifact.directory(workspace).path
    status = whole_run_file(folder, "status.json") or {}
    result = whole_run_file(folder, "result.json")
    updated = status.get("time")
    if result is not None:
        losses = final_losses(result)
        split = next(iter(losses), None)
        speed = result.get("tokens_per_second")
        return RunProgress(1.0, split, losses.get(split or ""), speed, result.get("finished", updated))
    if "step" not in status:
        return RunProgress(updated=updated)
    split, row = "train", _last(folder / "metrics.jsonl")
    if (evaluated := _last(folder / "evals.jsonl")) is not None:
        split, row = str(evaluated["split"]), evaluated
    return RunProgress(
        share=status["step"] / status["steps"],
        split=None if row is None else split,
        loss=None if row is None else row["loss"],
        tokens_per_second=status.get("tokens_per_second"),
        updated=updated,
    )


def final_losses(result: Mapping[str, Any]) -> dict[str, float]:
    """Nats per token by split at a run's end, the test split first; of several evaluations of a split the first."""
    losses: dict[str, float] = {}
    for row in result["evals"]:
        if row.get("final", True):
            losses.setdefault(str(row["split"]), float(row["loss"]))
    return dict(sorted(losses.items(), key=lambda item: item[0] != "test"))


def describe_end(artifact: Artifact, workspace: Workspace) -> str:
    """The losses of a run that has ended, in words; nothing of other artifacts, or of a run without evaluations."""
    if not isinstance(artifact, RunArtifact):
        return ""
    result = whole_run_file(artifact.directory(workspace).path, "result.json")
    losses = final_losses(result) if result is not None else {}
    return ", ".join(f"{split} loss {loss:.4f}" for split, loss in losses.items())


def _last(path: Path) -> dict[str, Any] | None:
    """The last row of a file of rows; None where there is none, or one before is damaged, which its state says."""
    with contextlib.suppress(ConfigError):
        return next(iter(deque(read_jsonl(path), maxlen=1)), None)
    return None
