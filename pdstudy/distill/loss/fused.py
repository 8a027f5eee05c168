"""The fused head: output projection, loss and all gradients, chunk by chunk, never tokens x vocabulary.

Gradients are computed in the forward, in the buffer that held the logits, and scaled in the backward: nothing is
computed twice, and one chunk of logits is all that lives at a time beside the gradients themselves. Distillation by a
loss that is linear in the student's log-probabilities costs what cross-entropy costs (`linear`); others take a few
passes more (`events`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from pdstudy.config.losses import WTTM, NormKD
from pdstudy.config.run import KD, LM
from pdstudy.config.truncation import Sampled
from pdstudy.corpus.batch import IGNORED
from pdstudy.distill.loss.bucketed import BucketedLoss
from pdstudy.distill.loss.chunk_size import choose_chunk_rows
from pdstudy.distill.loss.linear import LinearLoss, is_linear
from pdstudy.distill.loss.matmul import choose_matmul
from pdstudy.distill.loss.token_weights import token_share
from pdstudy.distill.signal import Signal, SparseTargets


class ChunkLoss(Protocol):
    """The losses of a chunk of C rows."""

    def __call__(
        self,
        logits: Tensor,
        gold: Tensor,
        signal: SparseTargets | None,
        lm_share: Tensor,
        kd_share: Tensor,
        gradients: bool,
    ) -> tuple[Tensor, Tensor]:
        """(lm, kd) of each row, [C], from `logits` [C, vocab], which is overwritten.

        With `gradients` it becomes the gradient of sum(lm_share * lm + kd_share * kd). Shares are [C]; `gold`, int64
        [C], holds valid ids.
        """

    def beside(self, vocab: int, kept: int, dtype: torch.dtype) -> int:
        """Bytes at most that a row takes beside its logits, where the teacher keeps `kept` entries of it."""


def fused_loss(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    signal: Signal | None,
    objective: LM | KD,
    alpha: float,
    divisor: float,
    vocab: int,
    chunk_rows: int | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Sum over valid tokens of (1 - alpha) lm + alpha kd, over `divisor`; and the parts.

    `hidden` is [N, H], `weight` [V, H] (the output head), `targets` int64 [N] with `IGNORED` where nothing counts.
    Rows of the weight from `vocab` on are padding: probability 0, gradient 0. The scalar is differentiable in hidden
    and weight; `backward` may be called once. Parts are detached sums, not divided: "lm", the raw cross-entropy on
    the data in nats, and with a signal "kd". Float64 inputs stay float64; everything else is float32 inside
    (`pdstudy.distill.loss.matmul` on what bfloat16 does on a CUDA device).
    `chunk_rows` (rows of logits held at a time) changes time and memory only.
    """
    if alpha and signal is None:
        raise ValueError(f"alpha is {alpha:g}, but there is no teacher signal")
    dtype = torch.float64 if hidden.dtype == torch.float64 else torch.float32
    work = _LossInputs(targets, signal, objective, alpha, divisor, vocab, dtype)
    with torch.autocast(hidden.device.type, enabled=False):
        loss, lm, kd = _FusedLoss.apply(hidden, weight, work, chunk_rows, torch.is_grad_enabled())
    return loss, {"lm": lm} if signal is None else {"lm": lm, "kd": kd}


@dataclass(frozen=True)
class _LossInputs:
    """What the loss needs besides hidden states and weight, for all N rows."""

    targets: Tensor
    signal: Signal | None
    objective: LM | KD
    alpha: float
    divisor: float
    vocab: int
    dtype: torch.dtype

    def sums(self, logits: Tensor, part: slice, rows: ChunkLoss, gradients: bool) -> Tensor:
        """Sums (loss, lm, kd) of a chunk, float64 [3]; with `gradients`, `logits` becomes the gradient of the loss."""
        valid = (self.targets[part] != IGNORED).to(self.dtype)
        gold = self.targets[part].clamp(min=0)  # any id will do where the target is ignored
        signal = None if self.signal is None else self.signal.rows(part)
        alpha = valid * self.alpha
        if signal is not None and isinstance(self.objective, KD):
            alpha = alpha * token_share(self.objective.tokens, signal, self.dtype)
        scale = 1 / self.divisor
        lm, kd = rows(logits, gold, signal, (valid - alpha) * scale, alpha * scale, gradients)
        values = torch.stack([((valid - alpha) * lm + alpha * kd) * scale, valid * lm, valid * kd])
        return values.sum(1, dtype=torch.float64)


def _is_bounded(objective: LM | KD) -> bool:
    """Whether the gradient of a token's loss is of the size of the loss's own weights: neither a factor nor a draw's
    weight can be thousands."""
    if isinstance(objective, LM):
        return True
    temperature, truncation = objective.temperature, objective.truncation
    weighted = isinstance(temperature, NormKD) or (isinstance(temperature, WTTM) and temperature.weighted)
    return not weighted and not (isinstance(truncation, Sampled) and truncation.exponent != 1)


class _FusedLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        work: _LossInputs,
        chunk_rows: int | None,
        grad_enabled: bool,  # under no_grad, needs_input_grad is still true
    ) -> tuple[Tensor, Tensor, Tensor]:
        dtype, vocab = work.dtype, work.vocab
        of_hidden, of_weight = (grad_enabled and needed for needed in ctx.needs_input_grad[:2])
        objective = work.objective
        rows: ChunkLoss
        if isinstance(objective, LM) or is_linear(objective):
            rows = LinearLoss(objective)
        else:
            rows = BucketedLoss(objective)
        kept = 0 if work.signal is None else work.signal.width
        chosen, wanted = choose_matmul(hidden, weight), (of_hidden, of_weight)
        beside = rows.beside(vocab, kept, dtype) + chosen.BESIDE * vocab
        size = chunk_rows or choose_chunk_rows(vocab, dtype, hidden.device, beside)
        products = chosen(hidden, weight, vocab, size, dtype, wanted, work.divisor, _is_bounded(objective))
        sums = torch.zeros(3, dtype=torch.float64, device=hidden.device)
        for start in range(0, len(hidden), size):
            part = slice(start, min(start + size, len(hidden)))
            logits = products.logits(part)
            sums += work.sums(logits, part, rows, any(wanted))
            if any(wanted):
                products.add(part, logits)
        ctx.grads = (
            None if products.of_hidden is None else products.of_hidden.to(hidden.dtype),
            None if products.of_weight is None else products.of_weight.to(weight.dtype),
        )
        ctx.scale = products.scale
        loss, lm, kd = sums[0].to(dtype), sums[1].clone(), sums[2].clone()
        ctx.mark_non_differentiable(lm, kd)
        return loss, lm, kd

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, ...]:
        # Scaled in place and given away: a second copy of the weight's gradient would double the head's memory.
        grads, ctx.grads = ctx.grads, None
        if grads is None:
            raise RuntimeError("the fused head's gradients were used already; call backward once per loss")
        factor = grad_outputs[0] / ctx.scale
        scaled = tuple(None if g is None else g.mul_(factor) for g in grads)
        return (*scaled, None, None, None)
