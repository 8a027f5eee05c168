"""Waste: files that a workspace no longer needs. No result, no checkpoint to go on from, no record is among them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pdstudy.config.placement import TRAINING
from pdstudy.core.claim import Claim
from pdstudy.core.errors import ConfigError
from pdstudy.slurm import scheduler as slurm
from pdstudy.slurm.attempt import read_attempts
from pdstudy.slurm.commands import read_queue
from pdstudy.slurm.ledger import ArrayRecord, Ledger, slurm_folder
from pdstudy.workspace.layout import Workspace
from pdstudy.workspace.run_dir import RunDir


@dataclass(frozen=True)
class Waste:
    """A file or folder that may go, and why."""

    path: Path
    why: str
    bytes: int

    @staticmethod
    def measure(path: Path, why: str) -> Waste:
        files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file() and not p.is_symlink()]
        return Waste(path, why, sum(p.stat().st_size for p in files))


def find_waste(workspace: Workspace) -> list[Waste]:
    """All waste. Raises `ConfigError` where jobs were sent and the scheduler does not say which of them live."""
    found = list(_find_in_runs(workspace))
    ledger = Ledger.of(workspace)
    if ledger.arrays:
        queue = read_queue(ledger) if slurm.available() else None
        if queue is None or not queue.known:
            raise ConfigError("jobs were sent from this workspace and squeue does not answer: cannot tell what is used")
        ids = {element.partition("_")[0] for element, queued in queue.jobs.items() if queued.live}
        living = [a for a in ledger.arrays.values() if a.slurm_id in ids or (a.slurm_id is None and a.refused is None)]
        found += _find_in_arrays(workspace, ledger, living)
    return found


def delete_waste(workspace: Workspace) -> list[Waste]:
    """Delete the waste, and return it. Raises `Claimed` while somebody submits, who needs what is in no ledger yet."""
    with Claim(slurm_folder(workspace) / "submit.claim", "sending to the cluster"):
        found = find_waste(workspace)
        for item in found:
            if item.path.is_dir():
                shutil.rmtree(item.path)
            else:
                item.path.unlink(missing_ok=True)
    return found


def _find_in_arrays(workspace: Workspace, ledger: Ledger, living: list[ArrayRecord]) -> Iterator[Waste]:
    folder = slurm_folder(workspace)
    alive = {a.id for a in living}
    for path in sorted((folder / "arrays").glob("*")):
        array = ledger.arrays.get(path.name)
        if array is None or array.refused is not None:
            yield Waste.measure(path, "sbatch never took this array")
        elif array.id not in alive and all(
            _is_over(key, array, ledger, workspace) for element in array.row["elements"] for key in element
        ):
            yield Waste.measure(path, "pickles and job logs of an array that is over, its jobs done or sent again")
    used = {a.row["code"] for a in living}
    for path in sorted((folder / "code").glob("*")):
        if path.name not in used:
            yield Waste.measure(path, "code of submissions that are over")


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
    made = {row["token"] for row in rows if row["event"] == "end" and row["cause"] == "done"}
    return any(row["event"] == "start" and row["job"] == last.element and row["token"] in made for row in rows)


def _find_in_runs(workspace: Workspace) -> Iterator[Waste]:
    claims = workspace.root / "claims"
    for path in sorted(claims.glob("*")) if claims.is_dir() else []:
        if path.name != ".lock" and Claim.holder(path) is None:
            yield Waste.measure(path, "the claim of a process that is gone")
    for path in sorted((workspace.root / "runs").glob("*/checkpoints/.step-*")):
        run = path.parent.parent
        if not workspace.claim("student", run.name).exists():
            yield Waste.measure(path, "half a checkpoint")
