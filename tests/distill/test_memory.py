"""Distillation needs no more memory than cross-entropy, counted in the bytes of tensors that torch holds at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from pdstudy.config.logits import required_coverage
from pdstudy.config.losses import (
    KLD,
    Decoupled,
    JensenShannon,
    NormKD,
    OntoGold,
    RenormaliseBoth,
    ReverseKL,
    Smooth,
    Tail,
    Temperature,
    Weighted,
)
from pdstudy.config.run import KD, LM, Pretrained
from pdstudy.config.truncation import Sampled, TopPK, Truncation
from pdstudy.distill.loss.chunk_size import choose_chunk_rows
from pdstudy.distill.loss.fused import fused_loss
from pdstudy.distill.signal import SparseTargets
from pdstudy.distill.teacher.live import LiveTargets

TOKENS, WIDTH, VOCAB = 1_536, 16, 2_048
PLAIN = KD(teacher=Pretrained(path="unread"))


def peak_bytes(work: Callable[[], object]) -> int:
    """What `work` allocates at a time, at most, beyond what was there."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as traced:
        work()
    assert traced.profiler is not None
    results = traced.profiler.kineto_results
    assert results is not None
    changes = sorted((e.start_ns(), i, e.nbytes()) for i, e in enumerate(results.events()) if e.name() == "[memory]")
    held = most = 0
    for *_, change in changes:
        held += change
        most = max(most, held)
    return most


def of_head(objective: LM | KD, k: int) -> int:
    torch.manual_seed(0)
    hidden, weight = torch.randn(TOKENS, WIDTH, requires_grad=True), torch.randn(VOCAB, WIDTH, requires_grad=True)
    ids = torch.randint(VOCAB - k, (TOKENS, 1)) + torch.arange(k)
    columns = torch.rand(5, TOKENS) * 0.1
    signal = SparseTargets(ids, torch.log_softmax(torch.randn(TOKENS, k), 1) - 0.1, *columns)
    targets = torch.randint(VOCAB, (TOKENS,))
    told = (None, 0.0) if isinstance(objective, LM) else (signal, 0.9)
    return peak_bytes(
        lambda: fused_loss(hidden, weight, targets, told[0], objective, told[1], TOKENS, VOCAB)[0].backward()
    )


@pytest.fixture(scope="module")
def of_cross_entropy() -> int:
    found = of_head(LM(), 1)
    rows = choose_chunk_rows(VOCAB, torch.float32, torch.device("cpu"))
    assert found > 4 * VOCAB * rows, "the chunk of logits was not seen"
    return found


OBJECTIVES = {
    "plain": PLAIN,
    "onto gold": dataclasses.replace(PLAIN, rest=OntoGold()),
    "smooth": dataclasses.replace(PLAIN, rest=Smooth()),
    "both": dataclasses.replace(PLAIN, rest=RenormaliseBoth()),
    "tail": dataclasses.replace(PLAIN, rest=Tail(), loss=KLD()),
    "decoupled": dataclasses.replace(PLAIN, rest=Decoupled(), loss=KLD()),
    "tau on both sides": dataclasses.replace(PLAIN, temperature=Temperature(tau=2.0, both=True)),
    "NormKD": dataclasses.replace(PLAIN, temperature=NormKD()),
    "several": dataclasses.replace(
        PLAIN, rest=Tail(), loss=Weighted(terms=((1.0, KLD()), (0.5, JensenShannon()), (0.1, ReverseKL())))
    ),
}


@pytest.mark.parametrize("k", [12, 50, 128])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_distillation_takes_at_most_a_twentieth_more(name: str, k: int, of_cross_entropy: int) -> None:
    assert of_head(OBJECTIVES[name], k) < 1.05 * of_cross_entropy


@pytest.mark.parametrize("truncation", [TopPK(p=1.0, k=12), TopPK(p=0.9, k=None), TopPK(p=1.0, k=99), Sampled(draws=7)])
def test_a_live_teacher_s_rows_are_as_wide_as_it_says(truncation: Truncation) -> None:
    coverage = required_coverage(dataclasses.replace(PLAIN, truncation=truncation))
    uniform = torch.rand(5, coverage.draws, dtype=torch.float64)
    live = LiveTargets(
        torch.randn(5, 4), torch.randn(50, 4), torch.zeros(5, dtype=torch.int64), uniform, coverage, truncation
    )
    width = live.rows(slice(0, 5)).width
    assert 0 < width <= live.width <= 50
    assert width == live.width or (isinstance(truncation, TopPK) and truncation.p < 1)
