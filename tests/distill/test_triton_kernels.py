"""The Triton kernels, and every objective through them, by Triton's interpreter on a CPU: `make test-kernels`.

`test_fused_gpu` has them on a device.
"""

from __future__ import annotations

import contextlib
import os

import pytest
import torch
from torch import Tensor

from pdstudy.config.losses import AnyTemperature, Rest
from pdstudy.config.run import LM
from pdstudy.distill.loss import fused, kernels
from pdstudy.distill.loss.fused import fused_loss
from pdstudy.distill.loss.matmul import HalfHeadMatmul
from pdstudy.distill.loss.narrow import NarrowGradient
from pdstudy.distill.loss.softmax import RowSoftmax
from tests.distill.dense import kd_rows, signal_of, support
from tests.distill.test_objectives import ALPHA, DIVISOR, TAUS, VOCAB, case, combinations, expected
from tests.distill.test_precision import CLOSE, relative

pytestmark = pytest.mark.kernels


@pytest.fixture(autouse=True)
def _interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Buffers on a CPU go through the kernels."""
    pytest.importorskip("triton", reason="needs triton, which comes with torch for CUDA")
    if os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("needs TRITON_INTERPRET=1 from the start of Python")
    monkeypatch.setattr(kernels, "can_use", lambda buffer: buffer.dtype == torch.float32)
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())


class _OnCPU(HalfHeadMatmul):
    """Operands of the same types, multiplied in float32, which torch has no mixed products for on a CPU."""

    def logits(self, part: slice) -> Tensor:
        states = self._hidden[part].float()
        return torch.mm(states, self._table.float().t(), out=self._buffer[: len(states)])

    def add(self, part: slice, gradient: Tensor) -> None:
        wide = gradient.float()
        if self.hidden_gradient is not None and self._half_table is not None:
            torch.mm(wide, self._half_table.float(), out=self.hidden_gradient[part])
        if self.weight_gradient is not None:
            self.weight_gradient[: self._vocab].addmm_(wide.t(), self._hidden[part].float())


class _Unrounded(_OnCPU):
    """With a narrow gradient that is as wide as the logits: what is left is what the kernels do."""

    def _prepare(self, table: Tensor, rows: int, divisor: float | None) -> None:
        super()._prepare(table, rows, divisor)
        assert self._half_buffer is not None
        self._half_buffer, self._half_table = torch.empty_like(self._buffer), table


@pytest.fixture
def unrounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "choose_matmul", lambda hidden, weight: _Unrounded)


@pytest.mark.parametrize("vocab", [100, 4097, 9001])
@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_gradients_of_rows(vocab: int, half: torch.dtype) -> None:
    torch.manual_seed(0)
    logits = 3 * torch.randn(7, vocab)
    logits[2], logits[3, 50:], logits[4, :-1] = -torch.inf, -torch.inf, -torch.inf
    logits[5] = logits[5] * 1e4
    # Rows that are further apart than they are long, as in the head's buffers.
    buffer = torch.zeros(7, vocab + 64)[:, :vocab].copy_(logits)
    narrow = NarrowGradient(torch.zeros(7, vocab + 64, dtype=half)[:, :vocab], 64.0)
    share, shift = torch.rand(7), 0.1 * torch.rand(7)
    ids = torch.randint(vocab, (7, 12))
    ids[:, 7] = ids[:, 3]  # an id may occur twice, and again in the next entry
    entries = [(ids[:, 3:4], -torch.rand(7, 1)), (ids, torch.rand(7, 12))]
    softmax = RowSoftmax(buffer)
    want = RowSoftmax(logits.double())
    torch.testing.assert_close(softmax.log_sum.double(), want.log_sum, rtol=1e-6, atol=1e-6)
    got = softmax.gradient(share, entries, shift, narrow)
    assert got.data_ptr() == narrow.buffer.data_ptr()
    exact = want.gradient(share.double(), [(i, v.double()) for i, v in entries], shift.double())
    torch.testing.assert_close(got.double() / 64, exact, rtol=2 * torch.finfo(half).eps, atol=1e-7)


def test_wide_gradients_of_rows() -> None:
    torch.manual_seed(0)
    logits, share = torch.randn(5, 5000), torch.rand(5)
    got = RowSoftmax(logits.clone()).gradient(share)
    torch.testing.assert_close(got.double(), RowSoftmax(logits.double()).gradient(share.double()), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(("rest", "temperature"), combinations(), ids=str)
def test_every_defined_loss_matches_the_dense_reference(
    rest: Rest, temperature: AnyTemperature, unrounded: None
) -> None:
    hidden, weight, teacher, targets = case()
    for kd, mask, want, want_grads in expected(rest, temperature):
        signal = signal_of(teacher, mask, targets.clamp(min=0), TAUS, torch.float32)
        h, w = (x.float().requires_grad_() for x in (hidden.clone(), weight.clone()))
        got, _ = fused_loss(h, w, targets, signal, kd, ALPHA, DIVISOR, VOCAB, chunk_rows=9)
        assert got.item() == pytest.approx(want.item(), rel=2e-6), kd.loss
        for mine, theirs in zip(torch.autograd.grad(got, (h, w)), want_grads):
            assert (mine.double() - theirs).norm() < 2e-6 * theirs.norm(), kd.loss


@pytest.mark.parametrize("cap", [None, 3.0])
def test_cross_entropy_with_a_cap_and_a_z_loss(cap: float | None, unrounded: None) -> None:
    hidden, weight, _, targets = case()

    exact = [x.clone().requires_grad_() for x in (hidden, weight)]
    logits = exact[0] @ exact[1][:VOCAB].T
    if cap is not None:
        logits = cap * torch.tanh(logits / cap)
    squares = 0.1 * (logits.logsumexp(1).square() * (targets != -100)).sum()
    want = (torch.nn.functional.cross_entropy(logits, targets, reduction="sum") + squares) / DIVISOR
    leaves = [x.float().requires_grad_() for x in (hidden, weight)]
    got, _ = fused_loss(*leaves, targets, None, LM(), 0.0, DIVISOR, VOCAB, chunk_rows=9, z_loss=0.1, cap=cap)
    assert got.item() == pytest.approx(want.item(), rel=2e-6)
    for mine, theirs in zip(torch.autograd.grad(got, leaves), torch.autograd.grad(want, exact)):
        assert relative(mine, theirs) < 2e-6


@pytest.mark.parametrize("distance", [1.0, 0.1, 0.01])
@pytest.mark.parametrize("name", CLOSE)
def test_bfloat16_gradients_of_a_student_close_to_its_teacher(
    name: str, distance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a device (`test_fused_gpu`, which says why 1.02)."""
    monkeypatch.setattr(fused, "choose_matmul", lambda hidden, weight: _OnCPU)
    objective = CLOSE[name]
    torch.manual_seed(0)
    h, w = torch.randn(64, 32).bfloat16(), (0.5 * torch.randn(503, 32)).bfloat16()
    student = h.double() @ w.double().T
    teacher = student + distance * torch.randn(64, 503, dtype=torch.float64)
    gold = teacher.argmax(1)
    mask = support(teacher, 1.0, objective.truncation.k)  # type: ignore[union-attr]
    signal = signal_of(teacher, mask, gold, (), torch.float32)
    exact = [x.double().requires_grad_() for x in (h, w)]
    loss = kd_rows(exact[0] @ exact[1].T, teacher, mask, gold, objective).sum() / 64
    want = torch.autograd.grad(loss, exact)
    got = torch.autograd.grad(
        fused_loss(*(x.requires_grad_() for x in (h, w)), gold, signal, objective, 1.0, 64.0, 503)[0], (h, w)
    )
    for mine, theirs in zip(got, want):
        assert relative(mine, theirs) < 1.02 * relative(theirs.bfloat16(), theirs)
