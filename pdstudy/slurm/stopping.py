"""Stopping a job: whether a signal means now, why it came, and the requeue that goes on afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import datetime

from pdstudy.slurm import scheduler as slurm
from pdstudy.train.stop_signals import StopSignals

EARLY_SECONDS = 60
"""Seconds by which SLURM's warning may come early: it looks at time limits every half a minute, and rounds."""


REQUEUE_TRIES = 10
"""How often a requeue is asked for while the controller does not answer."""


REQUEUE_PAUSE_SECONDS = 3.0
"""Seconds between two requests for a requeue."""


class StopRequest:
    """Whether a job is to stop now: called at the end of every step.

    SLURM's warning before a time limit (SIGUSR2) may come `EARLY_SECONDS` too early, which is all of a short job: it
    is heeded when `warning_seconds` are left. Only the main rank asks SLURM; the others leave warnings to it, since a
    rank that stops stops all.
    """

    def __init__(self, signals: StopSignals, warning_seconds: float, *, main: bool = True) -> None:
        self._signals, self._warning, self._main = signals, warning_seconds, main
        self._judged = 0
        self._not_before = 0.0

    def __call__(self) -> bool:
        received = list(self._signals.received)
        if not received or not self._main:
            return signal.SIGTERM in received
        if len(received) > self._judged:
            self._judged = len(received)
            early = 0.0
            if signal.SIGTERM not in received:
                early = find_early_seconds(_read_details(), self._warning, time.time())
            self._not_before = time.monotonic() + early
        return time.monotonic() >= self._not_before


def find_stop_cause(warning_seconds: float) -> str:
    restarts = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
    return classify_stop(_read_details(), warning_seconds, restarts, time.time())


def _read_details() -> dict[str, str]:
    return slurm.job_details(os.environ["SLURM_JOB_ID"])


def classify_stop(details: Mapping[str, str], warning_seconds: float, restarts: int, now: float) -> str:
    """The cause of a stop, from `scontrol show job`: preempted, requeued (by SLURM itself), time, cancelled, or signal
    (somebody sent one). `restarts`: how often the job had been started again when this process began."""
    if details.get("PreemptTime", "None") not in ("None", "Unknown"):
        return "preempted"
    state = details.get("JobState", "")
    # A job that is taken down at its limit, whose warning came before it could hear one, is COMPLETING for that reason.
    if state == "TIMEOUT" or details.get("Reason") == "TimeLimit":
        return "time"
    if state in ("RUNNING", ""):
        left = _find_seconds_left(details, now)
        return "time" if left is not None and left <= warning_seconds + EARLY_SECONDS else "signal"
    if state == "PREEMPTED":
        return "preempted"
    # SLURM is taking the job down. Where it counts a start more than this one it has put the job back into the queue:
    # a job in its way, a node or an operator was the reason.
    if int(details.get("Restarts", "0")) > restarts:
        return "requeued"
    return "cancelled"


def find_early_seconds(details: Mapping[str, str], warning_seconds: float, now: float) -> float:
    """The seconds by which a signal comes early, as a warning of the time limit; 0 for any other."""
    if classify_stop(details, warning_seconds, 0, now) != "time" or details.get("JobState") != "RUNNING":
        return 0.0
    return max(0.0, (_find_seconds_left(details, now) or 0.0) - warning_seconds)


def _find_seconds_left(details: Mapping[str, str], now: float) -> float | None:
    """Until the job's time limit, where it has one; by the controller's clock alone where it says enough."""
    end, start, run = (details.get(name, "Unknown") for name in ("EndTime", "StartTime", "RunTime"))
    if end in ("Unknown", "None"):
        return None
    try:
        return _parse_time(end) - _parse_time(start) - _parse_duration(run)
    except ValueError:
        return _parse_time(end) - now


def _parse_time(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()


def _parse_duration(text: str) -> float:
    """Seconds of `D-HH:MM:SS` or `HH:MM:SS`."""
    days, _, clock = text.rpartition("-")
    hours, minutes, seconds = map(int, clock.split(":"))
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


def requeue(element: str) -> bool:
    """Put this process's own job back into the queue. False where SLURM will not."""
    for _ in range(REQUEUE_TRIES):
        done = subprocess.run(["scontrol", "requeue", element], capture_output=True, text=True, errors="replace")
        if done.returncode == 0:
            return True
        print(f"scontrol requeue {element}: {done.stderr.strip()}", file=sys.stderr, flush=True)
        if "Unable to contact" not in done.stderr and "timed out" not in done.stderr:
            return False
        time.sleep(REQUEUE_PAUSE_SECONDS)
    return False
