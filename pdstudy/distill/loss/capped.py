"""The losses of a chunk of logits, as all of them are called, and any of them on logits within a soft cap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pdstudy.distill.loss.narrow import NarrowGradient
from pdstudy.distill.signal import SparseTargets


def soft_capped(logits: Tensor, cap: float | None) -> Tensor:
    """Logits within a soft cap, in place; as they are where there is none."""
    return logits if cap is None else logits.div_(cap).tanh_().mul_(cap)


class ChunkLoss(Protocol):
    """The losses of a chunk of C rows (positions), and their gradient."""

    def __call__(
        self,
        logits: Tensor,
        gold: Tensor,
        signal: SparseTargets | None,
        lm_share: Tensor,
        kd_share: Tensor,
        z_share: Tensor,
        gradients: bool,
        narrow: NarrowGradient | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute lm, kd and the log-sum-exp s of each row, [C], from `logits` [C, vocab], which is overwritten.

        With `gradients` it becomes the gradient of sum(lm_share * lm + kd_share * kd + z_share * s^2), or `narrow` does
        where that is given. Shares are [C]; `gold`, int64 [C], holds valid ids.
        """

    def extra_bytes(self, vocab: int, kept: int, dtype: torch.dtype) -> int:
        """Bytes at most that a row takes beside its logits, where the teacher keeps `kept` entries of it."""


@dataclass(frozen=True)
class CappedLoss:
    """A loss of cap * tanh(logits / cap), as Gemma-2 has them, and its gradient with respect to the logits.

    The slope 1 - tanh^2 takes a second buffer.
    """

    loss: ChunkLoss
    cap: float

    def __call__(
        self,
        logits: Tensor,
        gold: Tensor,
        signal: SparseTargets | None,
        lm_share: Tensor,
        kd_share: Tensor,
        z_share: Tensor,
        gradients: bool,
        narrow: NarrowGradient | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        logits.div_(self.cap).tanh_()
        slope = torch.square(logits).neg_().add_(1) if gradients else None
        logits.mul_(self.cap)
        found = self.loss(logits, gold, signal, lm_share, kd_share, z_share, gradients)
        if slope is not None:
            logits.mul_(slope)
            if narrow is not None:
                narrow.fill(logits)
        return found

    def extra_bytes(self, vocab: int, kept: int, dtype: torch.dtype) -> int:
        return vocab * dtype.itemsize + self.loss.extra_bytes(vocab, kept, dtype)
