"""The fused head on a CUDA device, in bfloat16, beside the usual ways and the kernels of others. `make bench-head-gpu`.

    python tests/bench/bench_head_gpu.py [--shapes 0 1 2 3] [--seconds 0.3]

Milliseconds of forward and backward by events (median of the rounds that fit `--seconds`, at least 5; two rounds before
that warm up), the rate against the products that no way can do without (6 tokens x width x vocabulary FLOPs), peak
memory over the inputs, and the time against the fused head with cross-entropy only. Others' kernels are measured where
they are installed: liger-kernel, cut-cross-entropy, axolotl.
"""

from __future__ import annotations

import argparse
import gc
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from pdstudy.config.losses import KLD, JensenShannon, Tail
from pdstudy.config.run import KD, LM, Pretrained
from pdstudy.distill.loss.fused import fused_loss
from pdstudy.distill.signal import SparseTargets

SHAPES = ((2_048, 576, 49_152), (8_192, 2_048, 128_256), (8_192, 4_096, 128_256), (16_384, 1_024, 151_936))
"""Tokens, width, vocabulary."""
KEPT = 50
BASE = "fused cross-entropy"
TEACHER = Pretrained(path="unread")
PLAIN = KD(teacher=TEACHER)
FUSED: dict[str, tuple[int, LM | KD]] = {
    BASE: (1, LM()),
    "fused KD, k = 12": (12, PLAIN),
    "fused KD, k = 50": (50, PLAIN),
    "fused KD, k = 100": (100, PLAIN),
    "fused KLD with a tail bucket, k = 50": (50, KD(teacher=TEACHER, rest=Tail(), loss=KLD())),
    "fused JS with a tail bucket, k = 50": (50, KD(teacher=TEACHER, rest=Tail(), loss=JensenShannon())),
}
Loss = Callable[[], Tensor]


@dataclass
class Inputs:
    """Leaves and what the losses read; the teacher, twice as wide, is made for those that run one."""

    tokens: int
    width: int
    vocab: int
    hidden: Tensor = field(init=False)
    weight: Tensor = field(init=False)
    targets: Tensor = field(init=False)

    def __post_init__(self) -> None:
        torch.manual_seed(0)
        self.hidden = self._leaf(self.tokens, self.width, 1.0).requires_grad_()
        self.weight = self._leaf(self.vocab, self.width, self.width**-0.5).requires_grad_()
        self.targets = torch.randint(self.vocab, (self.tokens,), device="cuda")

    def _leaf(self, rows: int, columns: int, scale: float) -> Tensor:
        return torch.randn(rows, columns, device="cuda", dtype=torch.bfloat16) * scale

    def signal(self, k: int) -> SparseTargets:
        ids = torch.rand(self.tokens, self.vocab // 64, device="cuda").topk(k, dim=1).indices * 64
        log_probs = torch.log_softmax(torch.randn(self.tokens, k, device="cuda").sort(1, descending=True)[0], 1) - 0.1
        columns = torch.rand(5, self.tokens, device="cuda") * 0.1
        return SparseTargets(ids, log_probs, *columns)

    def teacher(self) -> tuple[Tensor, Tensor]:
        wide = 2 * self.width
        return self._leaf(self.tokens, wide, 1.0), self._leaf(self.vocab, wide, wide**-0.5)


def ours(x: Inputs) -> Iterator[tuple[str, Loss]]:
    for name, (k, objective) in FUSED.items():
        signal, alpha = (None, 0.0) if isinstance(objective, LM) else (x.signal(k), 0.9)

        def loss(signal: SparseTargets | None = signal, alpha: float = alpha, objective: LM | KD = objective) -> Tensor:
            return fused_loss(x.hidden, x.weight, x.targets, signal, objective, alpha, x.tokens, x.vocab)[0]

        yield name, loss


def naive_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy((hidden @ weight.T).float(), targets)


def naive_distillation(hidden: Tensor, weight: Tensor, targets: Tensor, ids: Tensor, soft: Tensor) -> Tensor:
    log_q = torch.log_softmax((hidden @ weight.T).float(), 1)
    return -0.9 * (soft * log_q.gather(1, ids)).sum(1).mean() - 0.1 * log_q.gather(1, targets[:, None]).mean()


def usual(x: Inputs) -> Iterator[tuple[str, Loss]]:
    signal = x.signal(KEPT)
    arguments = (x.hidden, x.weight, x.targets, signal.ids, torch.softmax(signal.log_probs, 1))
    yield "naive cross-entropy", lambda: naive_cross_entropy(*arguments[:3])
    yield "naive KD, k = 50", lambda: naive_distillation(*arguments)
    compiled = torch.compile(naive_cross_entropy), torch.compile(naive_distillation)
    yield "compiled naive cross-entropy", lambda: compiled[0](*arguments[:3])
    yield "compiled naive KD, k = 50", lambda: compiled[1](*arguments)

    def chunked() -> Tensor:
        """Chunks of a loss over logits that exist: what several do."""
        logits = x.hidden @ x.weight.T
        total = torch.zeros((), device="cuda")
        for at in range(0, x.tokens, 1024):
            part = slice(at, at + 1024)
            log_q = torch.log_softmax(logits[part].float(), 1)
            total = total - (arguments[4][part] * log_q.gather(1, signal.ids[part])).sum()
        return total / x.tokens

    yield "chunked reduction over existing logits, k = 50", chunked


def dense(x: Inputs) -> Iterator[tuple[str, Loss]]:
    states, head = x.teacher()

    def loss() -> Tensor:
        with torch.no_grad():
            p = torch.softmax((states @ head.T).float(), 1)
        return -(p * torch.log_softmax((x.hidden @ x.weight.T).float(), 1)).sum(1).mean()

    yield "naive dense KD, a teacher of twice the width", loss
    from liger_kernel.chunked_loss import LigerFusedLinearJSDLoss
    from liger_kernel.transformers import LigerFusedLinearJSD

    chunked = LigerFusedLinearJSDLoss(weight_hard_loss=0.1, weight_soft_loss=0.9, beta=0.0)
    yield "Liger chunked JSD (beta 0), the same teacher", lambda: chunked(x.hidden, x.weight, states, head, x.targets)
    kernel = LigerFusedLinearJSD(jsd_beta=0.0)
    yield "Liger fused JSD (beta 0), the same teacher", lambda: kernel(x.hidden, x.weight, states, head, None)


def others(x: Inputs) -> Iterator[tuple[str, Loss]]:
    from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss, LigerFusedLinearKLDivLoss

    cross_entropy = LigerFusedLinearCrossEntropyLoss()
    yield "Liger fused cross-entropy", lambda: cross_entropy(x.weight, x.hidden, x.targets)
    cross_entropy_32 = LigerFusedLinearCrossEntropyLoss(accum_dtype=torch.float32)
    yield "Liger fused cross-entropy, float32 sums", lambda: cross_entropy_32(x.weight, x.hidden, x.targets)
    signal = x.signal(KEPT)
    target = torch.zeros(x.tokens, x.vocab, device="cuda", dtype=torch.bfloat16)
    target.scatter_(1, signal.ids, torch.softmax(signal.log_probs, 1).bfloat16())
    divergence = LigerFusedLinearKLDivLoss()
    yield "Liger fused KL of a densified target, k = 50", lambda: divergence(x.hidden, x.weight, target)


def of_axolotl(x: Inputs) -> Iterator[tuple[str, Loss]]:
    from axolotl.integrations.kd.kernels import LigerFusedLinearKLTopKLogprobLoss

    signal = x.signal(KEPT)
    kernel = LigerFusedLinearKLTopKLogprobLoss(weight_hard_loss=0.1, weight_soft_loss=0.9, beta=0.0)
    told = [t[None] for t in (x.hidden, signal.ids, signal.log_probs, torch.ones_like(signal.ids), x.targets)]
    yield "axolotl's top-k kernel, k = 50", lambda: kernel(x.weight, *told)


def of_apple(x: Inputs) -> Iterator[tuple[str, Loss]]:
    from cut_cross_entropy import linear_cross_entropy

    yield "cut cross-entropy, exact", lambda: linear_cross_entropy(x.hidden, x.weight, x.targets, filter_eps=None)


def once(x: Inputs, loss: Loss) -> None:
    x.hidden.grad = x.weight.grad = None
    loss().backward()


def measure(x: Inputs, loss: Loss, seconds: float) -> tuple[float, float]:
    """Milliseconds, and MiB over the inputs."""
    x.hidden.grad = x.weight.grad = None
    gc.collect()
    for _ in range(2):
        once(x, loss)
    x.hidden.grad = x.weight.grad = None
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    once(x, loss)
    peak = (torch.cuda.max_memory_allocated() - before) / 2**20
    times: list[float] = []
    while len(times) < 5 or sum(times) < 1000 * seconds:
        marks = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
        marks[0].record()
        once(x, loss)
        marks[1].record()
        torch.cuda.synchronize()
        times.append(marks[0].elapsed_time(marks[1]))
    return statistics.median(times), peak


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--shapes", type=int, nargs="+", default=list(range(len(SHAPES))))
    arguments.add_argument("--seconds", type=float, default=0.3)
    chosen = arguments.parse_args()
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    for number in chosen.shapes:
        tokens, width, vocab = SHAPES[number]
        torch.cuda.empty_cache()
        torch.compiler.reset()
        x = Inputs(tokens, width, vocab)
        print(f"\n{tokens:,} tokens, width {width:,}, vocabulary {vocab:,}, bfloat16")
        print(f"{'':50}{'ms':>9}{'ratio':>8}{'TFLOP/s':>9}{'MiB':>9}")
        base = None
        for group in (ours, usual, others, dense, of_axolotl, of_apple):
            try:
                for name, loss in group(x):
                    try:
                        took, peak = measure(x, loss, chosen.seconds)
                    except torch.OutOfMemoryError:
                        print(f"{name:50}  out of memory", flush=True)
                        continue
                    base = base or took
                    rate = 6 * tokens * width * vocab / took / 1e9
                    print(f"{name:50}{took:9.2f}{took / base:8.2f}{rate:9.0f}{peak:9,.0f}", flush=True)
            except Exception as error:  # others' code fails in its own ways, and the rest is still to be measured
                print(f"{group.__name__}: {type(error).__name__}: {str(error).splitlines()[:1]}", flush=True)
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
