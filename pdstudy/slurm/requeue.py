"""Why a job was told to stop, and whether it goes on as the same job: asked of SLURM at that moment."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import datetime

from pdstudy.slurm import queue as slurm

SLACK_SECONDS = 60
"""SLURM looks at time limits every half a minute, so its warning may come this much early."""
TRIES = 10
PAUSE_SECONDS = 3.0


def cause_of_stop(details: Mapping[str, str], warning_seconds: float, now: float) -> str:
    """preempted, time, cancelled, or signal (somebody sent one), from `scontrol show job`."""
    if details.get("PreemptTime", "None") not in ("None", "Unknown"):
        return "preempted"
    end = details.get("EndTime", "Unknown")
    state = details.get("JobState", "")
    # A job that is taken down at its limit, whose warning came before it could hear one, is COMPLETING for that reason.
    if state == "TIMEOUT" or details.get("Reason") == "TimeLimit":
        return "time"
    if state in ("RUNNING", "") or not state:
        if end not in ("Unknown", "None") and _seconds(end) - now <= warning_seconds + SLACK_SECONDS:
            return "time"
        return "signal"
    if state == "PREEMPTED":
        return "preempted"
    # SLURM is taking the job down: it was cancelled, or a node of it failed and SLURM requeues it.
    return "cancelled"


def _seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()


def why(raw_job: str, warning_seconds: float) -> str:
    return cause_of_stop(slurm.job_details(raw_job), warning_seconds, time.time())


def requeue(element: str) -> bool:
    """Put this process's own job back into the queue. False where SLURM will not."""
    for _ in range(TRIES):
        done = subprocess.run(["scontrol", "requeue", element], capture_output=True, text=True)
        if done.returncode == 0:
            return True
        print(f"scontrol requeue {element}: {done.stderr.strip()}", file=sys.stderr, flush=True)
        if "Unable to contact" not in done.stderr and "timed out" not in done.stderr:
            return False
        time.sleep(PAUSE_SECONDS)
    return False
