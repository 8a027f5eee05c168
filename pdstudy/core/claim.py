"""Exclusive claims on making an artifact, held by files: the rule that nothing is made by two at once."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pdstudy.core.errors import ConfigError
from pdstudy.core.files import read_json, write_json
from pdstudy.core.slurm_command import alive


class Claimed(ConfigError):
    """Somebody else is making this artifact."""


@contextlib.contextmanager
def lock_claims(folder: Path) -> Iterator[None]:
    """Let one process at a time look at the claims in a folder and change them: as two acts, two could both succeed."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Claim:
    """An exclusive claim on making one artifact (`what`, in messages), held by a file.

    A claim whose process is gone is taken over. `device` is noted beside the holder, for those who look.

    Raises `Claimed`, naming the holder, when a live process holds it.
    """

    def __init__(self, path: Path, what: str, device: str = "") -> None:
        self.path = path
        self.what = what
        self.mine: dict[str, Any] = {"host": socket.gethostname(), "pid": os.getpid(), "born": _birth(os.getpid())}
        if device:
            self.mine["device"] = device

    def __enter__(self) -> Claim:
        with lock_claims(self.path.parent):
            holder = self.holder(self.path)
            if holder is not None:
                elsewhere = (
                    f" (where it is long gone, delete {self.path})" if holder["host"] != self.mine["host"] else ""
                )
                raise Claimed(
                    f"{self.what} is in the hands of process {holder['pid']} on {holder['host']}; "
                    f"wait for it, or stop it, then run again{elsewhere}"
                )
            write_json(self.path, self.mine)
        return self

    def __exit__(self, *_: object) -> None:
        if self.path.exists():
            with lock_claims(self.path.parent):
                # A user on another host may have deleted it as a dead one's, and somebody else may hold it now.
                if read_json(self.path) == self.mine:
                    self.path.unlink()

    @staticmethod
    def holder(path: Path) -> dict[str, Any] | None:
        """The live holder of the claim at `path`, or None.

        A holder on another host counts as live, unless it is a SLURM job that the queue does not have. Raises
        `ConfigError` on a claim that says nothing.
        """
        mend = "where nobody makes this any more, delete it"
        holder = read_json(path, mend, ("host", "pid", "born"))
        if holder is None:
            return None
        if holder["host"] == socket.gethostname():
            return dict(holder) if _birth(holder["pid"]) == holder["born"] else None
        if "job" in holder:
            return dict(holder) if alive(holder["job"]) else None
        return dict(holder)


def _birth(pid: int) -> str:
    """A mark that differs between two processes of one pid: the start time where /proc has it, else liveness."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        pass
    if Path("/proc/self/stat").exists():
        return "gone"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return "gone"
    except PermissionError:
        pass
    return "alive"
