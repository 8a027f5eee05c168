"""The trunk's gradient: equal however a model is laid out, and a truncation's is the further off the more it drops."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pdstudy.config.run import KD, Pretrained
from pdstudy.config.truncation import TopPK
from pdstudy.corpus.batch import read_batch
from pdstudy.distill.micro_batch import MicroBatch, make_micro_batch
from pdstudy.distill.teacher.statistics import whole_signal
from pdstudy.evaluate.gradient_angles import angle_and_ratio, trunk_gradient
from pdstudy.models.build_model import build_model
from pdstudy.models.distributed import Ranks, open_ranks
from pdstudy.models.parallelize import lay_out
from tests.train import ranks
from tests.train.test_ranks import CONTEXT, SEQUENCES, VOCAB, Case, Signals, Text

CUT = KD(teacher=Pretrained(path="none"), truncation=TopPK())


def measure(case: Case, out: Path) -> None:
    """Each rank's trunk gradient of its own sequences, after a forward that has no gradient."""
    with open_ranks(replicas=case.placement.replicas, sharded=False) as world:
        model = build_model(case.run.student, seed=0, dtype=case.dtype)
        lay_out(model, case.placement, world, "float32")
        whole = batch_of(case, world)
        with torch.no_grad():
            model.distillation_loss(whole, objective=CUT, alpha=0.7, divisor=1.0, vocab=VOCAB)
        gradient = trunk_gradient(model, whole, CUT, 0.7, VOCAB)
        assert all(p.grad is None for p in model.parameters())
        torch.save(gradient, f"{out}-{world.rank}")


def batch_of(case: Case, world: Ranks) -> MicroBatch:
    mine = np.arange(SEQUENCES).reshape(world.size, -1)[world.rank]
    text = read_batch(Text().stream("train"), case.run.view, mine)
    return make_micro_batch(text, np.arange(len(mine)), Signals().signal(mine, TopPK()))


@pytest.mark.integration
@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("tied", [True, False])
def test_every_rank_has_the_whole_gradient(replicas: int, tied: bool, tmp_path: Path) -> None:
    case = Case(kd=True, tied=tied, dtype=torch.float64)
    case = dataclasses.replace(case, placement=dataclasses.replace(case.placement, replicas=replicas))
    ranks.run(2, measure, case, tmp_path / "two")
    measure(dataclasses.replace(case, placement=Case().placement), tmp_path / "one")
    alone = torch.load(tmp_path / "one-0")
    for rank in (0, 1):
        assert (torch.load(tmp_path / f"two-{rank}") - alone).norm() < 1e-6 * alone.norm()


def test_it_is_that_of_autograd_without_embedding_and_head_and_leaves_gradients_alone() -> None:
    case = Case(kd=True, tied=False)
    model = build_model(case.run.student, seed=0)
    batch = batch_of(case, Ranks(torch.device("cpu")))
    loss, _ = model.distillation_loss(batch, objective=CUT, alpha=0.7, divisor=1.0, vocab=VOCAB)
    trunk = [p for name, p in model.named_parameters() if "embed" not in name and "lm_head" not in name]
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(loss, trunk)])
    marks = [torch.full_like(p, 3.0) for p in model.parameters()]
    for parameter, mark in zip(model.parameters(), marks):
        parameter.grad = mark
    found = trunk_gradient(model, batch, CUT, 0.7, VOCAB)
    assert len(found) == sum(p.numel() for p in trunk) < sum(p.numel() for p in model.parameters())
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)
    assert all(p.grad is mark and (mark == 3).all() for p, mark in zip(model.parameters(), marks))


@given(degrees=st.floats(1e-5, 179.9), ratio=st.floats(1e-3, 1e3))
def test_angle_and_ratio_are_those_of_the_vectors(degrees: float, ratio: float) -> None:
    reference = torch.tensor([3.0, 0.0, 4.0], dtype=torch.float64)
    across = torch.tensor([0.0, 5.0, 0.0], dtype=torch.float64)
    turned = ratio * (math.cos(math.radians(degrees)) * reference + math.sin(math.radians(degrees)) * across)
    assert angle_and_ratio(turned, reference) == pytest.approx((degrees, ratio), rel=1e-6)
    assert all(map(math.isnan, angle_and_ratio(torch.zeros(3), reference)))


def test_the_whole_signal_is_dense_distillation() -> None:
    case = Case(kd=True, tied=False)
    model = build_model(case.run.student, seed=0, dtype=torch.float64)
    batch = batch_of(case, Ranks(torch.device("cpu")))
    teacher = 2 * torch.randn(len(batch.targets), VOCAB + 6, generator=torch.Generator().manual_seed(0))
    signal = whole_signal(teacher, batch.targets, VOCAB)
    whole = KD(teacher=Pretrained(path="none"), truncation=TopPK(p=1.0, k=None))
    found = trunk_gradient(model, dataclasses.replace(batch, signal=signal), whole, 1.0, VOCAB)
    logits = model(
        input_ids=batch.inputs, attention_mask=batch.mask, position_ids=batch.positions
    ).logits.flatten(0, 1)[:, :VOCAB]  # fmt: skip
    p = torch.softmax(teacher[:, :VOCAB].double(), 1)
    valid = batch.targets >= 0
    loss = -(p * torch.log_softmax(logits, 1)).sum(1)[valid].sum()
    trunk = [p for name, p in model.named_parameters() if "embed" not in name and "lm_head" not in name]
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(loss, trunk)])
    assert len(valid) == CONTEXT * SEQUENCES
    assert (found - expected).norm() < 1e-6 * expected.norm()
