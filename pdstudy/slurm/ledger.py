"""The ledger: everything that was sent to the cluster, in order, as an append-only file of JSON lines.

    intent      an array is about to be sent: its id, stage, elements (lists of job keys), execution; before sbatch
    sent        sbatch answered: SLURM's id of the array
    refused     sbatch refused the array, or it is known never to have arrived
    kept        the jobs that a submit could not send, with the reason; the newest such row of a study counts
    retry       the user asked to try jobs again after a cause: earlier endings do not count any more
    cancelled   the user cancelled jobs

The workspace has one ledger, since studies share runs. It is written under a claim, by `submit`, `cancel` and the
topping up of `status --watch`; anyone may read it at any time.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import pwd
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pdstudy.core.claim import Claim, Claimed
from pdstudy.core.errors import ConfigError
from pdstudy.workspace.layout import Workspace

Row = dict[str, Any]


WAIT_SECONDS = 30.0
"""Seconds for which a command waits while another one holds the ledger."""


WAIT_PAUSE_SECONDS = 0.2
"""Seconds between two attempts to get hold of the ledger."""


def slurm_folder(workspace: Workspace) -> Path:
    return workspace.root / "slurm"


@contextlib.contextmanager
def lock_ledger(workspace: Workspace, note: Callable[[str], None] = lambda line: None) -> Iterator[None]:
    """Hold the ledger: one command at a time sends, cancels or deletes. Waits some seconds for another one, and says so
    by `note`; then raises `Claimed`."""
    claim = Claim(slurm_folder(workspace) / "submit.claim", "sending to the cluster")
    until = time.monotonic() + WAIT_SECONDS
    noted = False
    while True:
        try:
            claim.__enter__()
            break
        except Claimed:
            if time.monotonic() > until:
                raise
            if not noted:
                noted = True
                note(f"waiting for {_describe_holder(claim.path)}, who is sending from this workspace")
        time.sleep(WAIT_PAUSE_SECONDS)
    with contextlib.ExitStack() as stack:
        stack.push(claim)
        yield


def _describe_holder(path: Path) -> str:
    try:
        holder, owner = json.loads(path.read_text()), path.stat().st_uid
        return f"{pwd.getpwuid(owner).pw_name} (process {holder['pid']} on {holder['host']})"
    except (OSError, KeyError, ValueError):  # it has just been given back, or its owner has no name here
        return "another command"


@dataclass(frozen=True)
class Sent:
    """One job in one array. `element` is what squeue calls it ("12_3"; "12" alone in its array; None: not sent)."""

    array: str
    index: int
    element: str | None
    time: float


class Ledger:
    """The rows, in memory and (with a path) on disk, and what they come to by array, job key and study.

    Raises `ConfigError` on rows that do not belong to a ledger, or to an array whose intent is lost.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self.rows: list[Row] = list(read_rows(path)) if path is not None else []
        self.arrays: dict[str, ArrayRecord] = {}
        self.sendings: dict[str, list[tuple[str, int]]] = {}
        self.kept: dict[str, Row] = {}
        self.retried: dict[str, float] = {}
        self.cancelled: dict[str, float] = {}
        for row in self.rows:
            try:
                self._apply(row)
            except (KeyError, TypeError, AttributeError) as error:
                raise ConfigError(
                    f"{path} is damaged: of the row {json.dumps(row)[:200]} another one is lost, or it is none of a "
                    f"ledger; restore the file, or see that no job that the row names is queued and delete the row"
                ) from error

    @staticmethod
    def of(workspace: Workspace) -> Ledger:
        return Ledger(slurm_folder(workspace) / "ledger.jsonl")

    def copy(self) -> Ledger:
        """The same rows, with none to come on disk."""
        made = Ledger()
        for row in self.rows:
            made.rows.append(row)
            made._apply(row)
        return made

    def append(self, event: str, **fields: Any) -> None:
        """Add a row; on disk, whole and synced, before this returns.

        Times rise from row to row, also where the clock was set back: they tell what came before a retry.
        """
        last = float(self.rows[-1].get("time", 0.0)) if self.rows else 0.0
        row = {"event": event, "time": max(time.time(), math.nextafter(last, math.inf)), **fields}
        if self._path is not None:
            append_row(self._path, row)
        self.rows.append(row)
        self._apply(row)

    def _apply(self, row: Row) -> None:
        match row["event"]:
            case "intent":
                self.arrays[row["array"]] = ArrayRecord(row)
                for index, keys in enumerate(row["elements"]):
                    for key in keys:
                        self.sendings.setdefault(key, []).append((row["array"], index))
            case "sent":
                self.arrays[row["array"]].slurm_id = row["job"]
            case "refused":
                self.arrays[row["array"]].refused = row["reason"]
            case "kept":
                self.kept[row["study"]] = row
            case "retry":
                self.retried.update(dict.fromkeys(row["units"], row["time"]))
            case "cancelled":
                self.cancelled.update(dict.fromkeys(row["units"], row["time"]))

    def sent(self, key: str) -> Iterator[Sent]:
        """The arrays that a job was sent in, oldest first; refused ones are left out."""
        for array_id, index in self.sendings.get(key, ()):
            array = self.arrays[array_id]
            if array.refused is None:
                yield Sent(array_id, index, array.element(index), array.time)

    def unresolved(self) -> list[ArrayRecord]:
        """Intents of which it is not known whether sbatch took them: the submitting process died in between."""
        return [a for a in self.arrays.values() if a.slurm_id is None and a.refused is None]


@dataclass
class ArrayRecord:
    """One intent and what became of it."""

    row: Row
    slurm_id: str | None = None
    refused: str | None = None
    id: str = field(init=False)

    def __post_init__(self) -> None:
        self.id = self.row["array"]

    @property
    def time(self) -> float:
        return float(self.row["time"])

    def element(self, index: int) -> str | None:
        """The name of one element as SLURM writes it. submitit sends an array of one as a plain job."""
        if self.slurm_id is None:
            return None
        return self.slurm_id if len(self.row["elements"]) == 1 else f"{self.slurm_id}_{index}"


def append_row(path: Path, row: Row) -> None:
    """Add a row, synced to disk before this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(row, separators=(",", ":")) + "\n"
    with path.open("a+b") as file:
        # A process killed in the middle of a row leaves half a line; it must not swallow the next one.
        if file.tell() and _last_byte(file.fileno(), file.tell()) != b"\n":
            line = "\n" + line
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())


def _last_byte(descriptor: int, size: int) -> bytes:
    return os.pread(descriptor, 1, size - 1)


def read_rows(path: Path) -> Iterator[Row]:
    """The whole rows of a file that `append_row` wrote; none where it is absent."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            try:
                yield json.loads(line)
            except ValueError:  # half a row, see `append_row`
                continue
