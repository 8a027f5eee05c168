"""Jobs that were sent from a workspace, by plan: their histories, and those that an edited study left behind."""

from __future__ import annotations

from collections.abc import Sequence

from pdstudy.plan.plan import Plan
from pdstudy.slurm import scheduler as slurm
from pdstudy.slurm.attempt import read_attempts
from pdstudy.slurm.ledger import Ledger, Sent
from pdstudy.slurm.outcomes import JobHistory, gather_histories
from pdstudy.slurm.sbatch import read_stderr_tail
from pdstudy.slurm.scheduler import Queue
from pdstudy.workspace.layout import Workspace


def read_queue(ledger: Ledger) -> Queue:
    """One squeue call, for all who have sent anything from this workspace."""
    return slurm.read_queue(list_users(ledger))


def list_users(ledger: Ledger) -> list[str]:
    return sorted({str(a.row["user"]) for a in ledger.arrays.values()})


def read_histories(keys: Sequence[str], ledger: Ledger, queue: Queue, workspace: Workspace) -> dict[str, JobHistory]:
    """Histories from the real places: attempts on disk, accounting where there is some, logs beside the jobs."""

    def stderr(sent: Sent) -> str:
        return read_stderr_tail(workspace, ledger, sent.array, sent.index)

    return gather_histories(keys, ledger, queue, lambda key: read_attempts(workspace, key), slurm.ended_jobs, stderr)


def find_sent_keys(plan: Plan, ledger: Ledger, *, done: bool = False) -> list[str]:
    """The jobs of a plan that were ever sent and are not done (or are), and its report with the former.

    Slices are found by the store that they belong to.
    """
    keys = {a.id for a in plan.artifacts if a.done} if done else list_open_artifacts(plan)
    return [key for key in ledger.sendings if strip_slice(key) in keys]


def find_all_sent(plan: Plan, ledger: Ledger) -> list[str]:
    """All jobs of a plan that were ever sent, whatever slices they were sent in."""
    return [*find_sent_keys(plan, ledger), *find_sent_keys(plan, ledger, done=True)]


def list_open_artifacts(plan: Plan) -> set[str]:
    """The artifacts of a plan that are not done, as kinds and keys, and the report of all its runs."""
    report = {f"report/{plan.study.name}"} if plan.study.only is None else set()
    return {a.id for a in plan.artifacts if not a.done} | report


def strip_slice(key: str) -> str:
    """A job's key without its slice: `logits/SPEC/COVERAGE/0-400` -> `logits/SPEC/COVERAGE`."""
    return "/".join(key.split("/")[:3]) if key.startswith("logits/") else key


def find_earlier_jobs(plan: Plan, ledger: Ledger, queue: Queue, user: str | None = None) -> dict[str, list[str]]:
    """Living elements that were sent for a study of this name and make nothing that it needs now, with the keys of
    their jobs: the study was edited since. Of all users or of one; none where the plan is of some runs only."""
    if plan.study.only is not None:
        return {}
    needed = {a.id for a in plan.artifacts} | {f"report/{plan.study.name}"}
    found = {}
    for array in ledger.arrays.values():
        if array.row["study"] != plan.study.name or user not in (None, array.row.get("user")):
            continue
        for index, keys in enumerate(array.row["elements"]):
            element = array.element(index)
            queued = queue.jobs.get(element or "")
            if element is not None and queued is not None and queued.live and not needed & set(map(strip_slice, keys)):
                found[element] = list(keys)
    return found
