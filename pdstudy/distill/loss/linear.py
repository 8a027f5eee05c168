"""Losses that are linear in the student's log-probabilities: one sparse target, one pass over the logits.

The loss of a row is `c * logsumexp(z) - sum_j t_j z_j + constant`, so its gradient is `c * softmax(z) - t`, formed in
the buffer that held the logits; data and teacher are one target of K + 1 entries. It costs what cross-entropy costs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pdstudy.config.losses import (
    KLD,
    NLL,
    WTTM,
    Adaptive,
    OntoGold,
    Plain,
    Renormalise,
    Smooth,
    Temperature,
    ZLoss,
    terms,
)
from pdstudy.config.run import KD, LM
from pdstudy.distill.loss.narrow import NarrowGradient
from pdstudy.distill.loss.softmax import RowSoftmax
from pdstudy.distill.loss.targets import make_target
from pdstudy.distill.signal import SparseTargets


def is_linear(objective: KD) -> bool:
    """Whether the student enters at temperature 1, over the whole vocabulary, and in a logarithm alone."""
    student_at_one = isinstance(objective.temperature, WTTM | Adaptive) or (
        isinstance(objective.temperature, Temperature)
        and (objective.temperature.tau == 1 or not objective.temperature.both)
    )
    return (
        student_at_one
        and isinstance(objective.rest, Renormalise | OntoGold | Plain | Smooth)
        and all(isinstance(term, NLL | KLD | ZLoss) for _, term in terms(objective.loss))
    )


@dataclass(frozen=True)
class _SparseTarget:
    """A row's loss as `mass * s + square * s^2 - sum_j soft_j z_(ids_j) - flat * sum_v z_v + constant`, where s is the
    log-sum-exp of its logits z; all over C rows."""

    ids: Tensor
    soft: Tensor
    flat: Tensor | None
    mass: Tensor
    square: Tensor
    constant: Tensor


def _make_sparse_target(
    objective: KD, signal: SparseTargets, gold: Tensor, dtype: torch.dtype, vocab: int
) -> _SparseTarget:
    target = make_target(signal, gold, objective.rest, objective.temperature, dtype)
    losses = terms(objective.loss)
    # KLD is NLL and a constant: the teacher's entropy.
    weight = target.scale * sum(weight for weight, loss in losses if not isinstance(loss, ZLoss))
    entropy_weight = target.scale * sum(weight for weight, loss in losses if isinstance(loss, KLD))
    constant = (target.probs * target.log_probs.where(target.probs > 0, 0)).sum(1)
    soft = target.probs * weight[:, None]
    flat = None
    if isinstance(objective.rest, Smooth):
        outside = (vocab - target.used.sum(1)).clamp(min=1)
        constant = constant + torch.xlogy(target.rest, target.rest / outside)
        flat = weight * target.rest / outside
        soft = (soft - flat[:, None]).where(target.used, 0)
    square = target.scale * sum(weight for weight, loss in losses if isinstance(loss, ZLoss))
    mass = weight * (target.probs.sum(1) + target.rest)
    return _SparseTarget(target.ids, soft, flat, mass, square, entropy_weight * constant)


@dataclass(frozen=True)
class LinearLoss:
    """A linear loss, as `pdstudy.distill.loss.capped.ChunkLoss` describes it."""

    objective: LM | KD

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
        lm = -logits.gather(1, gold[:, None])[:, 0]
        kd = torch.zeros_like(lm)
        sparse = None
        if signal is not None:
            assert isinstance(self.objective, KD)
            sparse = _make_sparse_target(self.objective, signal, gold, logits.dtype, logits.shape[1])
            kd = sparse.constant - (sparse.soft * logits.gather(1, sparse.ids)).sum(1)
            if sparse.flat is not None:
                kd -= sparse.flat * logits.sum(1)
        softmax = RowSoftmax(logits)
        normaliser = softmax.log_sum
        lm += normaliser
        if gradients:
            share = lm_share + 2 * z_share * normaliser
            if sparse is not None:
                share = share + kd_share * (sparse.mass + 2 * sparse.square * normaliser)
            entries = [(gold[:, None], -lm_share[:, None])]
            shift = None
            if sparse is not None:
                entries.append((sparse.ids, sparse.soft * -kd_share[:, None]))
                shift = None if sparse.flat is None else sparse.flat * -kd_share
            softmax.gradient(share, entries, shift, narrow)
        if sparse is not None:
            kd += (sparse.mass + sparse.square * normaliser) * normaliser
        return lm, kd, normaliser

    def extra_bytes(self, vocab: int, kept: int, dtype: torch.dtype) -> int:
        return 6 * dtype.itemsize * kept  # up to six arrays of [C, K] at a time
