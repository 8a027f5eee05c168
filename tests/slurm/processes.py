"""Processes that a test cluster has started, by the variables they were started with; Linux only."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path


def processes_of(job: str, conf: bytes) -> list[int]:
    """Python processes of a job (raw id) of the cluster whose configuration is `conf`."""
    found = []
    for proc in Path("/proc").glob("[0-9]*"):
        variables = _environment(proc)
        if variables.get(b"SLURM_JOB_ID") == job.encode() and variables.get(b"SLURM_CONF") == conf:
            with contextlib.suppress(OSError):
                command = (proc / "cmdline").read_bytes().split(b"\0")
                if b"submitit.core._submit" in command and b"python" in command[0]:
                    found.append(int(proc.name))
    return found


def started_on(name: str, conf: bytes) -> list[int]:
    """Step daemons of a node, and all that they started, which alone knows the node's name."""
    found = []
    for proc in Path("/proc").glob("[0-9]*"):
        variables = _environment(proc)
        if variables.get(b"SLURMD_NODENAME") == name.encode() and variables.get(b"SLURM_CONF") == conf:
            found.append(int(proc.name))
            with contextlib.suppress(OSError):
                parent = int((proc / "stat").read_text().rsplit(")", 1)[1].split()[1])
                if b"slurmstepd" in Path(f"/proc/{parent}/cmdline").read_bytes():
                    found.append(parent)
    return sorted(set(found))


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def _environment(proc: Path) -> dict[bytes, bytes]:
    """The variables with which a process was started; nothing of one that is gone."""
    try:
        pairs = (v.partition(b"=") for v in (proc / "environ").read_bytes().split(b"\0"))
        return {name: value for name, _, value in pairs}
    except OSError:
        return {}
