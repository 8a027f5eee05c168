"""The head in bfloat16 where gradients are differences of nearly equal numbers, and inside a compiled caller."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pdstudy.config.losses import KLD, JensenShannon, RenormaliseBoth, ReverseKL, Tail
from pdstudy.config.run import KD, Pretrained
from pdstudy.config.truncation import TopPK
from pdstudy.distill.loss.fused import fused_loss
from tests.distill.dense import kd_rows, signal_of, support

TEACHER = Pretrained(path="unread")
FULL = TopPK(p=1.0, k=None)
N, WIDTH, VOCAB = 64, 32, 503


def relative(got: Tensor, want: Tensor) -> float:
    return float((got.double() - want.double()).norm() / want.double().norm())


CLOSE = {
    "full": KD(teacher=TEACHER, truncation=FULL),
    "tail": KD(teacher=TEACHER, truncation=TopPK(p=1.0, k=20), rest=Tail(), loss=KLD()),
    "reverse": KD(teacher=TEACHER, truncation=TopPK(p=1.0, k=20), rest=Tail(), loss=ReverseKL()),
    "jensen": KD(teacher=TEACHER, truncation=TopPK(p=1.0, k=20), rest=Tail(), loss=JensenShannon()),
    "both": KD(teacher=TEACHER, truncation=TopPK(p=1.0, k=20), rest=RenormaliseBoth(), loss=KLD()),
}


@pytest.mark.parametrize("distance", [pytest.param(0.1, marks=pytest.mark.integration), 0.01])
@pytest.mark.parametrize("name", CLOSE)
def test_bfloat16_gradients_of_a_student_close_to_its_teacher(name: str, distance: float) -> None:
    """Teacher's logits are the student's and noise of `distance` nats: a KL divergence of distance squared / 2.

    The float64 gradient is that of the same bfloat16 numbers. What the head computes, in float32, is off by 5e-5 at
    most. A gradient of a bfloat16 tensor must be bfloat16, and rounding costs 1.6e-3 by itself; against the gradient
    of the data's labels, which comes beside it in training, that is nothing.
    """
    objective = CLOSE[name]
    assert isinstance(objective.truncation, TopPK)
    torch.manual_seed(0)
    h, w = torch.randn(N, WIDTH).bfloat16(), (0.5 * torch.randn(VOCAB, WIDTH)).bfloat16()
    student = h.double() @ w.double().T
    teacher = student + distance * torch.randn(N, VOCAB, dtype=torch.float64)
    gold = teacher.argmax(1)
    mask = support(teacher, 1.0, objective.truncation.k)
    signal = signal_of(teacher, mask, gold, (), torch.float32)
    exact_h, exact_w = (x.double().requires_grad_() for x in (h, w))
    exact = kd_rows(exact_h @ exact_w.T, teacher, mask, gold, objective).sum() / N
    want = torch.autograd.grad(exact, (exact_h, exact_w))
    h.requires_grad_(), w.requires_grad_()
    got = torch.autograd.grad(fused_loss(h, w, gold, signal, objective, 1.0, float(N), VOCAB)[0], (h, w))
    held = [x.detach().float().requires_grad_() for x in (h, w)]
    unrounded = torch.autograd.grad(fused_loss(*held, gold, signal, objective, 1.0, float(N), VOCAB)[0], held)
    labels = torch.multinomial(torch.softmax(student, 1), 1)[:, 0]
    data = torch.autograd.grad(torch.nn.functional.cross_entropy(exact_h @ exact_w.T, labels), (exact_h, exact_w))
    plain = torch.autograd.grad(kd_rows((h @ w.T).float(), teacher.float(), mask, gold, objective).sum() / N, (h, w))
    for mine, float32, theirs, reference, of_data in zip(got, unrounded, plain, want, data):
        assert relative(float32, reference) < 1e-4
        assert (mine.double() - reference).norm() < 1e-4 * of_data.norm()
        assert mine.dtype == torch.bfloat16
        assert relative(mine, reference.bfloat16()) < 1e-3
        assert relative(mine, reference) < 1.02 * relative(reference.bfloat16(), reference)
        # Logits in bfloat16, as they come out of a plain product, leave an error of the size of the difference.
        assert relative(theirs, reference) > 0.5 * 0.01 / distance


@pytest.mark.slow  # compiling takes a minute
@pytest.mark.parametrize("name", ["full", "tail"])
def test_the_caller_may_be_compiled(name: str) -> None:
    objective = CLOSE[name]
    torch.manual_seed(0)
    inputs, targets = torch.randn(N, WIDTH), torch.randint(VOCAB, (N,))
    targets[::7] = -100
    body, head = torch.randn(WIDTH, WIDTH) / WIDTH**0.5, torch.randn(VOCAB, WIDTH)
    teacher = torch.randn(N, VOCAB, dtype=torch.float64)
    mask = support(teacher, 1.0, 20)
    signal = signal_of(teacher, mask, targets.clamp(min=0), (), torch.float32)

    def step(body: Tensor, head: Tensor) -> Tensor:
        hidden = torch.tanh(inputs @ body)
        return 2 * fused_loss(hidden, head, targets, signal, objective, 0.7, 9.0, VOCAB)[0]

    results = []
    for function in (step, torch.compile(step)):
        leaves = [x.clone().requires_grad_() for x in (body, head)]
        loss = function(*leaves)
        results.append((loss.detach(), *torch.autograd.grad(loss, leaves)))
    for eager, compiled in zip(*results):
        torch.testing.assert_close(compiled, eager, rtol=1e-5, atol=1e-6)
