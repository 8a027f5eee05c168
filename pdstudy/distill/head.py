"""The fused head: output projection, loss and all gradients, chunk by chunk, never tokens x vocabulary.

Every loss here is, per row of logits z, `c * logsumexp(z) - sum_j t_j z_j` with a sparse target t, so its gradient is
`c * softmax(z) - t`, which is formed in the buffer that held the logits. Distillation therefore costs what
cross-entropy costs, and data and teacher are one sparse target of K + 1 entries.

Gradients are computed in the forward and scaled in the backward: nothing is computed twice, and one chunk of logits is
all that lives at a time beside the gradients themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pdstudy.corpus.batches import IGNORED
from pdstudy.distill.signal import SparseTargets
from pdstudy.distill.targets import soft_targets
from pdstudy.objective import KD, LM

CHUNK_BYTES = 8 << 20
"""Bytes of one chunk of logits: what fits a cache is quicker at small vocabularies."""

CHUNK_ROWS = 192
"""Rows that a chunk has at least: fewer starve the matrix products at large vocabularies."""


def fused_loss(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    signal: SparseTargets | None,
    objective: LM | KD,
    alpha: float,
    divisor: float | Tensor,
    vocab: int,
    chunk_rows: int | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Sum over valid tokens of (1 - alpha) lm + alpha kd, over `divisor`; and the parts.

    `hidden` is [N, H], `weight` [V, H] (the output head), `targets` int64 [N] with `IGNORED` where nothing counts.
    Rows of the weight from `vocab` on are padding: probability 0, gradient 0. The scalar is differentiable in hidden
    and weight; `backward` may be called once. Parts are detached sums, not divided: "lm", the raw cross-entropy on
    the data in nats, and with a signal "kd". Float64 inputs stay float64; everything else is float32 inside.
    `chunk_rows` (rows of logits held at a time) changes time and memory only.
    """
    if alpha and signal is None:
        raise ValueError(f"alpha is {alpha:g}, but there is no teacher signal")
    rows = _Rows(targets, targets != IGNORED, signal, objective, alpha)
    dtype = torch.float64 if hidden.dtype == torch.float64 else torch.float32
    size = chunk_rows or max(CHUNK_ROWS, CHUNK_BYTES // (vocab * dtype.itemsize))
    with torch.autocast(hidden.device.type, enabled=False):
        loss, lm, kd = _FusedHead.apply(hidden, weight, rows, divisor, vocab, size, dtype, torch.is_grad_enabled())
    return loss, {"lm": lm} if signal is None else {"lm": lm, "kd": kd}


@dataclass(frozen=True)
class _Rows:
    """What the loss needs besides logits, for all N rows."""

    targets: Tensor
    valid: Tensor
    signal: SparseTargets | None
    objective: LM | KD
    alpha: float

    def __call__(self, logits: Tensor, rows: slice, scale: Tensor | None) -> tuple[Tensor, Tensor]:
        """Loss sums (lm, kd) of a chunk; with a scale, turns `logits` into the scaled gradient in place."""
        valid = self.valid[rows].to(logits.dtype)
        gold = self.targets[rows].clamp(min=0)[:, None]  # any id will do where the target is ignored
        gold_logits = logits.gather(1, gold)
        if self.signal is not None:
            assert isinstance(self.objective, KD)
            part = self.signal.rows(rows)
            soft = soft_targets(part, self.objective.temperature, logits.dtype)
            soft_logits = logits.gather(1, part.ids)
        top = logits.amax(1, keepdim=True)
        total = logits.sub_(top).exp_().sum(1, keepdim=True)
        normaliser = top + total.log()
        lm = ((normaliser - gold_logits)[:, 0] * valid).sum(dtype=torch.float64)
        kd = torch.zeros_like(lm)
        if self.signal is not None:
            kd = ((soft * (normaliser - soft_logits)).sum(1) * valid).sum(dtype=torch.float64)
        if scale is not None:
            share = (valid * scale)[:, None]
            logits.mul_(share / total)
            logits.scatter_add_(1, gold, share * -(1 - self.alpha))
            if self.signal is not None:
                logits.scatter_add_(1, part.ids, soft * (share * -self.alpha))
        return lm, kd


class _FusedHead(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        rows: _Rows,
        divisor: float | Tensor,
        vocab: int,
        size: int,
        dtype: torch.dtype,
        grad_enabled: bool,  # under no_grad, needs_input_grad is still true
    ) -> tuple[Tensor, Tensor, Tensor]:
        of_hidden, of_weight = (grad_enabled and needed for needed in ctx.needs_input_grad[:2])
        scale = torch.as_tensor(1 / divisor, dtype=dtype, device=hidden.device)
        table = weight[:vocab].to(dtype)
        grad_hidden = torch.empty_like(hidden, dtype=dtype) if of_hidden else None
        grad_weight = torch.zeros_like(weight, dtype=dtype) if of_weight else None
        sums = torch.zeros(2, dtype=torch.float64, device=hidden.device)
        buffer = torch.empty(min(size, len(hidden)), vocab, dtype=dtype, device=hidden.device)
        for start in range(0, len(hidden), size):
            part = slice(start, min(start + size, len(hidden)))
            states = hidden[part].to(dtype)
            logits = torch.mm(states, table.t(), out=buffer[: len(states)])
            sums += torch.stack(rows(logits, part, scale if of_hidden or of_weight else None))
            if grad_hidden is not None:
                torch.mm(logits, table, out=grad_hidden[part])
            if grad_weight is not None:
                grad_weight[:vocab].addmm_(logits.t(), states)
        ctx.grads = (
            None if grad_hidden is None else grad_hidden.to(hidden.dtype),
            None if grad_weight is None else grad_weight.to(weight.dtype),
        )
        lm, kd = sums[0].clone(), sums[1].clone()
        ctx.mark_non_differentiable(lm, kd)
        loss = ((1 - rows.alpha) * lm + rows.alpha * kd) / divisor
        return loss.to(dtype), lm, kd

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, ...]:
        # Scaled in place and given away: a second copy of the weight's gradient would double the head's memory.
        grads, ctx.grads = ctx.grads, None
        if grads is None:
            raise RuntimeError("the fused head's gradients were used already; call backward once per loss")
        scaled = tuple(None if g is None else g.mul_(grad_outputs[0]) for g in grads)
        return (*scaled, None, None, None, None, None, None)
