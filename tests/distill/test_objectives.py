"""Every combination that is defined against a dense float64 reference; every other is refused."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from pdstudy.config.loss_combinations import undefined
from pdstudy.config.losses import (  # fmt: skip
    KLD,
    MSE,
    NLL,
    WTTM,
    Adaptive,
    AnyTemperature,
    Decoupled,
    Divergence,
    JensenShannon,
    NormKD,
    OntoGold,
    Plain,
    Renormalise,
    RenormaliseBoth,
    Rest,
    ReverseKL,
    SkewKL,
    SkewReverseKL,
    Smooth,
    Tail,
    Temperature,
    TotalVariation,
    Weighted,
    ZLoss,
)
from pdstudy.config.run import KD, Pretrained
from pdstudy.config.truncation import Sampled
from pdstudy.core.validation import problems
from pdstudy.distill.loss.fused import fused_loss
from tests.distill.dense import kd_rows, signal_of, support

TEACHER = Pretrained(path="unread")
N, WIDTH, VOCAB, PADDING = 14, 8, 60, 3
TAUS = (0.5, 2.0, 4.0)
ALPHA, DIVISOR = 0.8, 5.0

RESTS: tuple[Rest, ...] = (Renormalise(), RenormaliseBoth(), Tail(), OntoGold(), Plain(), Smooth(), Decoupled())
TEMPERATURES: tuple[AnyTemperature, ...] = (
    Temperature(),
    *(Temperature(tau=tau, both=both, squared=both) for tau in (0.5, 2.0, 4.0) for both in (False, True)),
    Temperature(tau=2.0, squared=True),
    NormKD(scale=1.0), NormKD(scale=0.5),
    WTTM(tau=2.0), WTTM(tau=2.0, over="all"), WTTM(tau=0.5, weighted=False),
    Adaptive(by="entropy", reference=1.5), Adaptive(by="std", reference=2.5, power=-0.5, tau=1.3),
    Adaptive(by="entropy", reference=3.0, low=0.95, high=1.05),
)  # fmt: skip
LOSSES: tuple[Divergence, ...] = (
    NLL(), KLD(), ReverseKL(), JensenShannon(), JensenShannon(beta=0.2), SkewKL(), SkewReverseKL(),
    TotalVariation(), MSE(on="logits"), MSE(on="probabilities"), Weighted(terms=((0.7, NLL()), (0.4, KLD()))),
    Weighted(terms=((1.0, KLD()), (1e-2, ZLoss()))),
)  # fmt: skip


def case(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """hidden, weight, teacher logits (float64), targets (two ignored)."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*size: int) -> Tensor:
        # Exact in float32, so that both precisions see the same numbers.
        return torch.randn(*size, generator=generator).double()

    hidden, weight = normal(N, WIDTH), normal(VOCAB + PADDING, WIDTH) / 2
    teacher = (hidden @ weight[:VOCAB].T + 0.7 * normal(N, VOCAB)).float().double()
    targets = torch.where(torch.rand(N, generator=generator) < 0.5, teacher.argmax(1), torch.arange(N) * 4)
    targets[3] = targets[9] = -100
    return hidden, weight, teacher, targets


def reference(hidden: Tensor, weight: Tensor, teacher: Tensor, targets: Tensor, mask: Tensor, kd: KD) -> Tensor:
    logits = hidden @ weight[:VOCAB].T
    valid = targets != -100
    gold = targets.clamp(min=0)
    lm = -torch.log_softmax(logits, 1).gather(1, gold[:, None])[:, 0]
    return (((1 - ALPHA) * lm + ALPHA * kd_rows(logits, teacher, mask, gold, kd)) * valid).sum() / DIVISOR


def combinations() -> Iterator[tuple[Rest, AnyTemperature]]:
    for rest, temperature in itertools.product(RESTS, TEMPERATURES):
        if any(not list(undefined(rest, temperature, loss)) for loss in LOSSES):
            yield rest, temperature


def expected(rest: Rest, temperature: AnyTemperature) -> Iterator[tuple[KD, Tensor, Tensor, tuple[Tensor, ...]]]:
    """Every defined loss over two supports: the objective, the kept ids, and value and gradients for `case()`."""
    hidden, weight, teacher, targets = case()
    hidden.requires_grad_(), weight.requires_grad_()
    for (p, k), loss in itertools.product(((0.9, 12), (1.0, None)), LOSSES):
        if list(undefined(rest, temperature, loss)) or (k is None and isinstance(rest, Smooth | Tail | Decoupled)):
            continue
        kd = KD(teacher=TEACHER, rest=rest, temperature=temperature, loss=loss)
        mask = support(teacher, p, k)
        want = reference(hidden, weight, teacher, targets, mask, kd)
        yield kd, mask, want, torch.autograd.grad(want, (hidden, weight))


@pytest.mark.integration
@pytest.mark.parametrize(("rest", "temperature"), combinations(), ids=str)
def test_every_defined_loss_matches_the_dense_reference(rest: Rest, temperature: AnyTemperature) -> None:
    hidden, weight, teacher, targets = case()
    for kd, mask, want, want_grads in expected(rest, temperature):
        for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-6)):
            signal = signal_of(teacher, mask, targets.clamp(min=0), TAUS, dtype)
            h, w = (x.to(dtype).requires_grad_() for x in (hidden.clone(), weight.clone()))
            got, _ = fused_loss(h, w, targets, signal, kd, ALPHA, DIVISOR, VOCAB, chunk_rows=5)
            assert got.item() == pytest.approx(want.item(), rel=tolerance), kd.loss
            for mine, theirs in zip(torch.autograd.grad(got, (h, w)), want_grads):
                assert (mine.double() - theirs).norm() < tolerance * theirs.norm(), (kd.loss, dtype)


@pytest.mark.parametrize("rest", [Tail(), Decoupled()])
def test_nothing_outside_the_support(rest: Rest) -> None:
    """K = V: the bucket is empty and the losses are the plain divergences."""
    hidden, weight, teacher, targets = case()
    signal = signal_of(teacher, torch.ones_like(teacher, dtype=torch.bool), targets.clamp(min=0), (), torch.float64)
    w = weight.requires_grad_()
    results = []
    for rule in (rest, Renormalise()):
        kd = KD(teacher=TEACHER, rest=rule, loss=KLD())
        loss, _ = fused_loss(hidden, w, targets, signal, kd, ALPHA, DIVISOR, VOCAB)
        results.append((loss.detach(), torch.autograd.grad(loss, w)[0]))
    for a, b in zip(*results):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_what_is_not_defined_is_refused_with_the_reason() -> None:
    refused = {
        "t > 0 wherever q is": KD(teacher=TEACHER, loss=ReverseKL()),
        "the target is no distribution": KD(teacher=TEACHER, loss=JensenShannon(), rest=Plain()),
        "every probability outside": KD(teacher=TEACHER, loss=TotalVariation(), rest=Smooth()),
        "KLD with rest=Decoupled": KD(teacher=TEACHER, rest=Decoupled()),
        "both sides of the second term": KD(
            teacher=TEACHER, rest=Decoupled(), loss=KLD(), temperature=Temperature(tau=2.0)
        ),
        "at a temperature per token is not in a store": KD(teacher=TEACHER, rest=Tail(), temperature=NormKD()),
        "Renormalise() with WTTM": KD(teacher=TEACHER, rest=Tail(), temperature=WTTM(tau=2.0)),
        "not normalised at all": KD(teacher=TEACHER, rest=Tail(), loss=MSE(on="logits")),
        "tau = 1 with rest=Smooth": KD(teacher=TEACHER, rest=Smooth(), temperature=Temperature(tau=2.0)),
        "draws leave no rest": KD(teacher=TEACHER, truncation=Sampled(), rest=Tail()),
        "NLL() with Sampled": KD(teacher=TEACHER, truncation=Sampled(), loss=KLD()),
    }
    for reason, kd in refused.items():
        found = "; ".join(str(p) for p in problems(kd) if "teacher" not in p.field)
        assert reason in found, found
    assert not [p for p in problems(KD(teacher=TEACHER, rest=Tail(), loss=ReverseKL())) if "teacher" not in p.field]


@pytest.mark.parametrize("tau", [0.5, 2.0, *(pytest.param(tau, marks=pytest.mark.integration) for tau in (1.0, 4.0))])
@pytest.mark.parametrize(("both", "squared"), [(False, False), (False, True), (True, True)])
def test_the_reported_loss_is_the_differentiated_one(tau: float, both: bool, squared: bool) -> None:
    """Finite differences of the value along a random direction: tau squared is in both or in neither."""
    hidden, weight, teacher, targets = case(1)
    temperature = Temperature(tau=tau, both=both, squared=squared)
    direction = torch.randn_like(weight)
    mask = support(teacher, 0.9, 8)
    signal = signal_of(teacher, mask, targets.clamp(min=0), TAUS, torch.float64)
    for rest, loss in itertools.product(RESTS, LOSSES):
        if list(undefined(rest, temperature, loss)):
            continue
        kd = KD(teacher=TEACHER, rest=rest, temperature=temperature, loss=loss)

        def value(w: Tensor, kd: KD = kd) -> Tensor:
            return fused_loss(hidden, w, targets, signal, kd, ALPHA, DIVISOR, VOCAB)[0]

        w = weight.clone().requires_grad_()
        slope = (torch.autograd.grad(value(w), w)[0] * direction).sum().item()
        step = 1e-5
        numeric = (value(weight + step * direction) - value(weight - step * direction)).item() / (2 * step)
        assert numeric == pytest.approx(slope, rel=2e-6, abs=1e-7), (rest, loss)


def test_divergences_are_zero_at_a_match_and_positive_elsewhere() -> None:
    hidden, weight, teacher, targets = case(2)
    gold = targets.clamp(min=0)
    logits = hidden @ weight[:VOCAB].T
    for rest, loss in itertools.product(
        (Tail(), Decoupled(), RenormaliseBoth()), (KLD(), ReverseKL(), JensenShannon(), SkewKL(), TotalVariation())
    ):
        if list(undefined(rest, Temperature(), loss)):
            continue
        kd = KD(teacher=TEACHER, rest=rest, loss=loss)
        for theirs, zero in ((logits, True), (teacher, False)):
            signal = signal_of(theirs, support(theirs, 0.9, 8), gold, (), torch.float64)
            w = weight.clone().requires_grad_()
            value, _ = fused_loss(hidden, w, targets, signal, kd, 1.0, 1.0, VOCAB)
            gradient = torch.autograd.grad(value, w)[0]
            assert (abs(value.item()) < 1e-12) if zero else (value.item() > 1e-3), (rest, loss)
            assert not (zero and not isinstance(loss, TotalVariation) and gradient.norm() > 1e-10), (rest, loss)
