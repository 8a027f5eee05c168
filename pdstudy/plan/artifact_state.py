"""The state of each artifact of a plan, as found on disk and on the cluster."""

from __future__ import annotations

from typing import Any

from pdstudy.config.placement import TRAINING
from pdstudy.core.claim import Claim
from pdstudy.plan.plan import Artifact, Plan
from pdstudy.workspace.layout import Workspace
from pdstudy.workspace.run_dir import RunDir


def state_of(item: Artifact, workspace: Workspace, seen: dict[str, Any] | None = None) -> dict[str, Any]:
    """An item's state as found on disk now: done, diverged, running, lost (its process is gone), failed, or new.

    `seen` is what the cluster says of it (`pdstudy.slurm.cluster_status`), which goes over what the disk says.
    """
    row: dict[str, Any] = {"kind": item.kind, "key": item.key, "label": item.label, "cells": list(item.cells)}
    if item.done:
        return row | {"state": "diverged" if item.state == "diverged" else "done"} | _attempts(seen)
    status: dict[str, Any] = {"state": "new"}
    if item.kind in TRAINING:
        status = RunDir(workspace.root / "runs" / item.key).status()
    state = status.pop("state")
    row |= {"state": state} | {k: v for k, v in status.items() if k != "time"}
    if seen is not None and "state" in seen:
        if seen["state"] == "queued":
            row.pop("error", None)
        return row | seen
    holder = Claim.holder(workspace.claim(item.kind, item.key))
    if item.kind not in TRAINING:
        row["state"] = "running" if holder else "new"
    elif state == "running" and holder is None:
        row["state"] = "lost"
    return row | _attempts(seen)


def _attempts(seen: dict[str, Any] | None) -> dict[str, Any]:
    return {k: v for k, v in (seen or {}).items() if k in ("attempts", "lost_seconds")}


def states(plan: Plan, workspace: Workspace, seen: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The state of every item; `seen` by `kind/key`."""
    return [state_of(i, workspace, seen.get(f"{i.kind}/{i.key}")) for i in plan.items]
