"""The fused head against itself with cross-entropy only, and against the usual ways. `make bench-head`; `--tokens 512`.

CPU seconds of forward and backward on one thread, variants taking turns, the least of several: ratios hold on a busy
machine. Peak memory (Linux) is the growth of a fresh process's resident set over its inputs.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pdstudy.config import Pretrained
from pdstudy.distill.head import fused_loss
from pdstudy.distill.signal import SparseTargets
from pdstudy.losses import KLD, JensenShannon, Tail, Temperature
from pdstudy.objective import KD, LM

SHAPES = {2_048: 128, 49_152: 576}
"""Vocabulary to width."""

TEACHER = Pretrained(path="unread")
FUSED: dict[str, tuple[int, LM | KD]] = {
    "fused cross-entropy": (0, LM()),
    "fused KD, k = 12": (12, KD(teacher=TEACHER)),
    "fused KD, k = 50": (50, KD(teacher=TEACHER)),
    "fused KD, k = 128": (128, KD(teacher=TEACHER)),
    "fused tail bucket, KLD, k = 50": (50, KD(teacher=TEACHER, rest=Tail(), loss=KLD())),
    "fused tail bucket, JS, k = 50": (50, KD(teacher=TEACHER, rest=Tail(), loss=JensenShannon())),
    "fused KD, tau 2 both sides, k = 50": (50, KD(teacher=TEACHER, temperature=Temperature(tau=2.0, both=True))),
}
USUAL = ("naive cross-entropy", "naive KD, k = 50", "chunked reduction over existing logits, k = 50", "dense KD")


@dataclass(frozen=True)
class Inputs:
    hidden: Tensor
    weight: Tensor
    targets: Tensor
    signal: SparseTargets
    teacher: tuple[Tensor, Tensor]


def make(tokens: int, vocab: int, k: int) -> Inputs:
    torch.manual_seed(0)
    width = SHAPES[vocab]
    hidden = torch.randn(tokens, width, requires_grad=True)
    weight = (torch.randn(vocab, width) * width**-0.5).requires_grad_()
    k = max(k, 1)
    ids = torch.randint(vocab - k, (tokens, 1)) + torch.arange(k)
    log_probs = torch.log_softmax(torch.randn(tokens, k), 1) - 0.1
    columns = torch.rand(5, tokens) * 0.1
    teacher = (torch.randn(tokens, 2 * width), torch.randn(vocab, 2 * width) * width**-0.5)
    return Inputs(hidden, weight, torch.randint(vocab, (tokens,)), SparseTargets(ids, log_probs, *columns), teacher)


def contender(name: str, tokens: int, vocab: int) -> Callable[[], None]:
    """One forward and backward; inputs are made here."""
    k, objective = FUSED.get(name, (50, LM()))
    x = make(tokens, vocab, k)

    def loss() -> Tensor:
        if name in FUSED:
            alpha = 0.0 if isinstance(objective, LM) else 0.9
            signal = None if isinstance(objective, LM) else x.signal
            return fused_loss(x.hidden, x.weight, x.targets, signal, objective, alpha, tokens, vocab)[0]
        logits = x.hidden @ x.weight.T
        if name == "naive cross-entropy":
            return torch.nn.functional.cross_entropy(logits, x.targets)
        if name == "dense KD":
            with torch.no_grad():
                p = torch.softmax(x.teacher[0] @ x.teacher[1].T, 1)
            return -(p * torch.log_softmax(logits, 1)).sum(1).mean()
        soft = torch.softmax(x.signal.log_probs, 1)
        rows = 256 if name.startswith("chunked") else tokens
        total = torch.zeros(())
        for at in range(0, tokens, rows):
            part = slice(at, at + rows)
            log_q = torch.log_softmax(logits[part], 1)
            total = total - (soft[part] * log_q.gather(1, x.signal.ids[part])).sum()
            total = total - 0.1 * log_q.gather(1, x.targets[part, None]).sum()
        return total / tokens

    def step() -> None:
        x.hidden.grad = x.weight.grad = None
        loss().backward()

    return step


def seconds(names: tuple[str, ...], tokens: int, vocab: int, repeats: int) -> dict[str, float]:
    best = dict.fromkeys(names, float("inf"))
    steps = {name: contender(name, tokens, vocab) for name in names}
    for _ in range(repeats):
        for name, step in steps.items():
            began = time.process_time()
            step()
            best[name] = min(best[name], time.process_time() - began)
    return best


def _peak(name: str, tokens: int, vocab: int) -> float:
    """MiB above the inputs, in a process of its own."""
    torch.set_num_threads(1)
    step = contender(name, tokens, vocab)
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # starts the high-water mark anew
    step()
    return _resident("VmHWM") - before


def _resident(field: str) -> float:
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field + ":")]
    return int(line.split()[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    names = (*FUSED, *USUAL)
    for vocab, width in SHAPES.items():
        times = seconds(names, asked.tokens, vocab, asked.repeats)
        print(f"\n{asked.tokens:,} tokens, width {width}, vocabulary {vocab:,}, float32, torch {torch.__version__}")
        print(f"{'':48}{'CPU s':>8}{'ratio':>8}{'peak MiB':>10}")
        with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
            for name in names:
                peak = pool.apply(_peak, (name, asked.tokens, vocab))
                ratio = times[name] / times["fused cross-entropy"]
                print(f"{name:48}{times[name]:8.3f}{ratio:8.3f}{peak:10.0f}", flush=True)


if __name__ == "__main__":
    main()
