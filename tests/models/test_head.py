"""Heads with scale, bias and soft cap: the fused loss and its gradients against dense float64 and differences."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from pdstudy.config.losses import KLD, Divergence, JensenShannon, Tail
from pdstudy.config.run import KD, LM, Pretrained
from pdstudy.config.truncation import TopPK
from pdstudy.corpus.batch import IGNORED
from pdstudy.distill.loss.fused import fused_loss
from pdstudy.distill.micro_batch import MicroBatch
from pdstudy.distill.teacher.statistics import whole_signal
from pdstudy.models.build_model import build_model
from tests.models.families import student_of

CAP = 3.0


def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    hidden = torch.randn(7, 5, dtype=torch.float64, requires_grad=True)
    weight = (2 * torch.randn(13, 5, dtype=torch.float64)).requires_grad_()
    return hidden, weight, torch.tensor([1, 4, 0, IGNORED, 9, 10, 2])


def test_a_soft_cap_has_the_gradient_of_the_dense_formula() -> None:
    hidden, weight, targets = inputs()
    for rows in (2, 7):
        loss, parts = fused_loss(hidden, weight, targets, None, LM(), 0.0, 6.0, 11, chunk_rows=rows, cap=CAP)
        found = torch.autograd.grad(loss, (hidden, weight))
        logits = CAP * torch.tanh(hidden @ weight[:11].t() / CAP)
        dense = F.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum") / 6
        assert (hidden @ weight[:11].t()).abs().max() > 2 * CAP
        torch.testing.assert_close(loss, dense, rtol=1e-13, atol=0)
        torch.testing.assert_close(parts["lm"], 6 * dense, rtol=1e-13, atol=0)
        for one, other in zip(found, torch.autograd.grad(dense, (hidden, weight)), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("divergence", [KLD(), JensenShannon()])
def test_a_soft_cap_in_distillation_has_the_gradient_that_differences_show(divergence: Divergence) -> None:
    hidden, weight, targets = inputs()
    signal = whole_signal(torch.randn(7, 11), targets, 11)
    objective = KD(teacher=Pretrained(path="t"), loss=divergence, rest=Tail(), truncation=TopPK(p=1.0, k=None))

    def loss(hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return fused_loss(hidden, weight, targets, signal, objective, 0.7, 6.0, 11, cap=CAP)[0]

    found = torch.autograd.grad(loss(hidden, weight), (hidden, weight))
    with torch.no_grad():
        for leaf, gradient in zip((hidden, weight), found, strict=True):
            for at in ((0, 0), (2, 3), (6, 4)):
                values = []
                for side in (1e-5, -1e-5):
                    leaf[at] += side
                    values.append(loss(hidden, weight))
                    leaf[at] -= side
                assert (values[0] - values[1]) / 2e-5 == pytest.approx(gradient[at].item(), rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("family", ["phi", "gptj", "cohere", "granite", "gemma2", "gpt2"])
def test_the_loss_of_a_family_is_that_of_its_own_logits(family: str) -> None:
    """In float64, with its gradient for every parameter, the bias among them."""
    model = build_model(student_of(family), seed=0, dtype=torch.float64, attention="eager")
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    ids = torch.arange(24).view(2, 12)
    targets = ids.roll(-1, 1)
    loss, _ = model.distillation_loss(
        MicroBatch(ids, targets.flatten()), objective=LM(), alpha=0.0, divisor=24.0, vocab=96
    )
    loss.backward()
    found = {name: p.grad for name, p in model.named_parameters()}
    model.zero_grad()
    dense = F.cross_entropy(model(input_ids=ids).logits.flatten(0, 1).double(), targets.flatten())
    dense.backward()
    assert loss.item() == pytest.approx(dense.item(), rel=1e-6)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-4, atol=1e-6, msg=name)
