"""The fused loss against a dense float64 reference, finite differences, and its own invariants."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pdstudy.config.losses import Temperature
from pdstudy.config.run import KD, LM, Pretrained
from pdstudy.distill.loss.fused import fused_loss
from pdstudy.distill.signal import SparseTargets
from tests.distill.reference import dense_loss, signal_of, teacher_log_probs

TEACHER = Pretrained(path="unread")


def kd(tau: float = 1.0) -> KD:
    return KD(teacher=TEACHER, temperature=Temperature(tau=tau))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def case(n: int = 37, width: int = 16, vocab: int = 211, padding: int = 5) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """hidden, weight, targets (some ignored), teacher log-probabilities; logits of a few nats."""
    hidden = torch.randn(n, width, dtype=torch.float64)
    weight = torch.randn(vocab + padding, width, dtype=torch.float64) * 0.6
    log_probs = teacher_log_probs(n, vocab)
    # Most targets are likely ones, so that the gold id is often among the kept.
    targets = torch.where(torch.rand(n) < 0.7, log_probs.argmax(1), torch.randint(vocab, (n,)))
    targets[::9] = -100
    return hidden, weight, targets, log_probs


def gradients(loss: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss, tensors)


def relative(got: Tensor, want: Tensor) -> float:
    return float((got.double() - want).norm() / want.norm())


CUTS = [(0.95, 100), (0.5, None), (0.8, 5), (1.0, 1), (1.0, None)]


@pytest.mark.integration
@pytest.mark.parametrize(("p", "k"), CUTS)
@pytest.mark.parametrize("tau", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.9, 1.0])
def test_value_and_gradients_match_the_dense_reference(p: float, k: int | None, tau: float, alpha: float) -> None:
    hidden, weight, targets, log_probs = case()
    hidden, weight = hidden.float().double().requires_grad_(), weight.float().double().requires_grad_()
    want = dense_loss(hidden, weight, targets, log_probs, p, k, tau, alpha, 31.0, 211)
    want_grads = gradients(want, hidden, weight)
    signal = signal_of(log_probs, p, k, targets)
    for dtype, tolerance in ((torch.float32, 1e-6), (torch.float64, 1e-12)):
        h, w = (x.detach().to(dtype).requires_grad_() for x in (hidden, weight))
        got, parts = fused_loss(h, w, targets, signal, kd(tau), alpha, 31.0, 211, chunk_rows=8)
        assert got.dtype == dtype
        assert abs(got.item() / want.item() - 1) < tolerance
        for mine, reference in zip(gradients(got, h, w), want_grads):
            assert relative(mine, reference) < tolerance
        assert not gradients(fused_loss(h, w, targets, signal, kd(tau), alpha, 31.0, 211)[0], w)[0][211:].any()
        total = (1 - alpha) * parts["lm"] + alpha * parts["kd"]
        assert total.item() / 31.0 == pytest.approx(got.item(), rel=1e-6)


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
def test_finite_differences(alpha: float) -> None:
    hidden, weight, targets, log_probs = case(n=5, width=4, vocab=13, padding=2)
    signal = signal_of(log_probs, 0.9, 6, targets)

    def scalar(h: Tensor, w: Tensor) -> Tensor:
        return 3.0 * fused_loss(h, w, targets, signal, kd(2.0), alpha, 7.0, 13, chunk_rows=2)[0]

    got = gradients(scalar(hidden.requires_grad_(), weight.requires_grad_()), hidden, weight)
    hidden, weight = hidden.detach(), weight.detach()
    for tensor, gradient in zip((hidden, weight), got):
        for i in range(tensor.numel()):
            values = []
            for step in (1e-5, -2e-5):
                tensor.view(-1)[i] += step
                values.append(scalar(hidden, weight).item())
            tensor.view(-1)[i] += 1e-5
            slope = (values[0] - values[1]) / 2e-5
            assert slope == pytest.approx(gradient.view(-1)[i].item(), rel=1e-6, abs=1e-7)


def test_a_student_equal_to_its_teacher_has_no_distillation_gradient() -> None:
    hidden, weight, targets, _ = case(padding=0)
    h, w = (x.float().requires_grad_() for x in (hidden, weight))
    log_probs = torch.log_softmax(hidden.float() @ weight.float().T, -1)
    signal = signal_of(log_probs, 1.0, None, targets)
    matched = gradients(fused_loss(h, w, targets, signal, kd(), 1.0, 1.0, 211)[0], h, w)
    data = gradients(fused_loss(h, w, targets, None, LM(), 0.0, 1.0, 211)[0], h, w)
    for zero, scale in zip(matched, data):
        assert zero.norm() < 1e-6 * scale.norm()


def test_language_model_loss_is_cross_entropy() -> None:
    hidden, weight, targets, _ = case(padding=0)
    h, w = hidden.requires_grad_(), weight.requires_grad_()
    want = torch.nn.functional.cross_entropy(h @ w.T, targets, ignore_index=-100, reduction="sum")
    got, parts = fused_loss(h, w, targets, None, LM(), 0.0, 1.0, 211)
    assert got.item() == pytest.approx(want.item(), rel=1e-12)
    assert parts["lm"].item() == got.item()
    for mine, reference in zip(gradients(got, h, w), gradients(want, h, w)):
        torch.testing.assert_close(mine, reference, rtol=1e-10, atol=1e-12)


def test_chunks_change_nothing() -> None:
    hidden, weight, targets, log_probs = case(n=64)
    signal = signal_of(log_probs, 0.95, 20, targets)
    results = []
    for rows in (1, 7, 64, 1000):
        h, w = hidden.detach().requires_grad_(), weight.detach().requires_grad_()
        loss, parts = fused_loss(h, w, targets, signal, kd(), 0.5, 9.0, 211, chunk_rows=rows)
        results.append((loss, *gradients(loss, h, w), parts["lm"], parts["kd"]))
    for other in results[1:]:
        for a, b in zip(results[0], other):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


def test_micro_batches_add_up() -> None:
    hidden, weight, targets, log_probs = case(n=40)
    signal = signal_of(log_probs, 0.95, 20, targets)
    h, w = hidden.requires_grad_(), weight.requires_grad_()
    divisor = float((targets != -100).sum())
    whole = fused_loss(h, w, targets, signal, kd(), 0.7, divisor, 211)[0]
    halves = [
        fused_loss(h[part], w, targets[part], signal.rows(part), kd(), 0.7, divisor, 211)[0]
        for part in (slice(0, 13), slice(13, 40))
    ]
    assert sum(halves).item() == pytest.approx(whole.item(), rel=1e-12)
    for a, b in zip(gradients(whole, h, w), gradients(halves[0] + halves[1], h, w)):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13)


def test_ignored_positions_count_for_nothing() -> None:
    hidden, weight, targets, log_probs = case()
    keep = targets != -100
    h, w = hidden.requires_grad_(), weight.requires_grad_()
    signal = signal_of(log_probs, 0.95, 20, targets)
    loss, parts = fused_loss(h, w, targets, signal, kd(), 0.5, 1.0, 211)
    grad_hidden, grad_weight = gradients(loss, h, w)
    assert not grad_hidden[~keep].any()
    fewer = signal_of(log_probs[keep], 0.95, 20, targets[keep])
    small = hidden[keep].detach().requires_grad_()
    same, same_parts = fused_loss(small, w, targets[keep], fewer, kd(), 0.5, 1.0, 211)
    assert same.item() == pytest.approx(loss.item(), rel=1e-12)
    assert float(same_parts["kd"]) == pytest.approx(float(parts["kd"]), rel=1e-12)
    torch.testing.assert_close(gradients(same, w)[0], grad_weight, rtol=1e-11, atol=1e-13)


def test_bfloat16_inputs_are_computed_in_float32() -> None:
    hidden, weight, targets, log_probs = case()
    h, w = (x.bfloat16().requires_grad_() for x in (hidden, weight))
    signal = signal_of(log_probs, 0.95, 20, targets)
    exact_h, exact_w = (x.detach().double().requires_grad_() for x in (h, w))
    want = dense_loss(exact_h, exact_w, targets, log_probs, 0.95, 20, 1.0, 0.5, 1.0, 211)
    with torch.autocast("cpu", torch.bfloat16):  # which must not reach inside
        got, _ = fused_loss(h, w, targets, signal, kd(), 0.5, 1.0, 211)
    assert got.item() == pytest.approx(want.item(), rel=1e-6)
    for mine, reference in zip(gradients(got, h, w), gradients(want, exact_h, exact_w)):
        assert mine.dtype == torch.bfloat16
        # Rounding the result is the only error: it is what float64 gradients rounded to bfloat16 have, too.
        assert relative(mine, reference) < 1.01 * relative(reference.bfloat16(), reference)


class Largest(TorchDispatchMode):
    """Elements of the largest tensor that any operation returned, and how many matrix products there were."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0
        self.products = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        self.products += "mm" in str(func)
        if isinstance(out, Tensor):
            self.elements = max(self.elements, out.numel())
        return out


def test_never_holds_tokens_by_vocabulary() -> None:
    n, width, vocab = 512, 8, 3000
    hidden, weight = torch.randn(n, width, requires_grad=True), torch.randn(vocab, width, requires_grad=True)
    targets = torch.randint(vocab, (n,))
    ids = torch.randint(vocab, (n, 10))
    signal = SparseTargets(ids, torch.full((n, 10), -3.0), *torch.zeros(5, n))
    with Largest() as seen:
        fused_loss(hidden, weight, targets, signal, kd(), 0.5, 1.0, vocab, chunk_rows=16)[0].backward()
    assert seen.elements == max(16 * vocab, vocab * width)


def test_evaluation_computes_no_gradients() -> None:
    hidden, weight, targets, _ = case()
    weight.requires_grad_()
    with Largest() as seen, torch.no_grad():
        fused_loss(hidden, weight, targets, None, LM(), 0.0, 1.0, 211, chunk_rows=100)
    assert seen.products == 1
    with Largest() as seen:
        loss, _ = fused_loss(hidden, weight, targets, None, LM(), 0.0, 1.0, 211, chunk_rows=100)
    assert seen.products == 2  # hidden needs none
    with pytest.raises(RuntimeError, match="once per loss"):
        loss.backward(retain_graph=True), loss.backward()


def test_alpha_without_a_teacher_is_an_error() -> None:
    hidden, weight, targets, _ = case()
    with pytest.raises(ValueError, match=r"alpha is 0\.5, but there is no teacher"):
        fused_loss(hidden, weight, targets, None, LM(), 0.5, 1.0, 211)


def test_the_signal_only_needs_ids_and_log_probabilities() -> None:
    """Padding places (-inf at id 0) add nothing to id 0."""
    hidden, weight, targets, log_probs = case(n=4)
    signal = signal_of(log_probs, 1.0, 3, targets)
    wide = SparseTargets(
        torch.nn.functional.pad(signal.ids, (0, 4)),
        torch.nn.functional.pad(signal.log_probs, (0, 4), value=-torch.inf),
        signal.tail, signal.gold, signal.log_normaliser, signal.entropy, signal.std,
    )  # fmt: skip
    w = weight.requires_grad_()
    a, b = (fused_loss(hidden, w, targets, s, kd(), 1.0, 1.0, 211)[0] for s in (signal, wide))
    assert torch.equal(gradients(a, w)[0], gradients(b, w)[0])


def test_top_p_k_of_the_reference_is_the_paper_s() -> None:
    """p cuts first: with masses .5 .3 .1 .1, p = .79 keeps two, whatever k above that."""
    log_probs = torch.tensor([0.1, 0.5, 0.1, 0.3]).log()[None]
    signal = signal_of(log_probs, 0.79, 3, torch.tensor([0]))
    assert signal.ids.tolist() == [[1, 3]]
