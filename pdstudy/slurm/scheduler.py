"""SLURM's answers: one `squeue` for all jobs, `sacct` for those that have left it, `scontrol` for the site's limits.

Everything works without accounting; what is then unknown is reported as unknown.
"""

from __future__ import annotations

import contextlib
import getpass
import shutil
import subprocess
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from pdstudy.core import slurm_command
from pdstudy.core.errors import ConfigError

HELD = frozenset({"launch failed requeued held", "JobHoldMaxRequeue"})
"""Reasons for which SLURM holds a job that could run: a node could not start it, or it was requeued very often."""


@dataclass(frozen=True)
class QueuedJob:
    """One array element as the queue shows it."""

    state: str
    reason: str = ""
    node: str = ""

    @property
    def live(self) -> bool:
        return self.state in slurm_command.LIVE and self.reason != "DependencyNeverSatisfied"

    @property
    def held(self) -> bool:
        """Whether it waits for a person to release it, by SLURM's doing."""
        return self.state in ("PENDING", "REQUEUE_HOLD") and self.reason in HELD


@dataclass(frozen=True)
class Queue:
    """A snapshot: array elements by name ("12_3"), and SLURM's ids by the array that they were sent for."""

    jobs: Mapping[str, QueuedJob] = field(default_factory=dict)
    sent_for: Mapping[str, str] = field(default_factory=dict)
    known: bool = True
    """False where the scheduler did not answer: then nothing may be concluded from a job that is not listed."""


@dataclass(frozen=True)
class Limits:
    """The site's limits. `array`: elements of one array (MaxArraySize)."""

    array: int = 1001


class Unanswered(ConfigError):
    """The scheduler did not answer."""


COMMENT = "pdstudy "
"""Beginning of every job's comment; our id of the array follows, by which a job is found whose id was never noted."""


def available() -> bool:
    return shutil.which("squeue") is not None


def read_queue(users: Collection[str] = ()) -> Queue:
    """All jobs of the users (and oneself) that the controller knows, recently ended ones included. One call."""
    names = sorted({*users, getpass.getuser()})
    try:
        text = slurm_command.ask("squeue", "-h", "-r", "-t", "all", "-u", ",".join(names), "-o", "%i|%T|%N|%r|%k")
    except (OSError, subprocess.SubprocessError):
        return Queue(known=False)
    jobs, sent_for = {}, {}
    for line in text.splitlines():
        fields = line.split("|", 4)
        if len(fields) < 5:
            continue  # the comment of another job of the user's goes on over several lines
        element, state, node, reason, comment = fields
        jobs[element] = QueuedJob(state, "" if reason == "None" else reason, node)
        if comment.startswith(COMMENT):
            sent_for[comment.removeprefix(COMMENT)] = element.partition("_")[0]
    return Queue(jobs, sent_for)


def ended_jobs(elements: Iterable[str]) -> dict[str, str]:
    """Final states of array elements that have left the queue, from accounting; empty without it."""
    wanted = set(elements)
    if not wanted or shutil.which("sacct") is None:
        return {}
    # Whole arrays: the elements of ten thousand runs, each by its name, are longer than an argument may be.
    arrays = sorted({element.partition("_")[0] for element in wanted})
    try:
        text = slurm_command.ask("sacct", "-n", "-X", "-P", "-o", "JobID,State", "-j", ",".join(arrays))
    except (OSError, subprocess.SubprocessError):
        return {}
    states = {}
    for line in text.splitlines():
        element, _, state = line.partition("|")
        states[element] = state.split(" ")[0].rstrip("+")  # "CANCELLED by 0"
    return {
        element: state for element, state in states.items() if element in wanted and state not in slurm_command.LIVE
    }


def read_limits() -> Limits:
    """Raises `Unanswered`."""
    for line in _require("scontrol", "show", "config").splitlines():
        name, _, value = line.partition("=")
        if name.strip() == "MaxArraySize":
            return Limits(array=int(value))
    return Limits()


def job_details(job: str) -> dict[str, str]:
    """The fields of `scontrol show job`; empty where the controller does not answer or does not know the job."""
    try:
        text = slurm_command.ask("scontrol", "show", "job", "-o", job)
    except (OSError, subprocess.SubprocessError):
        return {}
    return dict(word.split("=", 1) for word in text.split() if "=" in word)


def cancel(elements: Collection[str]) -> None:
    """Raises `Unanswered` where some may live on: the controller does not answer, or they are not the user's own."""
    _require("scancel", *elements)


def release(elements: Collection[str]) -> None:
    """Let jobs run that SLURM requeued and held because a node could not start them."""
    # One that is not held any more makes scontrol fail, and one that still is the next submit releases.
    names = sorted(elements)
    for at in range(0, len(names), 1000):  # the names are one argument, which has a limit
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            slurm_command.ask("scontrol", "release", ",".join(names[at : at + 1000]))


def require_slurm() -> None:
    for tool in ("sbatch", "squeue", "scontrol"):
        if shutil.which(tool) is None:
            raise ConfigError(f"`{tool}` is not on this machine's PATH: submit from a login node of a SLURM cluster")


def _require(*words: str) -> str:
    """`slurm_command.ask` for what a command cannot go on without. Raises `Unanswered`."""
    try:
        return slurm_command.ask(*words)
    except (OSError, subprocess.SubprocessError) as error:
        lines = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        raise Unanswered(f"{words[0]} failed: {lines[0] if lines else error}; try again later") from error
