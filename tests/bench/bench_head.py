"""The fused head against itself with cross-entropy only, and against the usual ways. `make bench-head`.

CPU seconds of forward and backward on one thread. A variant takes turns with fused cross-entropy, one right after the
other, and the variants take turns; the ratio is the median over rounds of a pair's seconds, beside the range of the
middle half: what a busy machine leaves of the figure. Peak memory (Linux) is the growth of a fresh process's resident
set over its inputs: all that torch allocates, and nothing freed before. Some four minutes on a quiet core.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pdstudy.config.losses import KLD, JensenShannon, Tail, Temperature
from pdstudy.config.run import KD, LM, Pretrained
from pdstudy.distill.loss.fused import fused_loss
from pdstudy.distill.signal import SparseTargets


@dataclass(frozen=True)
class Scale:
    vocab: int
    width: int
    tokens: int
    rounds: int


SCALES = (Scale(2_048, 128, 4_096, 15), Scale(49_152, 576, 384, 7))
BASE = "fused cross-entropy"

TEACHER = Pretrained(path="unread")
FUSED: dict[str, tuple[int, LM | KD]] = {
    BASE: (0, LM()),
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
    teacher: tuple[Tensor, Tensor] | None


def make(scale: Scale, k: int, *, teacher: bool) -> Inputs:
    torch.manual_seed(0)
    tokens, vocab, width = scale.tokens, scale.vocab, scale.width
    hidden = torch.randn(tokens, width, requires_grad=True)
    weight = (torch.randn(vocab, width) * width**-0.5).requires_grad_()
    k = max(k, 1)
    ids = torch.randint(vocab - k, (tokens, 1)) + torch.arange(k)
    log_probs = torch.log_softmax(torch.randn(tokens, k), 1) - 0.1
    columns = torch.rand(5, tokens) * 0.1
    states_and_head = (torch.randn(tokens, 2 * width), torch.randn(vocab, 2 * width) * width**-0.5) if teacher else None
    signal = SparseTargets(ids, log_probs, *columns)
    return Inputs(hidden, weight, torch.randint(vocab, (tokens,)), signal, states_and_head)


def contender(name: str, scale: Scale) -> Callable[[], None]:
    """One forward and backward; inputs are made here."""
    k, objective = FUSED.get(name, (50, LM()))
    tokens, vocab = scale.tokens, scale.vocab
    x = make(scale, k, teacher=name == "dense KD")

    def loss() -> Tensor:
        if name in FUSED:
            alpha = 0.0 if isinstance(objective, LM) else 0.9
            signal = None if isinstance(objective, LM) else x.signal
            return fused_loss(x.hidden, x.weight, x.targets, signal, objective, alpha, tokens, vocab)[0]
        logits = x.hidden @ x.weight.T
        if name == "naive cross-entropy":
            return torch.nn.functional.cross_entropy(logits, x.targets)
        if x.teacher is not None:
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


def seconds(names: tuple[str, ...], scale: Scale) -> dict[str, list[tuple[float, float]]]:
    """CPU seconds of each variant, and of fused cross-entropy beside it, by rounds."""
    pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    steps = {name: contender(name, scale) for name in names}
    for step in steps.values():
        step()  # the first pass pays for fresh memory
    for number in range(scale.rounds):
        for name in names:
            # Each comes first in half of the rounds.
            first, second = (_timed(steps[one]) for one in ((name, BASE) if number % 2 else (BASE, name)))
            pairs[name].append((first, second) if number % 2 else (second, first))
    return pairs


def _timed(step: Callable[[], None]) -> float:
    began = time.process_time()
    step()
    return time.process_time() - began


def _peak(name: str, scale: Scale) -> float:
    """MiB above the inputs, in a process of its own."""
    torch.set_num_threads(1)
    step = contender(name, scale)
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # starts the high-water mark anew
    step()
    return _resident("VmHWM") - before


def _resident(field: str) -> float:
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field + ":")]
    return int(line.split()[1]) / 1024


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    torch.set_num_threads(1)
    names = (*FUSED, *USUAL)
    # Forked from a server that has imported this file: a process per measurement costs nothing then.
    processes = multiprocessing.get_context("forkserver")
    for scale in SCALES:
        with processes.Pool(1, maxtasksperchild=1) as pool:
            peaks = {name: pool.apply(_peak, (name, scale)) for name in names}
        pairs = seconds(names, scale)
        shape = f"{scale.tokens:,} tokens, width {scale.width}, vocabulary {scale.vocab:,}"
        print(f"\n{shape}, float32, torch {torch.__version__}, {scale.rounds} rounds")
        print(f"{'':48}{'CPU s':>8}{'ratio':>8}{'middle half':>14}{'peak MiB':>10}{'ratio':>8}")
        for name in names:
            low, ratio, high = statistics.quantiles([mine / its for mine, its in pairs[name]], n=4)
            timing = f"{min(mine for mine, _ in pairs[name]):8.3f}{ratio:8.3f}{f'{low:.2f} to {high:.2f}':>14}"
            print(f"{name:48}{timing}{peaks[name]:10.1f}{peaks[name] / peaks[BASE]:8.2f}", flush=True)


if __name__ == "__main__":
    main()
