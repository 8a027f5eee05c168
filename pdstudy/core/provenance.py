"""Provenance: code, versions and machine of a run. Written beside every result, never part of its identity."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import socket
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from pdstudy.core.files import read_json

CODE_FILE = "code.json"
"""File beside a copy of the packages, with what `code` returned where the copy was taken."""


PACKAGES = ("pdstudy", "torch", "transformers", "tokenizers", "numpy", "safetensors", "flash-attn")


def collect(**more: Any) -> dict[str, Any]:
    """Code, versions and machine of this process, with `more` beside them (threads, attention, device)."""
    return {**_process_provenance(), "time": time.time(), **more}


@functools.cache
def _process_provenance() -> dict[str, Any]:
    """The part that cannot change while the process lives: the code was read when it was imported."""
    return {
        **code(),
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "host": socket.gethostname(),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
    }


def device_name() -> str:
    """The accelerator that this process computes on, "cpu" without one."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def code(folder: Path = Path(__file__).resolve().parents[1]) -> dict[str, Any]:  # noqa: B008 (a constant)
    """Commit of the checkout that `folder` lies in and, where it has changes, a hash of them; None without git."""
    copied: dict[str, Any] | None = read_json(folder.parent / CODE_FILE)
    if copied is not None:
        return copied
    commit = _git(folder, "rev-parse", "HEAD")
    difference = _git(folder, "diff", "HEAD") if commit else None
    return {
        "commit": commit,
        "dirty": hashlib.sha256(difference.encode()).hexdigest()[:16] if difference else None,
    }


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, errors="replace", timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _processor() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
