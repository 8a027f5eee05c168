"""One attempt at a job: the claim that fences it, and the rows that record how it went.

The claim holds a token: the array element, its restart count, and the time. Whoever starts last takes the claim over:
SLURM and the ledger see to it that a second start only happens when the first is believed dead. An old process that
lives on (a node that came back, a paused machine) finds another token before it publishes, and ends at once, as if
killed: everything that it had published is whole, and nothing more is added.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from pathlib import Path
from typing import Any

from pdstudy.core.claim import Claim, Claimed, lock_claims
from pdstudy.core.files import read_json, write_json
from pdstudy.slurm.job import escape_key
from pdstudy.slurm.ledger import Row, append_row, read_rows, slurm_folder
from pdstudy.workspace.layout import Workspace
from pdstudy.workspace.run_dir import RunDir, list_checkpoints

FENCED = 76
"""Exit code of a process that found a newer attempt in its place."""


def job_element() -> str:
    """The array element that this process belongs to, as squeue writes it: "12_3", or "12" where it is no array."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ["SLURM_JOB_ID"]


def attempts_file(workspace: Workspace, key: str) -> Path:
    return slurm_folder(workspace) / "attempts" / f"{escape_key(key)}.jsonl"


def read_attempts(workspace: Workspace, key: str) -> list[Row]:
    """The rows of all attempts at a job, oldest first."""
    return list(read_rows(attempts_file(workspace, key)))


class Attempt:
    """A context around the work, in the main rank. Raises `Claimed` where `pdstudy run` is making the artifact."""

    def __init__(self, workspace: Workspace, key: str, claim: Path, run: RunDir | None) -> None:
        self.element = job_element()
        restart = os.environ.get("SLURM_RESTART_COUNT", "0")
        # SLURM's ids come again when a cluster is set up anew; the time does not.
        self.token = f"{self.element}.{restart}.{time.time_ns()}"
        self._key = key
        self._file = attempts_file(workspace, key)
        self._claim = claim
        self._run = run
        self._checked = 0.0

    def __enter__(self) -> Attempt:
        node = os.environ.get("SLURMD_NODENAME", socket.gethostname())
        started = {"event": "start", "job": self.element, "token": self.token, "time": time.time(), "node": node}
        try:
            self._take()
        except Claimed as claimed:
            self._append(started)
            self.end("claimed", str(claimed))
            raise
        self._append(started | _measure_lost_work(self._run))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: object) -> None:
        with lock_claims(self._claim.parent):
            if self.is_newest():
                self._claim.unlink(missing_ok=True)

    def _take(self) -> None:
        with lock_claims(self._claim.parent):
            written = read_json(self._claim)
            # A claim of another job is void, since this one was started: SLURM need not be consulted.
            holder = None if written is None or "job" in written else Claim.holder(self._claim)
            if holder is not None:
                raise Claimed(f"{self._key} is in the hands of process {holder['pid']} on {holder['host']}")
            mine = Claim(self._claim, self._key).mine
            write_json(self._claim, {**mine, "job": self.element, "token": self.token})

    def is_newest(self) -> bool:
        holder = read_json(self._claim)
        return holder is not None and holder.get("token") == self.token

    def guard(self) -> None:
        """End this process at once where a newer attempt has begun. Call before anything is published."""
        if not self.is_newest():
            with contextlib.suppress(OSError):
                self._append({"event": "fenced", "token": self.token, "time": time.time()})
            os._exit(FENCED)

    def guard_step(self) -> None:
        """`guard`, at most once a second: for the end of every step."""
        now = time.monotonic()
        if now - self._checked > 1.0:
            self._checked = now
            self.guard()

    def end(self, cause: str, error: str = "", **more: Any) -> None:
        """Note how the attempt ended (`pdstudy.slurm.outcomes` lists the causes)."""
        self._append({"event": "end", "token": self.token, "cause": cause, "error": error, "time": time.time(), **more})

    def count_endings(self, cause: str) -> int:
        """The number of attempts at the job that ended by a cause since it was sent: those of this array element."""
        mine = f"{self.element}."
        ends = (r for r in read_rows(self._file) if r["event"] == "end")
        return sum(r["cause"] == cause and r["token"].startswith(mine) for r in ends)

    def _append(self, row: Row) -> None:
        append_row(self._file, row)


def _measure_lost_work(run: RunDir | None) -> Row:
    """Seconds of work that the attempt before did and did not save, as far as its files show."""
    if run is None:
        return {}
    status = run.status()
    if status["state"] != "running":
        return {}
    saved = [p.stat().st_mtime for p in list_checkpoints(run.checkpoints)]
    config = run.path / "provenance.json"
    since = max(saved, default=config.stat().st_mtime if config.exists() else status["time"])
    return {"lost_seconds": round(max(0.0, status["time"] - since), 1)}
