"""The command `doctor`: what this machine has and lacks, and for what."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pdstudy.cli.arguments import AddCommand
from pdstudy.cli.machine_options import add_gpus, add_rules, gpus_here, machine_of
from pdstudy.cli.machine_tables import machine_lines
from pdstudy.cli.plan_price import price_line
from pdstudy.cli.tables import print_json, print_table
from pdstudy.cli.target import planned, workspace_of
from pdstudy.core.files import cache_root
from pdstudy.core.format import size
from pdstudy.launch.gpus import Gpu
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


PROBE = """
import json, torch
seen = torch.cuda.is_available()
nccl = ".".join(map(str, torch.cuda.nccl.version())) if seen and torch.distributed.is_nccl_available() else ""
print(json.dumps({"cuda": torch.version.cuda, "seen": torch.cuda.device_count() if seen else 0, "nccl": nccl}))
"""
"""Program that prints how torch sees the GPUs. It has a process of its own, since CUDA keeps memory of its process."""

PROBE_SECONDS = 120.0
"""Seconds that torch may take for that."""


def add(command: AddCommand) -> None:
    sub = command("doctor", _doctor, "what this machine has and lacks, and for what", study=False)
    sub.add_argument("study", nargs="?", help="a study, of which to say what it would take of this machine")
    sub.add_argument("--scale", help="the scale to pass to study(scale); default: the study's own")
    add_gpus(sub)
    add_rules(sub)
    sub.set_defaults(workers=None)


def _doctor(args: argparse.Namespace) -> int:
    findings = examine_machine(workspace_of(args), gpus_here())
    if args.study is not None:
        findings += _examine_study(args)
    if args.json:
        print_json(findings)
    else:
        rows = [[f["name"], f["state"], f["found"], f["for"]] for f in findings]
        print_table(["what", "state", "found", "for"], rows)
    return 0 if all(f["state"] != "missing" for f in findings) else 1


def _examine_study(args: argparse.Namespace) -> list[dict[str, Any]]:
    """A finding for each line about a study on this machine; state "absent" where it does not fit."""
    plan, _ = planned(args)
    here = machine_of(args, plan.study.executions)
    taken = [price_line(plan, here), *machine_lines(plan, here)]
    findings = [_finding(plan.study.name, True, line, "`pdstudy run`", needed=False) for line in taken]
    lacking = here.warnings(plan)
    return [*findings, *(_finding(plan.study.name, False, line, "`pdstudy run`", needed=False) for line in lacking)]


def examine_machine(workspace: Workspace, gpus: Sequence[Gpu]) -> list[dict[str, Any]]:
    """Findings: name, state (ok, missing; absent where it is optional), what was found, what it is for."""
    found = [_finding("python", True, platform.python_version(), "everything", needed=sys.version_info >= (3, 11))]
    for package, use, needed in PACKAGES:
        version = _version(package.replace("_", "-"))
        found.append(_finding(package, bool(version), version or "not installed", use, needed=needed))
    found += _examine_gpus(gpus)
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


def _examine_gpus(gpus: Sequence[Gpu]) -> list[dict[str, Any]]:
    """A finding for each GPU, and what torch says of them all."""
    use = "a run at a time on each (small ones: `pdstudy run --per-gpu N`); runs of several by Execution(gpus=N)"
    if not gpus:
        files = len(list(Path("/dev").glob("nvidia[0-9]*")))
        unused = (
            f"none that can be used; {files} in /dev, but torch {_version('torch')} or CUDA_VISIBLE_DEVICES bars them"
        )
        return [_finding("CUDA", False, unused if files else "no GPU", "training at paper scale", needed=False)]
    found = [_finding(f"GPU {gpu.id}", True, _describe(gpu), use, needed=False) for gpu in gpus]
    torch = probe_torch()
    words = f"torch {_version('torch')}, CUDA {torch.get('cuda')}: {torch.get('seen', 0)} of {len(gpus)} devices seen"
    if "error" in torch:
        words = f"torch does not answer: {torch['error']}"
    found.append(_finding("CUDA", torch.get("seen") == len(gpus), words, "computing on GPUs", needed=True))
    nccl = str(torch.get("nccl") or "")
    found.append(
        _finding("NCCL", bool(nccl), nccl or "not in this torch", "runs on several GPUs", needed=len(gpus) > 1)
    )
    return found


def _describe(gpu: Gpu) -> str:
    """A GPU in words: memory, and whether it computes in bfloat16, for which flash attention is made."""
    memory = f"{size(gpu.free)} free of {size(gpu.memory)}" if gpu.memory else "memory not known"
    bf16 = "bf16" if gpu.bf16 else "no bf16: precision='float32'" if gpu.capability else "bf16 not known"
    flash = "" if not gpu.bf16 else ", flash attention" if _version("flash-attn") else ", flash-attn not installed"
    triton = ", Triton" if _version("triton") else ", Triton not installed"
    return f"{gpu.name}, {memory}, {bf16}{flash}{triton}"


def probe_torch() -> dict[str, Any]:
    """The GPUs as torch sees them: `cuda`, `seen`, `nccl`; `error` where it does not answer."""
    try:
        text = subprocess.check_output(
            [sys.executable, "-c", PROBE], text=True, timeout=PROBE_SECONDS, stderr=subprocess.PIPE
        )
        return dict(json.loads(text.splitlines()[-1]))
    except subprocess.CalledProcessError as error:
        return {"error": (str(error.stderr).strip().splitlines() or ["it ended"])[-1]}
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        return {"error": str(error)}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
