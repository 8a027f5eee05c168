"""The fused loss on a CUDA device: kernels, bfloat16 products and every objective against float64 on the CPU."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from pdstudy.config.losses import NLL, WTTM, AnyTemperature, NormKD, Rest, Temperature, Weighted
from pdstudy.config.run import KD
from pdstudy.distill.loss import kernels
from pdstudy.distill.loss.fused import fused_loss
from pdstudy.distill.loss.matmul import HalfHeadMatmul, HeadMatmul, choose_matmul
from pdstudy.distill.loss.narrow import NarrowGradient
from pdstudy.distill.loss.softmax import RowSoftmax
from pdstudy.distill.signal import SparseTargets
from tests.distill.dense import kd_rows, signal_of, support
from tests.distill.test_objectives import ALPHA, DIVISOR, TAUS, TEACHER, VOCAB, case, combinations, expected
from tests.distill.test_precision import CLOSE, relative

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def on_device(signal: SparseTargets) -> SparseTargets:
    moved = {n: v.cuda() for n, v in vars(signal).items() if isinstance(v, Tensor)}
    return dataclasses.replace(signal, **moved)


@pytest.mark.parametrize("vocab", [100, 4096, 4097, 9001, 151_643])
def test_rows_by_kernels(vocab: int) -> None:
    torch.manual_seed(0)
    logits = 20 * torch.randn(9, vocab)
    logits[2], logits[3, 50:], logits[4, :-1] = -torch.inf, -torch.inf, -torch.inf
    logits[5] = logits[5] * 1e4
    # Rows that are further apart than they are long, as in the head's buffers.
    buffer = torch.zeros(9, vocab + 64, device="cuda")[:, :vocab].copy_(logits)
    share = torch.rand(9)
    assert kernels.can_use(buffer)
    softmax = RowSoftmax(buffer)
    want = RowSoftmax(logits.double())
    torch.testing.assert_close(softmax.log_sum.cpu().double(), want.log_sum, rtol=1e-6, atol=1e-6)
    exact = want.gradient(share.double())
    narrow = NarrowGradient(torch.zeros(9, vocab + 64, device="cuda", dtype=torch.float16)[:, :vocab], 64.0)
    torch.testing.assert_close(
        softmax.gradient(share.cuda(), narrow=narrow).cpu().double() / 64, exact, rtol=2e-3, atol=1e-7
    )
    torch.testing.assert_close(softmax.gradient(share.cuda()).cpu().double(), exact, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(("rest", "temperature"), combinations(), ids=str)
def test_every_defined_loss_matches_the_dense_reference(rest: Rest, temperature: AnyTemperature) -> None:
    hidden, weight, teacher, targets = case()
    for kd, mask, want, want_grads in expected(rest, temperature):
        signal = on_device(signal_of(teacher, mask, targets.clamp(min=0), TAUS, torch.float32))
        h, w = (x.float().cuda().requires_grad_() for x in (hidden, weight))
        got, _ = fused_loss(h, w, targets.cuda(), signal, kd, ALPHA, DIVISOR, VOCAB, chunk_rows=5)
        assert got.item() == pytest.approx(want.item(), rel=2e-6), kd.loss
        for mine, theirs in zip(torch.autograd.grad(got, (h, w)), want_grads):
            assert (mine.cpu().double() - theirs).norm() < 2e-6 * theirs.norm(), kd.loss


def test_bfloat16_keeps_its_products_on_the_device() -> None:
    half, whole = torch.zeros(2, 8, device="cuda", dtype=torch.bfloat16), torch.zeros(2, 8, device="cuda")
    assert choose_matmul(half, half) is HalfHeadMatmul
    assert choose_matmul(whole, whole) is HeadMatmul
    assert choose_matmul(half, whole) is HeadMatmul


@pytest.mark.parametrize("distance", [1.0, 0.1, 0.01])
@pytest.mark.parametrize("name", CLOSE)
def test_bfloat16_gradients_of_a_student_close_to_its_teacher(name: str, distance: float) -> None:
    """As on the CPU (`test_precision`), where it says what can be asked of a gradient in bfloat16.

    Rounding is most of its error, and what comes beside, 2.5e-4 by float16, adds in squares: 1.02 allows for 3e-4.
    """
    objective = CLOSE[name]
    rows, width, vocab = 96, 64, 2_503
    torch.manual_seed(0)
    h, w = torch.randn(rows, width).bfloat16(), (0.3 * torch.randn(vocab + 5, width)).bfloat16()
    student = h.double() @ w[:vocab].double().T
    teacher = student + distance * torch.randn(rows, vocab, dtype=torch.float64)
    gold = teacher.argmax(1)
    mask = support(teacher, 1.0, objective.truncation.k)  # type: ignore[union-attr]
    signal = signal_of(teacher, mask, gold, (), torch.float32)
    exact = [x.double().requires_grad_() for x in (h, w)]
    loss = kd_rows(exact[0] @ exact[1][:vocab].T, teacher, mask, gold, objective).sum() / rows
    want = torch.autograd.grad(loss, exact)
    mine = [x.cuda().requires_grad_() for x in (h, w)]
    got, _ = fused_loss(*mine, gold.cuda(), on_device(signal), objective, 1.0, rows, vocab, chunk_rows=40)
    assert got.item() == pytest.approx(loss.item(), rel=1e-4)
    for gradient, exactly in zip(torch.autograd.grad(got, mine), want):
        assert gradient.dtype == torch.bfloat16
        found = gradient.cpu()
        assert relative(found, exactly) < 1.02 * relative(exactly.bfloat16(), exactly)


def small_case() -> tuple[Tensor, Tensor, Tensor, SparseTargets]:
    torch.manual_seed(0)
    h, w = torch.randn(300, 64, device="cuda").bfloat16(), torch.randn(1_001, 64, device="cuda").bfloat16()
    targets = torch.randint(1_001, (300,), device="cuda")
    targets[::7] = -100
    ids = torch.rand(300, 1_001, device="cuda").topk(12, dim=1).indices
    log_probs = torch.log_softmax(torch.randn(300, 12, device="cuda"), 1) - 0.1
    signal = SparseTargets(ids, log_probs, *torch.rand(5, 300, device="cuda"))
    return h, w, targets, signal


@pytest.mark.parametrize("temperature", [Temperature(), NormKD(), WTTM(tau=2.0)], ids=str)
def test_whatever_is_asked_for_has_the_gradients_of_float32(temperature: AnyTemperature) -> None:
    """Both leaves, one of them, none; gradients that are bounded go in as float16, the others as bfloat16."""
    h, w, targets, signal = small_case()
    kd = KD(teacher=TEACHER, temperature=temperature)

    def loss(hidden: Tensor, weight: Tensor) -> Tensor:
        return 4 * fused_loss(hidden, weight, targets, signal, kd, 0.9, 257.0, 1_001)[0]

    results = []
    for dtype in (torch.bfloat16, torch.float32):
        a, b = (x.to(dtype).requires_grad_() for x in (h.clone(), w.clone()))
        with torch.no_grad():
            value = loss(a, b)
        results.append((
            value,
            *torch.autograd.grad(loss(a, b), (a, b)),
            *torch.autograd.grad(loss(a, b.detach()), a),
            *torch.autograd.grad(loss(a.detach(), b), b),
        ))  # fmt: skip
    for half, whole in zip(*results):
        assert relative(half, whole) < 4e-3


def test_a_gradient_beyond_float16_is_loud() -> None:
    h, w, targets, signal = small_case()
    a, b = h.requires_grad_(), w.requires_grad_()
    kd = KD(teacher=TEACHER, loss=Weighted(terms=((1e4, NLL()),)))
    found = torch.autograd.grad(fused_loss(a, b, targets, signal, kd, 1.0, 257.0, 1_001)[0], b)[0]
    assert not found.isfinite().all()


def test_chunks_change_nothing_but_rounding() -> None:
    h, w, targets, signal = small_case()
    results = []
    for rows in (None, 64, 7):
        leaves = [x.clone().requires_grad_() for x in (h, w)]
        loss, _ = fused_loss(*leaves, targets, signal, KD(teacher=TEACHER), 0.9, 257.0, 1_001, chunk_rows=rows)
        results.append((loss.detach(), *torch.autograd.grad(loss, leaves)))
    for other in results[1:]:
        for a, b in zip(results[0], other):
            torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-6)
