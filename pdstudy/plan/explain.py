"""Why a run is new: the fields in which it differs from the nearest one that exists."""

from __future__ import annotations

import contextlib
import functools
from typing import Any

from pdstudy.core.errors import ConfigError
from pdstudy.core.identity import differences, hashed_form
from pdstudy.core.run_files import whole_run_file
from pdstudy.plan.artifact import RunArtifact
from pdstudy.workspace.layout import Workspace
from pdstudy.workspace.run_dir import stored_form


def explain(workspace: Workspace, artifact: RunArtifact) -> list[tuple[str, Any, Any]]:
    """The fields in which a run differs from the nearest one that exists: (field, here, there). Empty: none exists."""
    here = hashed_form(artifact.run)
    best: list[tuple[str, Any, Any]] | None = None
    for other in _stored_runs(workspace):
        found = differences(here, other)
        if best is None or len(found) < len(best):
            best = found
    return best or []


@functools.lru_cache(maxsize=8)
def _stored_runs(workspace: Workspace) -> tuple[Any, ...]:
    runs = workspace.root / "runs"
    if not runs.is_dir():
        return ()
    forms = []
    for stored in (whole_run_file(p, "config.json") for p in sorted(runs.iterdir())):
        with contextlib.suppress(ConfigError):  # a run of texts that have been moved since has nothing to compare
            forms += [stored_form(stored)] if stored else []
    return tuple(forms)
