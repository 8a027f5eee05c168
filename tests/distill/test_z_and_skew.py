"""The z-loss of a run, and the skewed divergences of DistiLLM, against dense formulas in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pdstudy.config.losses import KLD, JensenShannon, SkewKL, SkewReverseKL, Tail, Temperature
from pdstudy.config.run import KD, LM, Pretrained
from pdstudy.distill.loss.fused import fused_loss
from tests.distill.dense import kd_rows, signal_of, support

TEACHER = Pretrained(path="unread")
N, WIDTH, VOCAB, PADDING = 12, 8, 50, 3
Z = 0.03


def case() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """hidden, weight (with rows of padding), teacher logits, targets (one ignored); float64."""
    generator = torch.Generator().manual_seed(3)
    hidden = torch.randn(N, WIDTH, generator=generator, dtype=torch.float64)
    weight = torch.randn(VOCAB + PADDING, WIDTH, generator=generator, dtype=torch.float64)
    teacher = 2 * torch.randn(N, VOCAB, generator=generator, dtype=torch.float64)
    targets = torch.randint(VOCAB, (N,), generator=generator)
    targets[4] = -100
    return hidden.requires_grad_(), weight.requires_grad_(), teacher, targets


@pytest.mark.parametrize(
    "objective",
    [
        LM(),
        KD(teacher=TEACHER),
        KD(teacher=TEACHER, rest=Tail(), loss=KLD()),
        KD(teacher=TEACHER, loss=JensenShannon(), temperature=Temperature(tau=2.0, both=True)),
    ],
    ids=("lm", "linear", "bucketed", "with the student's temperature"),
)
def test_the_z_loss_is_added_whatever_the_objective(objective: LM | KD) -> None:
    hidden, weight, teacher, targets = case()
    gold, valid = targets.clamp(min=0), targets >= 0
    mask = support(teacher, 0.9, 10)
    logits = hidden @ weight[:VOCAB].T
    rows = -torch.log_softmax(logits, 1).gather(1, gold[:, None])[:, 0]
    alpha = 0.0
    signal = None
    if isinstance(objective, KD):
        alpha, signal = 0.7, signal_of(teacher, mask, gold, (2.0,), torch.float64)
        rows = (1 - alpha) * rows + alpha * kd_rows(logits, teacher, mask, gold, objective)
    want = ((rows + Z * logits.logsumexp(1) ** 2) * valid).sum() / 5
    got, parts = fused_loss(hidden, weight, targets, signal, objective, alpha, 5.0, VOCAB, chunk_rows=5, z_loss=Z)
    assert got.item() == pytest.approx(want.item(), rel=1e-14)
    for mine, theirs in zip(torch.autograd.grad(got, (hidden, weight)), torch.autograd.grad(want, (hidden, weight))):
        assert (mine - theirs).norm() < 1e-13 * theirs.norm()
    _, without = fused_loss(hidden, weight, targets, signal, objective, alpha, 5.0, VOCAB, chunk_rows=5)
    assert {name: value.item() for name, value in parts.items()} == {n: v.item() for n, v in without.items()}


@pytest.mark.parametrize("lam", [0.1, 0.6])
def test_skewed_divergences_are_those_of_distillm(lam: float) -> None:
    """jongwooko/distillm at 17c0f98: sums over the vocabulary of probabilities times logarithms of mixtures."""
    hidden, weight, teacher, targets = case()
    valid = targets >= 0
    p, q = torch.softmax(teacher, 1), torch.softmax(hidden @ weight[:VOCAB].T, 1)
    entropy = (p * p.log()).sum(1)
    forward = entropy - (p * (lam * p + (1 - lam) * q).log()).sum(1)
    reverse = -(q * ((1 - lam) * p + lam * q).log() - q * q.log()).sum(1)
    whole = torch.ones_like(teacher, dtype=torch.bool)
    signal = signal_of(teacher, whole, targets.clamp(min=0), (), torch.float64)
    for loss, rows in ((SkewKL(lam=lam), forward), (SkewReverseKL(lam=lam), reverse)):
        want = (rows * valid).sum() / valid.sum()
        kd = KD(teacher=TEACHER, loss=loss)
        got, _ = fused_loss(hidden, weight, targets, signal, kd, 1.0, float(valid.sum()), VOCAB)
        assert got.item() == pytest.approx(want.item(), rel=1e-14)
        for mine, theirs in zip(
            torch.autograd.grad(got, (hidden, weight)), torch.autograd.grad(want, (hidden, weight), retain_graph=True)
        ):
            assert (mine - theirs).norm() < 1e-13 * theirs.norm()
