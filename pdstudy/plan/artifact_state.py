"""How far each artifact of a plan is now, on disk and on the cluster."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pdstudy.core.errors import ConfigError
from pdstudy.core.run_files import find_damage
from pdstudy.core.run_state import DAMAGED
from pdstudy.plan.artifact import Artifact, RunArtifact
from pdstudy.plan.plan import Plan
from pdstudy.workspace.failure import read_failure
from pdstudy.workspace.layout import Workspace


def state_of(artifact: Artifact, workspace: Workspace, seen: dict[str, Any] | None = None) -> dict[str, Any]:
    """An artifact as found on disk now: done, diverged, running, lost (its process is gone), failed, damaged or new.

    Of a run that was trained to its end also "evaluate" and "again" (`pdstudy.plan.replay`).

    `seen` is what the cluster says of it (`pdstudy.slurm.cluster_status`), which goes over what the disk says.
    """
    row: dict[str, Any] = {
        "kind": artifact.kind,
        "key": artifact.key,
        "label": artifact.label,
        "cells": list(artifact.cells),
    }
    if artifact.done:
        return row | {"state": "diverged" if artifact.state == "diverged" else "done"} | _attempts(seen)
    if isinstance(artifact, RunArtifact):
        damage = find_damage(artifact.directory(workspace).path)
        if damage is not None:
            return row | {"state": DAMAGED, "error": damage}
        status = artifact.directory(workspace).status()
    else:
        status = read_failure(artifact.log(workspace)) or {"state": "new"}
    state = status.pop("state")
    try:
        holder = artifact.holder(workspace)
    except ConfigError as damage:
        return row | {"state": DAMAGED, "error": str(damage)}
    if state in ("done", "diverged"):  # it has ended, and the plan wants more of it: an evaluation, or steps again
        state = "running" if holder else artifact.state
    row |= {"state": state} | {k: v for k, v in status.items() if k != "time"}
    if seen is not None and "state" in seen:
        if seen["state"] == "queued":
            row.pop("error", None)
        return row | seen
    if not isinstance(artifact, RunArtifact):
        row["state"] = "running" if holder else state
    elif state == "running" and holder is None:
        row["state"] = "lost"
    if row["state"] == "running" and holder is not None and "device" in holder:
        row["device"] = holder["device"]
    return row | _attempts(seen)


def _attempts(seen: dict[str, Any] | None) -> dict[str, Any]:
    return {k: v for k, v in (seen or {}).items() if k in ("attempts", "lost_seconds")}


def states(plan: Plan, workspace: Workspace, seen: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The state of every artifact, in the plan's order; `seen` by its `id`.

    One that has not begun says in `waits_for` what it needs first that is not there.
    """
    rows = {artifact.key: state_of(artifact, workspace, seen.get(artifact.id)) for artifact in plan.artifacts}
    for artifact in plan.artifacts:
        row = rows[artifact.key]
        lacking = [rows[key] for key in artifact.needs if key in rows and rows[key]["state"] not in _THERE]
        if lacking and group_of(row["state"]) == "waiting" and not row.get("reason"):
            first = min(lacking, key=lambda need: GROUPS.index(group_of(need["state"])))
            found = "" if first["state"] == "new" else f" ({first['state']})"
            row["waits_for"] = f"{first['kind']} {first['label']}{found}"
    return list(rows.values())


GROUPS = ("failed", "diverged", "running", "waiting", "done")
"""Groups of states, by how much they need the reader's attention."""

_THERE = ("done", "evaluate", "again")
"""States in which an artifact serves those that need it."""

_GROUP_OF = {
    "failed": "failed", "lost": "failed", "damaged": "failed", "diverged": "diverged", "done": "done",
    **dict.fromkeys(("new", "evaluate", "again", "stopped", "queued", "sent", "kept back"), "waiting"),
}  # fmt: skip


def group_of(state: str) -> str:
    """One of `GROUPS`. A state of the cluster that is not known here is that of a living job."""
    return _GROUP_OF.get(state, "running")


def by_urgency(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of states by their group, what failed before what was lost, else in the order given."""
    return sorted(rows, key=lambda row: (GROUPS.index(group_of(row["state"])), row["state"] == "lost"))
