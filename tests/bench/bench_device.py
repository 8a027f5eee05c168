"""What a CUDA device makes of pdstudy, as one JSON object. `make bench-device`; at most 8 minutes on an H200.

    python tests/bench/bench_device.py [--small] [--parts head training students capture attention nccl] [--out FILE]

Each part is a process of its own, so that one that fails leaves the others; its error is in its place. `--small` tries
every part at a hundredth of its size, on the CPU where there is no device: figures then mean nothing.

head       the fused head by rows of a chunk against a compiled cross-entropy on bfloat16 logits
training   MFU at 250M and 1B parameters, contexts 2,048 and 4,096, against a compiled loop without pdstudy, in turns
students   tokens a second of 1 to 16 small students at a time on one device, as processes
capture    teacher inference into a store against the teacher's forward pass alone
attention  flash-attn beside torch's own attention: difference and speed, whole and packed
nccl       a process group of one over NCCL: an all-reduce
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

PARTS = ("head", "training", "students", "capture", "attention", "nccl")
ROOT = Path(__file__).resolve().parents[2]
SECONDS = {"head": 60, "training": 180, "students": 110, "capture": 70, "attention": 35, "nccl": 25}
"""Seconds that a part may take on a device; a part that is cut off has what it printed until then."""


def run_part(name: str, small: bool) -> dict[str, object]:
    """The last JSON object that a part prints: each prints all that it has found so far after every measurement."""
    command = [sys.executable, "-m", f"tests.bench.device_{name}", *(["--small"] if small else [])]
    began, failure = time.monotonic(), None
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        output, errors = process.communicate(timeout=SECONDS[name])
        if process.returncode:
            failure = "\n".join(errors.splitlines()[-3:])
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
        failure = f"cut off after {SECONDS[name]} seconds"
    lines = [line for line in output.splitlines() if line.startswith("{")]
    found = json.loads(lines[-1]) if lines else {}
    return {**found, "seconds": round(time.monotonic() - began, 1), **({"failure": failure} if failure else {})}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--small", action="store_true")
    arguments.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    arguments.add_argument("--out", type=Path)
    chosen = arguments.parse_args()
    found = {name: run_part(name, chosen.small) for name in chosen.parts}
    text = json.dumps(found, indent=1)
    if chosen.out is not None:
        chosen.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
