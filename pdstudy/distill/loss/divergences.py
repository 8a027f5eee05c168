"""Formulas of the losses, each a function of a row's entries: the ids of a target and, last, everything else as one
bucket.

The bucket is exact where the target says nothing about single ids inside it, or gives them all 0. Autograd
differentiates these functions; they see [C, J] numbers, never a vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pdstudy.config.losses import (
    KLD,
    MSE,
    NLL,
    JensenShannon,
    ReverseKL,
    Single,
    SkewKL,
    SkewReverseKL,
    TotalVariation,
    ZLoss,
)


@dataclass(frozen=True)
class Entries:
    """C rows of E entries, in float64. Places where `used` is false count for nothing.

    `t`, `log_t`: the target (0 and -inf where it has no mass). `log_q`: the student's log-probabilities (finite where
    used). `scored`: the entries over which a mean is taken. `logits` and `teacher_logits` [C, J], both divided by their
    temperatures, are of the ids alone; `normaliser` [C] is the student's log-sum-exp at temperature 1.
    """

    used: Tensor
    t: Tensor
    log_t: Tensor
    log_q: Tensor
    scored: Tensor
    logits: Tensor
    teacher_logits: Tensor
    normaliser: Tensor


def row_loss(loss: Single, entries: Entries) -> Tensor:
    """The loss of each row, [C], by the formula in the docstring of the loss's class."""
    used, t, log_t, log_q = entries.used, entries.t, entries.log_t, entries.log_q
    q = log_q.exp().where(used, 0)
    if isinstance(loss, NLL):
        return -(t * log_q).sum(1)
    if isinstance(loss, KLD):
        return kl(t, log_t, log_q)
    if isinstance(loss, ReverseKL):
        return kl(q, log_q, log_t.where(used, 0))
    if isinstance(loss, JensenShannon):
        middle = _mixture(log_t, log_q, loss.beta)
        return loss.beta * kl(t, log_t, middle) + (1 - loss.beta) * _student_kl(entries, q, middle)
    if isinstance(loss, SkewKL):
        return kl(t, log_t, _mixture(log_t, log_q, loss.lam))
    if isinstance(loss, SkewReverseKL):
        return _student_kl(entries, q, _mixture(log_t, log_q, 1 - loss.lam))
    if isinstance(loss, TotalVariation):
        return 0.5 * (t - q).abs().sum(1)
    if isinstance(loss, ZLoss):
        return entries.normaliser**2
    assert isinstance(loss, MSE)
    if loss.on == "probabilities":
        return (t - q).where(entries.scored, 0).square().sum(1) / entries.scored.sum(1)
    kept = used[:, : entries.logits.shape[1]]
    return (entries.logits - entries.teacher_logits).where(kept, 0).square().sum(1) / kept.sum(1)


def kl(p: Tensor, log_p: Tensor, log_q: Tensor) -> Tensor:
    """sum p (log p - log q) of each row, with 0 log 0 = 0. All [C, E]; returns [C]."""
    return (p * (log_p - log_q).where(p > 0, 0)).sum(1)


def _student_kl(entries: Entries, q: Tensor, log_other: Tensor) -> Tensor:
    """KL from the student to a mixture that has its mass wherever the student has."""
    return (q * (entries.log_q - log_other)).where(entries.used, 0).sum(1)


def _mixture(log_t: Tensor, log_q: Tensor, share: float) -> Tensor:
    """log(share t + (1 - share) q)."""
    return torch.logaddexp(log_t + math.log(share), log_q + math.log1p(-share))
