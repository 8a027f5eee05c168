"""The command `doctor`: what this machine has and lacks, and for what."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

from pdstudy.cli.arguments import AddCommand
from pdstudy.cli.tables import print_json, print_table
from pdstudy.cli.target import workspace_of
from pdstudy.core.files import cache_root
from pdstudy.core.format import size
from pdstudy.workspace.layout import Workspace

PACKAGES = (
    ("torch", "training", True),
    ("transformers", "models", True),
    ("tokenizers", "corpora", True),
    ("pandas", "results", True),
    ("scipy", "fits", True),
    ("matplotlib", "figures", True),
    ("submitit", "SLURM", True),
    ("optuna", "search", True),
    ("pyarrow", "parquet corpora: pip install 'pdstudy[parquet]'", False),
    ("zstandard", "text packed as .zst: pip install 'pdstudy[zstd]'", False),
    ("datasets", "Hugging Face data sets: pip install 'pdstudy[hub]'", False),
    ("lm_eval", "downstream evaluation: pip install 'pdstudy[eval]'", False),
    ("gguf", "teachers in GGUF files: pip install 'pdstudy[gguf]'", False),
    ("triton", "kernels of the fused loss on CUDA; comes with torch there", False),
    ("flash_attn", "flash attention (CUDA and a compiler): pip install 'pdstudy[flash]'; SDPA is used without", False),
)
"""Name of the distribution, its use, and whether pdstudy needs it."""


def add(command: AddCommand) -> None:
    command("doctor", _doctor, "what this machine has and lacks, and for what", study=False)


def _doctor(args: argparse.Namespace) -> int:
    findings = examine_machine(workspace_of(args))
    if args.json:
        print_json(findings)
    else:
        rows = [[f["name"], f["state"], f["found"], f["for"]] for f in findings]
        print_table(["what", "state", "found", "for"], rows)
    return 0 if all(f["state"] != "missing" for f in findings) else 1


def examine_machine(workspace: Workspace) -> list[dict[str, Any]]:
    """Findings: name, state (ok, missing; absent where it is optional), what was found, what it is for."""
    import importlib.metadata

    found = [_finding("python", True, platform.python_version(), "everything", needed=sys.version_info >= (3, 11))]
    for package, use, needed in PACKAGES:
        try:
            version = importlib.metadata.version(package.replace("_", "-"))
        except importlib.metadata.PackageNotFoundError:
            version = ""
        found.append(_finding(package, bool(version), version or "not installed", use, needed=needed))
    gpus = _gpus()
    found.append(_finding("CUDA", gpus > 0, f"{gpus} devices", "training at paper scale", needed=False))
    for tool, use in (("git", "provenance of results"), ("sbatch", "pdstudy submit"), ("nvidia-smi", "GPU names")):
        found.append(
            _finding(tool, shutil.which(tool) is not None, shutil.which(tool) or "not found", use, needed=False)
        )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found.append(_finding("cores", True, f"{cores}", "local workers", needed=True))
    folder = workspace.root
    while not folder.exists():
        folder = folder.parent
    writable = os.access(folder, os.W_OK)
    free = f"{size(shutil.disk_usage(folder).free)} free" + ("" if writable else ", read-only")
    found.append(_finding("workspace", writable, f"{workspace.root}: {free}", "artifacts", needed=True))
    found.append(_finding("cache", True, str(cache_root()), "downloads, content hashes", needed=False))
    return found


def _finding(name: str, there: bool, what: str, use: str, *, needed: bool) -> dict[str, Any]:
    return {"name": name, "state": "ok" if there else "missing" if needed else "absent", "found": what, "for": use}


def _gpus() -> int:
    """NVIDIA devices by their device files: importing torch only to count would take seconds."""
    return len(list(Path("/dev").glob("nvidia[0-9]*"))) if Path("/dev").exists() else 0
