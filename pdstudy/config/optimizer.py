"""The optimiser, and the learning rate over training."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

from pdstudy.config.alpha import decayed
from pdstudy.core.identity import declared, neutral
from pdstudy.core.validation import Problem


@declared
class AdamW:
    """AdamW with decoupled weight decay on matrices alone. `lr` is the peak rate, `clip` the largest gradient norm."""

    lr: float
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.1
    clip: float = 1.0

    def check(self) -> Iterator[Problem]:
        if self.lr <= 0:
            yield Problem("lr", self.lr, "above 0")
        for i, beta in enumerate(self.betas):
            if not 0 <= beta < 1:
                yield Problem(f"betas[{i}]", beta, "0 <= beta < 1")
        if self.eps <= 0:
            yield Problem("eps", self.eps, "above 0")
        if self.clip <= 0:
            yield Problem("clip", self.clip, "above 0")
        if self.weight_decay < 0:
            yield Problem("weight_decay", self.weight_decay, "0 or more")


@declared
class Cosine:
    """Linear warm-up over `warmup_tokens`, then a half cosine down to `final` times the peak at the run's end."""

    warmup_tokens: int
    final: float = 0.1

    def check(self) -> Iterator[Problem]:
        if self.warmup_tokens < 0:
            yield Problem("warmup_tokens", self.warmup_tokens, "0 or more")
        if not 0 <= self.final <= 1:
            yield Problem("final", self.final, "0 to 1 (a share of the peak)")

    def misfits(self, total: int) -> Iterator[Problem]:
        """Problems with a run of `total` tokens."""
        if self.warmup_tokens > total:
            yield Problem("schedule.warmup_tokens", self.warmup_tokens, f"at most the run's {total} tokens")

    def factor(self, tokens: float, total: int) -> float:
        """Learning rate over its peak, after `tokens` of `total`. A step takes it at the middle of its own tokens."""
        if tokens < self.warmup_tokens:
            return tokens / self.warmup_tokens
        done = (tokens - self.warmup_tokens) / max(1, total - self.warmup_tokens)
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


@declared
class WSD:
    """Warm-up, stable, decay: constant until `decay_tokens` before the end, then down to `final` times the peak.

    With u the share of the decay that is done and h(u) its shape, the rate over its peak is final + (1 - final) h(u),
    where h is 1 - u, half a cosine, 1 - sqrt(u) or 0.5^(10 u), the same as those of `WSDMix`. 1 - sqrt is the best of
    the shapes compared by Haegele et al. 2024 (arXiv 2405.18392). Exponential is MiniCPM's 0.5^(s / T) (arXiv
    2404.06395) with a half-life T of a tenth of the decay: h ends at 1/1024, the others at 0. Megatron-LM's shape of
    that name, 2 x 0.5^u - 1, is another. nanochat decays linearly to `final` = 0.05.
    """

    warmup_tokens: int
    decay_tokens: int
    shape: Literal["linear", "cosine", "1-sqrt", "exponential"] = "1-sqrt"
    final: float = neutral(0.0)

    def check(self) -> Iterator[Problem]:
        for name in ("warmup_tokens", "decay_tokens"):
            if getattr(self, name) < 0:
                yield Problem(name, getattr(self, name), "0 or more")
        if not 0 <= self.final <= 1:
            yield Problem("final", self.final, "0 to 1 (a share of the peak)")

    def misfits(self, total: int) -> Iterator[Problem]:
        """Problems with a run of `total` tokens: the rate would fall off a cliff where warm-up and decay overlap."""
        if self.warmup_tokens > total:
            yield Problem("schedule.warmup_tokens", self.warmup_tokens, f"at most the run's {total} tokens")
        elif self.warmup_tokens + self.decay_tokens > total:
            left = f"at most {total - self.warmup_tokens}, what the warm-up leaves of the run's {total}"
            yield Problem("schedule.decay_tokens", self.decay_tokens, left)

    def factor(self, tokens: float, total: int) -> float:
        """Learning rate over its peak, after `tokens` of `total`. A step takes it at the middle of its own tokens."""
        if tokens < self.warmup_tokens:
            return tokens / self.warmup_tokens
        start = total - self.decay_tokens
        if tokens < start or self.decay_tokens == 0:
            return 1.0
        return self.final + (1 - self.final) * decayed(self.shape, (tokens - start) / self.decay_tokens)


Schedule = Cosine | WSD
