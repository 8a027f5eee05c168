"""The GPUs of this machine, found without importing torch: the driver's own tool is asked, or the device files.

A process that may use some of them only (CUDA_VISIBLE_DEVICES, as SLURM and users set it) finds those.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pdstudy.core.errors import ConfigError

QUERY = ("index", "uuid", "name", "memory.total", "memory.free", "compute_cap")
"""Fields that nvidia-smi is asked for, in this order; memory in MiB."""

QUERY_SECONDS = 30.0
"""Seconds that nvidia-smi may take: without a persistent driver it initialises every device first."""

BF16_CAPABILITY = 8.0
"""Compute capability (Ampere) from which a GPU computes in bfloat16 and flash attention 2 runs."""


@dataclass(frozen=True)
class Gpu:
    """One GPU: `id` as CUDA_VISIBLE_DEVICES takes it, bytes of memory in all and free; zero where not known."""

    id: str
    name: str = "GPU"
    memory: int = 0
    free: int = 0
    capability: float = 0.0

    @property
    def bf16(self) -> bool:
        return self.capability >= BF16_CAPABILITY


def find_gpus() -> tuple[Gpu, ...]:
    """The GPUs that processes started here can compute on; none where the installed torch is one for CPUs."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if _torch_version().endswith("+cpu") or visible == "":
        return ()
    return visible_gpus(_listed_gpus(), visible)


def visible_gpus(listed: Sequence[tuple[str, Gpu]], visible: str | None) -> tuple[Gpu, ...]:
    """Those of `listed` (UUID, GPU) that a value of CUDA_VISIBLE_DEVICES lets through, under the names it has for them.

    As in CUDA: None lets all through, and the first entry that names no device ends the list. Parts of a GPU (MIG) are
    not in any list and are taken at their word.
    """
    if visible is None:
        return tuple(gpu for _, gpu in listed)
    found = []
    for entry in filter(None, (part.strip() for part in visible.split(","))):
        match = next((g for uuid, g in listed if g.id == entry or uuid.startswith(entry)), None)
        if match is None and not entry.startswith("MIG-"):
            break
        found.append(dataclasses.replace(match or Gpu(entry, "MIG"), id=entry))
    return tuple(found)


def choose_gpus(found: Sequence[Gpu], wanted: str | None) -> tuple[Gpu, ...]:
    """The GPUs of an option `--gpus`, "0,2"; all of `found` without one. Raises `ConfigError` on others."""
    if wanted is None:
        return tuple(found)
    by_id = {gpu.id: gpu for gpu in found}
    names = [part.strip() for part in wanted.split(",")]
    unknown = [name for name in names if name not in by_id]
    if unknown or len({*names}) < len(names):
        limit = "" if os.environ.get("CUDA_VISIBLE_DEVICES") is None else " (those in CUDA_VISIBLE_DEVICES)"
        allowed = f"some of {','.join(by_id)}{limit}, each once" if by_id else "nothing: there is no GPU here"
        raise ConfigError(f"--gpus: found {wanted}; allowed: {allowed}")
    return tuple(by_id[name] for name in names)


def _listed_gpus() -> list[tuple[str, Gpu]]:
    """UUID and GPU of every device of the machine, by index (the order of their buses)."""
    tool = shutil.which("nvidia-smi")
    if tool is not None:
        command = [tool, f"--query-gpu={','.join(QUERY)}", "--format=csv,noheader,nounits"]
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            text = subprocess.check_output(command, stderr=subprocess.DEVNULL, text=True, timeout=QUERY_SECONDS)
            return parse_query(text)
    files = sorted(Path("/dev").glob("nvidia[0-9]*"), key=lambda file: int(file.name.removeprefix("nvidia")))
    return [("", Gpu(file.name.removeprefix("nvidia"))) for file in files]


def parse_query(text: str) -> list[tuple[str, Gpu]]:
    """UUID and GPU of each line of nvidia-smi's answer to `QUERY`; what it does not know ("[N/A]") is zero."""
    found = []
    for line in text.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) == len(QUERY):
            index, uuid, name, total, free, capability = parts
            gpu = Gpu(index, name, int(_number(total)) << 20, int(_number(free)) << 20, _number(capability))
            found.append((uuid, gpu))
    return found


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _torch_version() -> str:
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return ""
