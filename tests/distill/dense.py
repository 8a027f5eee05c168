"""Every rest, temperature and loss over the whole vocabulary, in float64, from the formulas in the docstrings.

Written to be read, not to be quick, and without a line of the code under test. Distributions are dense [N, V + 1]: the
last place is the bucket of a rule that has one. Gradients come from autograd over tokens x vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pdstudy.config.losses import (  # fmt: skip
    KLD,
    MSE,
    NLL,
    WTTM,
    Adaptive,
    Decoupled,
    JensenShannon,
    NormKD,
    OntoGold,
    Plain,
    RenormaliseBoth,
    ReverseKL,
    SkewKL,
    SkewReverseKL,
    Smooth,
    Tail,
    Temperature,
    TotalVariation,
    ZLoss,
    terms,
)
from pdstudy.config.run import KD
from pdstudy.distill.signal import SparseTargets
from tests.distill.reference import kept_ids


def support(teacher: Tensor, p: float, k: int | None) -> Tensor:
    """bool [N, V]: the kept ids of teacher logits [N, V]."""
    mask = torch.zeros_like(teacher, dtype=torch.bool)
    for i, row in enumerate(torch.log_softmax(teacher, 1)):
        mask[i, kept_ids(row.tolist(), p, k)] = True
    return mask


def signal_of(
    teacher: Tensor, mask: Tensor, gold: Tensor, taus: tuple[float, ...], dtype: torch.dtype
) -> SparseTargets:
    """What a store knows of float64 teacher logits [N, V] that keeps `mask`."""
    log_p = torch.log_softmax(teacher, 1)
    p = log_p.exp()
    tempered = torch.stack([(p ** (1 / tau)).masked_fill(mask, 0).sum(1) for tau in (1.0, *taus)], 1)
    width = int(mask.sum(1).max())
    log_probs, ids = log_p.masked_fill(~mask, -torch.inf).sort(1, descending=True)
    log_probs, ids = log_probs[:, :width], ids[:, :width]
    return SparseTargets(
        ids=ids.where(log_probs > -torch.inf, 0),
        log_probs=log_probs.to(dtype),
        tail=p.masked_fill(mask, 0).sum(1).to(dtype),
        gold=log_p.gather(1, gold[:, None])[:, 0].to(dtype),
        log_normaliser=teacher.logsumexp(1).to(dtype),
        entropy=-(p * log_p).sum(1).to(dtype),
        std=teacher.std(1, correction=0).to(dtype),
        tempered=tempered[:, 1:].to(dtype),
        taus=taus,
    )


def kd_rows(student: Tensor, teacher: Tensor, mask: Tensor, gold: Tensor, kd: KD) -> Tensor:
    """L_kd of each row, [N], of student and teacher logits [N, V]."""
    p = torch.softmax(teacher, 1)
    entropy, std = -(p * p.log()).sum(1), teacher.std(1, correction=0)
    rule, temperature = kd.rest, kd.temperature
    own = torch.ones(len(p), dtype=p.dtype)
    scale = torch.ones(len(p), dtype=p.dtype)
    if isinstance(temperature, Temperature):
        theirs = torch.full_like(own, temperature.tau)
        own = theirs if temperature.both else own
        scale = theirs**2 if temperature.squared else scale
    elif isinstance(temperature, NormKD):
        theirs, own = temperature.scale * std, temperature.scale * student.std(1, correction=0)
        scale = theirs**2
    elif isinstance(temperature, WTTM):
        theirs = torch.full_like(own, temperature.tau)
        powers = p ** (1 / temperature.tau)
        if temperature.weighted:
            scale = (powers if temperature.over == "all" else powers * mask).sum(1)
    else:
        assert isinstance(temperature, Adaptive)
        seen = entropy if temperature.by == "entropy" else std
        theirs = temperature.tau * (seen / temperature.reference) ** temperature.power
        theirs = theirs.clamp(temperature.low, temperature.high)
    rows = sum(
        weight * _loss(loss, rule, student, teacher, mask, gold, own[:, None], theirs[:, None])
        for weight, loss in terms(kd.loss)
    )
    assert isinstance(rows, Tensor)
    return scale * rows


def _loss(loss, rule, student, teacher, mask, gold, own, theirs):  # type: ignore[no-untyped-def]
    count = mask.sum(1)
    if isinstance(loss, ZLoss):
        return student.logsumexp(1) ** 2
    if isinstance(loss, MSE) and loss.on == "logits":
        return (((student / own - teacher / theirs) ** 2) * mask).sum(1) / count
    if isinstance(rule, Decoupled):
        p, q = torch.softmax(teacher, 1), torch.softmax(student, 1)
        m, big_q = (p * mask).sum(1), (q * mask).sum(1)
        inside = _kl(_on(torch.softmax(teacher / theirs, 1), mask), _on(torch.softmax(student / theirs, 1), mask))
        return m * (m / big_q).log() + (1 - m) * ((1 - m) / (1 - big_q)).log() + m * inside
    powers = torch.softmax(teacher, 1) ** (1 / theirs)
    tempered = powers / powers.sum(1, keepdim=True)
    q = torch.softmax(student / own, 1)
    none = torch.zeros_like(q[:, :1])
    outside = (tempered * ~mask).sum(1, keepdim=True)
    bucket = none
    if isinstance(rule, Tail):
        t, q, bucket = tempered * mask, torch.cat([q * mask, (q * ~mask).sum(1, keepdim=True)], 1), outside
    elif isinstance(rule, Plain):
        t = tempered * mask
    elif isinstance(rule, OntoGold):
        t = (tempered * mask).scatter_add(1, gold[:, None], outside)
    elif isinstance(rule, Smooth):
        t = tempered * mask + outside / (~mask).sum(1, keepdim=True) * ~mask
    else:
        t = _on(powers, mask)
        q = _on(q, mask) if isinstance(rule, RenormaliseBoth) else q
    t = torch.cat([t, bucket], 1)
    q = q if isinstance(rule, Tail) else torch.cat([q, none], 1)
    if isinstance(loss, NLL):
        return _kl(t, q) - _kl(t, torch.ones_like(t))
    if isinstance(loss, KLD):
        return _kl(t, q)
    if isinstance(loss, ReverseKL):
        return _kl(q, t)
    if isinstance(loss, JensenShannon):
        middle = loss.beta * t + (1 - loss.beta) * q
        return loss.beta * _kl(t, middle) + (1 - loss.beta) * _kl(q, middle)
    if isinstance(loss, SkewKL):
        return _kl(t, loss.lam * t + (1 - loss.lam) * q)
    if isinstance(loss, SkewReverseKL):
        return _kl(q, (1 - loss.lam) * t + loss.lam * q)
    if isinstance(loss, TotalVariation):
        return (t - q).abs().sum(1) / 2
    assert isinstance(loss, MSE)
    scored = torch.cat([mask, torch.full_like(mask[:, :1], isinstance(rule, Tail))], 1)
    return ((t - q) ** 2 * scored).sum(1) / scored.sum(1)


def _on(x: Tensor, mask: Tensor) -> Tensor:
    return x * mask / (x * mask).sum(1, keepdim=True)


def _kl(a: Tensor, b: Tensor) -> Tensor:
    """sum a log(a / b) of each row, 0 log 0 = 0."""
    has = a > 0
    return (torch.where(has, a, 0) * (torch.where(has, a, 1) / torch.where(has, b, 1)).log()).sum(1)
