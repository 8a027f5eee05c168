"""The fused loss: output head, loss and all gradients, chunk by chunk, never tokens x vocabulary.

Gradients are computed in the forward pass, in the buffer that held the logits, and scaled in the backward pass: nothing
is computed twice, and one chunk of logits is all that lives at a time beside the gradients themselves. Distillation by
a loss that is linear in the student's log-probabilities costs what cross-entropy costs (`linear`); other losses go over
the logits a few times more (`bucketed`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pdstudy.config.losses import WTTM, NormKD
from pdstudy.config.run import KD, LM
from pdstudy.config.truncation import Sampled
from pdstudy.corpus.batch import IGNORED
from pdstudy.distill.loss.bucketed import BucketedLoss
from pdstudy.distill.loss.capped import CappedLoss, ChunkLoss
from pdstudy.distill.loss.chunk_size import choose_chunk_rows
from pdstudy.distill.loss.linear import LinearLoss, is_linear
from pdstudy.distill.loss.matmul import choose_matmul
from pdstudy.distill.loss.narrow import NarrowGradient
from pdstudy.distill.loss.token_weights import token_share
from pdstudy.distill.signal import Signal


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
    z_loss: float = 0.0,
    cap: float | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Compute the sum over valid tokens of (1 - alpha) lm + alpha kd + z_loss s^2, over `divisor`; and its parts.

    s is the log-sum-exp of a token's logits.

    `hidden` is [N, H], `weight` [V, H] (the output head), `targets` int64 [N] with `IGNORED` where nothing counts.
    Rows of the weight from `vocab` on are padding: probability 0, gradient 0. The scalar is differentiable in hidden
    and weight; `backward` may be called once. Parts are detached sums, not divided: "lm", the cross-entropy on the
    data in nats, and with a signal "kd". Float64 inputs stay float64; everything else is float32 inside
    (`pdstudy.distill.loss.matmul` says how bfloat16 is multiplied on a CUDA device). `chunk_rows` (rows of logits held
    at a time) changes time and memory only. `cap` is the soft cap of the logits.
    """
    if alpha and signal is None:
        raise ValueError(f"alpha is {alpha:g}, but there is no teacher signal")
    dtype = torch.float64 if hidden.dtype == torch.float64 else torch.float32
    inputs = _LossInputs(targets, signal, objective, alpha, divisor, vocab, dtype, z_loss)
    with torch.autocast(hidden.device.type, enabled=False):
        loss, lm, kd = _FusedLoss.apply(hidden, weight, inputs, chunk_rows, cap, torch.is_grad_enabled())
    return loss, {"lm": lm} if signal is None else {"lm": lm, "kd": kd}


@dataclass(frozen=True)
class _LossInputs:
    """All that the loss of N rows needs besides hidden states and weight."""

    targets: Tensor
    signal: Signal | None
    objective: LM | KD
    alpha: float
    divisor: float
    vocab: int
    dtype: torch.dtype
    z_loss: float

    def sum_chunk(
        self, logits: Tensor, part: slice, chunk_loss: ChunkLoss, gradients: bool, narrow: NarrowGradient | None
    ) -> Tensor:
        """Sum (loss, lm, kd) over a chunk, float64 [3]; with `gradients`, `logits` becomes the gradient of the loss, or
        `narrow` does."""
        valid = (self.targets[part] != IGNORED).to(self.dtype)
        gold = self.targets[part].clamp(min=0)  # any id will do where the target is ignored
        signal = None if self.signal is None else self.signal.rows(part)
        alpha = valid * self.alpha
        if signal is not None and isinstance(self.objective, KD):
            alpha = alpha * token_share(self.objective.tokens, signal, self.dtype)
        scale = 1 / self.divisor
        z_share = valid * (self.z_loss * scale)
        shares = (valid - alpha) * scale, alpha * scale, z_share
        lm, kd, log_sum = chunk_loss(logits, gold, signal, *shares, gradients, narrow)
        loss = ((valid - alpha) * lm + alpha * kd) * scale + z_share * log_sum.square()
        values = torch.stack([loss, valid * lm, valid * kd])
        return values.sum(1, dtype=torch.float64)


def _is_bounded(objective: LM | KD) -> bool:
    """Whether the gradient of a token's loss is of the size of the loss's own weights: no factor of a row and no weight
    of a draw can be in the thousands."""
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
        inputs: _LossInputs,
        chunk_rows: int | None,
        cap: float | None,
        grad_enabled: bool,  # under no_grad, needs_input_grad is still true
    ) -> tuple[Tensor, Tensor, Tensor]:
        dtype, vocab, objective = inputs.dtype, inputs.vocab, inputs.objective
        wanted = grad_enabled and ctx.needs_input_grad[0], grad_enabled and ctx.needs_input_grad[1]
        chunk_loss: ChunkLoss
        if isinstance(objective, LM) or is_linear(objective):
            chunk_loss = LinearLoss(objective)
        else:
            chunk_loss = BucketedLoss(objective)
        if cap is not None:
            chunk_loss = CappedLoss(chunk_loss, cap)
        kept = 0 if inputs.signal is None else inputs.signal.width
        matmul_type = choose_matmul(hidden, weight)
        extra = chunk_loss.extra_bytes(vocab, kept, dtype) + matmul_type.EXTRA_BYTES * vocab
        size = chunk_rows or choose_chunk_rows(vocab, dtype, hidden.device, extra)
        matmul = matmul_type(hidden, weight, vocab, size, dtype, wanted, inputs.divisor, _is_bounded(objective))
        sums = torch.zeros(3, dtype=torch.float64, device=hidden.device)
        for start in range(0, len(hidden), size):
            part = slice(start, min(start + size, len(hidden)))
            logits = matmul.logits(part)
            narrow = matmul.narrow(part)
            sums += inputs.sum_chunk(logits, part, chunk_loss, any(wanted), narrow)
            if any(wanted):
                matmul.add(part, logits if narrow is None else narrow.buffer)
        ctx.grads = (
            None if matmul.hidden_gradient is None else matmul.hidden_gradient.to(hidden.dtype),
            None if matmul.weight_gradient is None else matmul.weight_gradient.to(weight.dtype),
        )
        ctx.scale = matmul.scale
        loss, lm, kd = sums[0].to(dtype), sums[1].clone(), sums[2].clone()
        ctx.mark_non_differentiable(lm, kd)
        return loss, lm, kd

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, ...]:
        # Scaled in place and given away: a second copy of the weight's gradient would double the head's memory.
        grads, ctx.grads = ctx.grads, None
        if grads is None:
            raise RuntimeError("the fused loss's gradients were used already; call backward once per loss")
        factor = grad_outputs[0] / ctx.scale
        scaled = tuple(None if g is None else g.mul_(factor) for g in grads)
        return (*scaled, None, None, None, None)
