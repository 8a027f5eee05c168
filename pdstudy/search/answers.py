"""What the runs of a search came to."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pdstudy.config import Run, normal_form
from pdstudy.normal import fingerprint
from pdstudy.rundir import Workspace
from pdstudy.search.declare import Search


@dataclass(frozen=True)
class Answer:
    """What one run came to: its row of the search's evaluation, or none where it diverged or failed."""

    row: Mapping[str, Any] | None = None
    state: str = "done"
    """done, diverged or failed."""


Look = Callable[[Run], Answer | None]
"""What a run came to; None where it is not finished."""


def look(search: Search, workspace: Workspace, run: Run, failed: Collection[str]) -> Answer | None:
    """What a run directory says of a run. `failed`: keys of runs that did not come to an end."""
    key = fingerprint(normal_form(run))
    if key in failed:
        return Answer(state="failed")
    result = workspace.run(run).result()
    if result is None:
        return None
    if result["state"] != "done":
        return Answer(state=result["state"])
    rows = [r for r in result["evals"] if r["eval"] == fingerprint(search.validation)]
    return Answer({**rows[-1], "train_seconds": result["seconds"]["train"]}) if rows else None
