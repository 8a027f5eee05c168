"""Waste: files that a workspace no longer needs. No result, no checkpoint to go on from, no record is among them.

Finding it takes one look at the queue. What jobs may take over in between, claims and half checkpoints, is deleted
under the lock of the claims, and only where it still is what was found.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pdstudy.config.placement import TRAINING
from pdstudy.core.claim import Claim, lock_claims
from pdstudy.core.errors import ConfigError
from pdstudy.core.files import read_json
from pdstudy.slurm import scheduler as slurm
from pdstudy.slurm.attempt import read_attempts
from pdstudy.slurm.ledger import ArrayRecord, Ledger, lock_ledger, slurm_folder
from pdstudy.slurm.scheduler import Queue
from pdstudy.slurm.sent_jobs import read_queue
from pdstudy.workspace.layout import Workspace
from pdstudy.workspace.run_dir import RunDir


@dataclass(frozen=True)
class Waste:
    """A file or folder that may go, and why."""

    path: Path
    why: str
    bytes: int
    still_waste: Callable[[], bool] | None = field(default=None, compare=False, repr=False)
    """For what jobs may take over: whether they have not. Called under the lock of the claims."""


def find_waste(workspace: Workspace) -> list[Waste]:
    """All waste. Raises `ConfigError` where jobs were sent and the scheduler does not say which of them live."""
    ledger = Ledger.of(workspace)
    # The claims before the queue: a job that takes one over in between is in the queue.
    claims = {path: path.read_bytes() for path in _list_claims(workspace)}
    queue = Queue(known=False)
    if ledger.arrays:
        queue = read_queue(ledger) if slurm.available() else queue
        if not queue.known:
            raise ConfigError("jobs were sent from this workspace and squeue does not answer: cannot tell what is used")
    found = [*_find_dead_claims(claims, queue), *_find_half_checkpoints(workspace)]
    if ledger.arrays:
        ids = {element.partition("_")[0] for element, queued in queue.jobs.items() if queued.live}
        living = [a for a in ledger.arrays.values() if a.slurm_id in ids or (a.slurm_id is None and a.refused is None)]
        found += _find_in_arrays(workspace, ledger, living)
    return found


def delete_waste(workspace: Workspace, note: Callable[[str], None] = lambda line: None) -> list[Waste]:
    """Delete the waste, and return what was deleted. Raises `Claimed` while somebody submits, who needs what is in no
    ledger yet."""
    deleted = []
    with lock_ledger(workspace, note):
        for item in find_waste(workspace):
            path = item.path
            if item.still_waste is not None:
                with lock_claims(workspace.root / "claims"):
                    if not item.still_waste():
                        continue
                    if path.is_dir():  # set aside at once: deleting a large folder takes time
                        path = path.with_name(f"{path.name}.gone")
                        os.replace(item.path, path)
                    else:
                        path.unlink()
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
            deleted.append(item)
    return deleted


def _measure(path: Path, why: str, still_waste: Callable[[], bool] | None = None) -> Waste:
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file() and not p.is_symlink()]
    size = 0
    for file in files:
        try:
            size += file.stat().st_size
        except FileNotFoundError:  # a job publishes what it has written
            continue
    return Waste(path, why, size, still_waste)


def _list_claims(workspace: Workspace) -> list[Path]:
    folder = workspace.root / "claims"
    return [path for path in sorted(folder.glob("*")) if not path.name.startswith(".")] if folder.is_dir() else []


def _find_dead_claims(claims: dict[Path, bytes], queue: Queue) -> Iterator[Waste]:
    for path, content in claims.items():
        holder = read_json(path)
        if holder is None:
            continue
        if "job" in holder and queue.known:
            queued = queue.jobs.get(holder["job"])
            alive = queued is not None and queued.live
        else:
            alive = Claim.holder(path) is not None
        if not alive:
            yield _measure(path, "the claim of a process that is gone", _same_content(path, content))


def _same_content(path: Path, content: bytes) -> Callable[[], bool]:
    return lambda: path.is_file() and path.read_bytes() == content


def _find_half_checkpoints(workspace: Workspace) -> Iterator[Waste]:
    for pattern in ("*/checkpoints/.step-*", "*/again/checkpoints/.step-*"):
        for path in sorted((workspace.root / "runs").glob(pattern)):
            run = path.relative_to(workspace.root / "runs").parts[0]
            unclaimed = _nobody_claims(workspace.claim("student", run), path)
            if unclaimed():
                yield _measure(path, "half a checkpoint", unclaimed)


def _nobody_claims(claim: Path, path: Path) -> Callable[[], bool]:
    """Whether nobody has taken up the run to which `path` belongs: who has, may be writing there."""
    return lambda: not claim.exists() and path.exists()


def _find_in_arrays(workspace: Workspace, ledger: Ledger, living: list[ArrayRecord]) -> Iterator[Waste]:
    folder = slurm_folder(workspace)
    alive = {a.id for a in living}
    for path in sorted((folder / "arrays").glob("*")):
        array = ledger.arrays.get(path.name)
        if array is None or array.refused is not None:
            yield _measure(path, "sbatch never took this array")
        elif array.id not in alive and all(
            _is_over(key, array, ledger, workspace) for element in array.row["elements"] for key in element
        ):
            yield _measure(path, "pickles and job logs of an array that is over, its jobs done or sent again")
    used = {a.row["code"] for a in living}
    for path in sorted((folder / "code").glob("*")):
        if path.name not in used:
            yield _measure(path, "code of submissions that are over")


def _is_over(job: str, array: ArrayRecord, ledger: Ledger, workspace: Workspace) -> bool:
    """Whether nobody will want to read why this job failed in this array."""
    kind, _, key = job.partition("/")
    last = list(ledger.sent(job))[-1]
    if last.array != array.id:
        return True
    if kind in TRAINING:
        return RunDir(workspace.root / "runs" / key).result() is not None
    if kind == "corpus":
        return (workspace.root / "corpora" / key / "manifest.json").exists()
    rows = read_attempts(workspace, job)
    done = {row["token"] for row in rows if row["event"] == "end" and row["cause"] == "done"}
    return any(row["event"] == "start" and row["job"] == last.element and row["token"] in done for row in rows)
