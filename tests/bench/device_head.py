"""The fused head against a compiled cross-entropy on bfloat16 logits: milliseconds and memory, by rows of a chunk.

`bench_head_gpu` has all objectives and the kernels of others; this is what a change of the kernels is judged by.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from pdstudy.config.losses import KLD, Tail
from pdstudy.config.run import KD, LM, Pretrained
from pdstudy.distill.loss.fused import fused_loss
from pdstudy.distill.signal import SparseTargets
from tests.bench.device_setting import DEVICE, SMALL, rate, say

TOKENS, WIDTH, VOCAB = (512, 64, 2_048) if SMALL else (8_192, 2_048, 128_256)
ROWS = (None, 128, 256) if SMALL else (None, 1_024, 2_048, 4_096)
"""Rows of a chunk; None leaves the choice to the loss."""
KEPT = 50
STEPS = 3 if SMALL else 10


def compiled_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy((hidden @ weight.T).float(), targets)


def peak_bytes(step: Callable[[], object]) -> int | None:
    """Bytes that a step holds at most beside what is there before."""
    if DEVICE.type != "cuda":
        return None
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    step()
    return torch.cuda.max_memory_allocated() - before


def main() -> None:
    torch.manual_seed(0)
    hidden = torch.randn(TOKENS, WIDTH, device=DEVICE).bfloat16().requires_grad_()
    weight = (torch.randn(VOCAB, WIDTH, device=DEVICE) * WIDTH**-0.5).bfloat16().requires_grad_()
    targets = torch.randint(VOCAB, (TOKENS,), device=DEVICE)
    ids = torch.rand(TOKENS, VOCAB // 16, device=DEVICE).topk(KEPT, dim=1).indices * 16
    log_probs = torch.log_softmax(torch.randn(TOKENS, KEPT, device=DEVICE), 1) - 0.1
    signal = SparseTargets(ids, log_probs, *torch.rand(5, TOKENS, device=DEVICE))
    teacher = Pretrained(path="unread")
    objectives: dict[str, LM | KD] = {
        "LM": LM(),
        "KD": KD(teacher=teacher),
        "tail": KD(teacher=teacher, rest=Tail(), loss=KLD()),
    }
    rows: list[dict[str, object]] = []

    def measure(name: str, size: int | None, loss: Callable[[], Tensor]) -> None:
        def step() -> None:
            hidden.grad = weight.grad = None
            loss().backward()

        milliseconds = 1000 * TOKENS / rate(step, TOKENS, STEPS)
        hidden.grad = weight.grad = None
        rows.append({"loss": name, "rows": size, "ms": milliseconds, "bytes": peak_bytes(step)})
        say({"tokens": TOKENS, "width": WIDTH, "vocab": VOCAB, "head": rows})

    compiled = compiled_cross_entropy if SMALL else torch.compile(compiled_cross_entropy)
    measure("compiled cross-entropy", None, lambda: compiled(hidden, weight, targets))
    for size in ROWS:
        for name, objective in objectives.items():
            known, alpha = (None, 0.0) if isinstance(objective, LM) else (signal, 0.9)
            arguments = (hidden, weight, targets, known, objective, alpha, float(TOKENS), VOCAB, size)
            measure(name, size, lambda arguments=arguments: fused_loss(*arguments)[0])  # type: ignore[misc]
    measure("compiled cross-entropy", None, lambda: compiled(hidden, weight, targets))


if __name__ == "__main__":
    main()
