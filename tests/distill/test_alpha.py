"""Alpha over training and over tokens."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from pdstudy.config.alpha import (  # fmt: skip
    ByConfidence,
    ByEntropy,
    CosineMix,
    Curve,
    LinearMix,
    Mix,
    OnData,
    PeriodicMix,
    Routed,
    Steady,
    Until,
    WSDMix,
)
from pdstudy.config.run import KD, LM, Pretrained
from pdstudy.config.trajectory import alpha_at
from pdstudy.core.validation import problems
from pdstudy.distill.loss.fused import fused_loss
from pdstudy.distill.loss.token_weights import token_share
from tests.distill.reference import signal_of, teacher_log_probs

TEACHER = Pretrained(path="unread")

CURVES: dict[Mix, list[float]] = {
    Steady(): [1, 1, 1, 1, 1],
    LinearMix(first=1, last=0): [1, 0.75, 0.5, 0.25, 0],
    LinearMix(first=0.2, last=1): [0.2, 0.4, 0.6, 0.8, 1],
    CosineMix(first=1, last=0): [1, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5, 0],
    PeriodicMix(cycles=2, low=0.1): [1, 0.1, 1, 0.1, 1],
    WSDMix(warmup=0.5, decay=0.25, shape="linear"): [0, 0.5, 1, 1, 0],
    WSDMix(decay=0.5, shape="cosine"): [1, 1, 1, 0.5, 0],
    WSDMix(decay=0.5, shape="1-sqrt"): [1, 1, 1, 1 - 0.5**0.5, 0],
    WSDMix(decay=0.5, shape="exponential"): [1, 1, 1, 2**-5, 2**-10],
    OnData(shape=LinearMix(first=1, last=0), share=0.5): [0.5, 0.625, 0.75, 0.875, 1],
    Until(stop=0.5): [1, 1, 0, 0, 0],
}


@pytest.mark.parametrize("mix", CURVES, ids=str)
def test_curves(mix: Mix) -> None:
    assert not list(problems(mix))
    assert [mix.factor(i / 4) for i in range(5)] == pytest.approx(CURVES[mix])
    kd = KD(teacher=TEACHER, alpha=0.8, mix=mix)
    assert [alpha_at(kd, i, 4) for i in range(4)] == pytest.approx([0.8 * f for f in CURVES[mix][:4]])


@pytest.mark.parametrize(("cycles", "steps", "on"), [(10, 1000, 0.3), (49, 490, 0.5), (3, 240, 0.1), (10, 320, 0.5)])
def test_cycles_are_equal_to_the_step(cycles: int, steps: int, on: float) -> None:
    kd = KD(teacher=TEACHER, alpha=1.0, mix=PeriodicMix(cycles=cycles, on=on))
    each = steps // cycles
    cycle = [float(step < round(on * each, 6)) for step in range(each)]
    assert [alpha_at(kd, step, steps) for step in range(steps)] == cycle * cycles


def test_lm_has_no_alpha() -> None:
    assert alpha_at(LM(), 3, 10) == 0


@pytest.mark.parametrize(
    "wrong", [LinearMix(first=2, last=0), WSDMix(warmup=0.6, decay=0.5), PeriodicMix(cycles=0), Until(stop=-1)]
)
def test_impossible_curves_are_refused(wrong: Curve) -> None:
    assert list(problems(wrong))


def test_token_rules_weigh_each_token() -> None:
    log_probs = teacher_log_probs(20, 40)
    gold = torch.arange(20)
    signal = signal_of(log_probs, 0.9, 10, gold)
    entropy = signal.entropy
    want = {
        ByEntropy(full=2.0): (entropy / 2).clamp(max=1),
        ByConfidence(): 1 - log_probs.exp().max(1).values,
    }
    hidden, weight = torch.randn(20, 8), torch.randn(40, 8)
    for rule, shares in want.items():
        torch.testing.assert_close(token_share(rule, signal, torch.float32), shares)
        kd = KD(teacher=TEACHER, tokens=rule)
        whole, _ = fused_loss(hidden, weight, gold, signal, kd, 0.7, 1.0, 40)
        rows = [
            fused_loss(hidden[i:i + 1], weight, gold[i:i + 1], signal.rows(slice(i, i + 1)), KD(teacher=TEACHER),
                       0.7 * float(shares[i]), 1.0, 40)[0]
            for i in range(20)
        ]  # fmt: skip
        assert whole.item() == pytest.approx(sum(rows).item(), rel=1e-5)  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="only a store's reader gives"):
        token_share(Routed(share=0.5), signal, torch.float32)


def test_routing_leaves_the_surest_tokens_to_the_data() -> None:
    gold = torch.arange(5)
    signal = dataclasses.replace(
        signal_of(teacher_log_probs(5, 40), 0.9, 10, gold), entropy_rank=torch.tensor([0.5, 0.0, 0.29, 0.3, 0.9])
    )
    assert token_share(Routed(share=0.3), signal, torch.float32).tolist() == [1, 0, 0, 1, 1]
