"""SLURM commands with a time limit, and whether a job is alive: what claims on artifacts need to know of SLURM."""

from __future__ import annotations

import os
import subprocess

LIVE = frozenset({
    "PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "STAGE_OUT", "SIGNALING", "RESIZING",
    "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD", "REVOKED",
})  # fmt: skip
"""States of a job that may still run. All others are final until somebody requeues it."""

TIMEOUT_SECONDS = 60
"""Seconds that a command of SLURM may take."""


def alive(element: str) -> bool:
    """Whether a job may still run; True where the scheduler does not answer."""
    try:
        states = ask("squeue", "-h", "-t", "all", "-j", element, "-o", "%T")
    except subprocess.CalledProcessError as error:
        return "Invalid job id" not in (error.stderr or "")
    except (OSError, subprocess.SubprocessError):
        return True
    return any(state in LIVE for state in states.split())


def ask(*words: str) -> str:
    """Standard output of one command. Raises `OSError` and `subprocess.SubprocessError`."""
    # Neither columns nor dates may depend on the user's settings.
    settings = ("SQUEUE_FORMAT", "SQUEUE_STATES", "SQUEUE_USERS", "SACCT_FORMAT", "SLURM_TIME_FORMAT")
    environment = {k: v for k, v in os.environ.items() if k not in settings}
    return subprocess.run(
        words, check=True, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_SECONDS, env=environment
    ).stdout
