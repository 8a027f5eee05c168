"""What `status` adds for a study on a cluster: the state of each item's jobs, from one squeue call and files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pdstudy.plan.plan import Artifact, Plan
from pdstudy.slurm import scheduler as slurm
from pdstudy.slurm.attempt import read_attempts
from pdstudy.slurm.commands import gather_facts, item_of, read_queue, units_known
from pdstudy.slurm.ledger import Ledger, slurm_folder
from pdstudy.slurm.outcomes import JobHistory, held_jobs
from pdstudy.slurm.sbatch import last_words
from pdstudy.slurm.scheduler import Queue
from pdstudy.workspace.layout import Workspace

ENDED = {
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
"""The state that is shown for a cause, where no job of the unit lives."""


@dataclass(frozen=True)
class ClusterStatus:
    """A study's items as the cluster has them: fields of a status row by item (`kind/key`), and what is kept back."""

    rows: dict[str, dict[str, Any]]
    kept: tuple[str, ...] = ()
    reason: str = ""
    answered: bool = True
    held: tuple[str, ...] = ()
    """Job elements that SLURM holds."""

    @property
    def live(self) -> int:
        return sum(bool(row.get("jobs")) for row in self.rows.values())


def cluster_status(plan: Plan, workspace: Workspace) -> ClusterStatus | None:
    """None for a workspace from which nothing was ever sent. Changes nothing."""
    if not (slurm_folder(workspace) / "ledger.jsonl").exists():
        return None
    ledger = Ledger.of(workspace)
    known = units_known(plan, ledger)
    queue = read_queue(ledger) if known and slurm.available() else Queue(known=False)
    facts = gather_facts(known, ledger, queue, workspace)
    by_item: dict[str, list[JobHistory]] = {}
    for unit in known:
        if unit in facts:
            by_item.setdefault(item_of(unit), []).append(facts[unit])
    done = units_known(plan, ledger, done=True)
    made = {unit: read_attempts(workspace, unit) for unit in done}
    kept = ledger.kept.get(plan.study.name) or {"units": [], "reason": ""}
    rows = {item: _row(parts) for item, parts in by_item.items()}
    for unit, attempts in made.items():
        starts = [r for r in attempts if r["event"] == "start"]
        row = rows.setdefault(item_of(unit), {"attempts": 0, "lost_seconds": 0.0})
        row["attempts"] += len(starts)
        row["lost_seconds"] += sum(r.get("lost_seconds", 0.0) for r in starts)
    for unit in kept["units"]:
        row = rows.setdefault(item_of(unit), {})
        if not row.get("jobs"):
            row |= {"state": "kept back", "reason": kept["reason"]}
    waiting = tuple(held_jobs([*known, *done], ledger, queue))
    return ClusterStatus(rows, tuple(kept["units"]), kept["reason"], queue.known or not known, waiting)


def job_stderr(item: Artifact, workspace: Workspace) -> tuple[str, str] | None:
    """The last job that was sent for an item that is not done, and the end of what SLURM wrote beside it; None where it
    wrote nothing."""
    if item.done:
        return None
    ledger = Ledger.of(workspace)
    sent = [s for unit in ledger.sendings if item_of(unit) == f"{item.kind}/{item.key}" for s in ledger.sent(unit)]
    if not sent or sent[-1].element is None:
        return None
    words = last_words(workspace, ledger, sent[-1].array, sent[-1].index).strip()
    return (sent[-1].element, words) if words else None


def _row(parts: list[JobHistory]) -> dict[str, Any]:
    """The state of an item out of its units (slices): what runs first, then what waits, then what failed."""
    starts = sum(p.starts for p in parts)
    row: dict[str, Any] = {"attempts": starts, "lost_seconds": round(sum(p.lost_seconds for p in parts), 1)}
    live = [p for p in parts if p.live]
    if live:
        running = [p for p in live if p.job is not None and p.job.state == "RUNNING"]
        shown = (running or live)[0]
        row["jobs"] = [p.element for p in live]
        if shown.job is None:
            return row | {"state": "sent", "reason": "the scheduler does not answer"}
        state = {"RUNNING": "running", "PENDING": "queued"}.get(shown.job.state, shown.job.state.lower())
        return row | {"state": state, "reason": "" if running else shown.job.reason, "node": shown.job.node}
    worst = next((p for p in parts if ENDED.get(p.cause or "") == "failed"), None) or parts[-1]
    if worst.cause is None or worst.cause in ("done", "diverged"):
        return row
    return row | {"state": ENDED[worst.cause], "cause": worst.cause, "error": worst.error or worst.cause}
