"""What the parts of `bench_device` share: the device, sizes that fit it, timing, output."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import torch

from pdstudy.config.model import Shape

SMALL = "--small" in sys.argv
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
NAME = torch.cuda.get_device_name() if DEVICE.type == "cuda" else "cpu"

if SMALL:
    torch.set_num_threads(1)
elif DEVICE.type != "cuda":
    sys.exit("no CUDA device here: try it with --small")


def shape(name: str, context: int) -> Shape:
    """A student by its name; a hundredth of its width and depth where all is tried small."""
    width, layers, ffn, vocab = {
        "1M": (128, 4, 344, 4_096),
        "10M": (320, 8, 856, 4_096),
        "250M": (1_024, 16, 2_816, 32_768),
        "1B": (2_048, 18, 5_632, 32_768),
    }[name]
    if SMALL:
        width, layers, ffn, vocab = 32, 2, 88, 512
    heads = max(2, width // 64)
    return Shape(width=width, layers=layers, heads=heads, query_groups=heads // 2, ffn=ffn, vocab=vocab)


def synchronise() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def rate(step: Callable[[], object], tokens: int, steps: int) -> float:
    """Tokens a second by the clock over `steps`, after two that warm up."""
    for _ in range(2):
        step()
    synchronise()
    began = time.perf_counter()
    for _ in range(steps):
        step()
    synchronise()
    return steps * tokens / (time.perf_counter() - began)


def say(found: dict[str, object]) -> None:
    """Print all that was found so far."""
    print(json.dumps({"device": NAME, "torch": torch.__version__, "small": SMALL, **found}), flush=True)
