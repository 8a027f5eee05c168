"""The state of a study's artifacts on the cluster, from one squeue call and files: what `pdstudy status` adds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pdstudy.plan.artifact import Artifact
from pdstudy.plan.plan import Plan
from pdstudy.slurm import scheduler as slurm
from pdstudy.slurm.attempt import read_attempts
from pdstudy.slurm.ledger import Ledger, slurm_folder
from pdstudy.slurm.outcomes import JobHistory, find_held_jobs
from pdstudy.slurm.sbatch import read_stderr_tail
from pdstudy.slurm.scheduler import Queue
from pdstudy.slurm.sent_jobs import find_earlier_jobs, find_sent_keys, read_histories, read_queue, strip_slice
from pdstudy.workspace.layout import Workspace

STATES = {
    "exception": "failed",
    "oom": "failed",
    "time": "failed",
    "killed": "failed",
    "node": "failed",
    "lost": "lost",
    "dependency": "dropped",
    "cancelled": "cancelled",
    "claimed": "failed",
    "preempted": "preempted",
    "signal": "stopped",
}
"""The state that is shown for a cause, where no job of the artifact lives."""


@dataclass(frozen=True)
class ClusterStatus:
    """A study's artifacts as the cluster has them: fields of a status row by `kind/key`, and what is kept back."""

    rows: dict[str, dict[str, Any]]
    kept: tuple[str, ...] = ()
    reason: str = ""
    answered: bool = True
    held: tuple[str, ...] = ()
    """Array elements that SLURM holds."""
    earlier: tuple[str, ...] = ()
    """Living elements that an earlier declaration of the study sent, and that this one does not need."""

    @property
    def live(self) -> int:
        return sum(bool(row.get("jobs")) for row in self.rows.values())


def cluster_status(plan: Plan, workspace: Workspace) -> ClusterStatus | None:
    """None for a workspace from which nothing was ever sent. Changes nothing."""
    if not (slurm_folder(workspace) / "ledger.jsonl").exists():
        return None
    ledger = Ledger.of(workspace)
    sent = find_sent_keys(plan, ledger)
    ours = sent or any(array.row["study"] == plan.study.name for array in ledger.arrays.values())
    queue = read_queue(ledger) if ours and slurm.available() else Queue(known=False)
    histories = read_histories(sent, ledger, queue, workspace)
    by_artifact: dict[str, list[JobHistory]] = {}
    for key in sent:
        if key in histories:
            by_artifact.setdefault(strip_slice(key), []).append(histories[key])
    done = find_sent_keys(plan, ledger, done=True)
    kept = ledger.kept.get(plan.study.name) or {"units": [], "reason": ""}
    rows = {artifact: _make_row(slices) for artifact, slices in by_artifact.items()}
    for key in done:
        starts = [row for row in read_attempts(workspace, key) if row["event"] == "start"]
        row = rows.setdefault(strip_slice(key), {"attempts": 0, "lost_seconds": 0.0})
        row["attempts"] += len(starts)
        row["lost_seconds"] += sum(r.get("lost_seconds", 0.0) for r in starts)
    for key in kept["units"]:
        row = rows.setdefault(strip_slice(key), {})
        if not row.get("jobs") and row.get("state") != "sent":
            row |= {"state": "kept back", "reason": kept["reason"]}
    held = tuple(find_held_jobs([*sent, *done], ledger, queue))
    earlier = tuple(find_earlier_jobs(plan, ledger, queue))
    return ClusterStatus(rows, tuple(kept["units"]), kept["reason"], queue.known or not sent, held, earlier)


def job_stderr(artifact: Artifact, workspace: Workspace) -> tuple[str, str] | None:
    """The last job that was sent for an artifact that is not done, and the end of what SLURM wrote beside it; None
    where it wrote nothing."""
    if artifact.done:
        return None
    ledger = Ledger.of(workspace)
    sent = [s for key in ledger.sendings if strip_slice(key) == artifact.id for s in ledger.sent(key)]
    if not sent or sent[-1].element is None:
        return None
    text = read_stderr_tail(workspace, ledger, sent[-1].array, sent[-1].index).strip()
    return (sent[-1].element, text) if text else None


def _make_row(slices: list[JobHistory]) -> dict[str, Any]:
    """The state of an artifact out of those of its slices: what runs first, then what waits, then what failed."""
    starts = sum(s.starts for s in slices)
    row: dict[str, Any] = {"attempts": starts, "lost_seconds": round(sum(s.lost_seconds for s in slices), 1)}
    live = [s for s in slices if s.live]
    if live:
        running = [s for s in live if s.queued is not None and s.queued.state == "RUNNING"]
        shown = (running or live)[0]
        row["jobs"] = [s.element for s in live]
        queued = shown.queued
        if queued is None:
            return row | {"state": "sent", "reason": "the scheduler does not answer"}
        state = {"RUNNING": "running", "PENDING": "queued"}.get(queued.state, queued.state.lower())
        return row | {"state": state, "reason": "" if running else queued.reason, "node": queued.node}
    if any(s.unanswered for s in slices):
        reason = "sbatch was not answered: the next submit finds out whether SLURM took it"
        return row | {"state": "sent", "reason": reason}
    worst = next((s for s in slices if STATES.get(s.cause or "") == "failed"), None) or slices[-1]
    if worst.cause is None or worst.cause in ("done", "diverged"):
        return row
    return row | {"state": STATES[worst.cause], "cause": worst.cause, "error": worst.error or worst.cause}
