"""A student trained to convergence lands where each rest rule's docstring says."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pdstudy.config.losses import (  # fmt: skip
    KLD,
    NLL,
    Decoupled,
    Divergence,
    JensenShannon,
    OntoGold,
    Plain,
    Renormalise,
    RenormaliseBoth,
    Rest,
    ReverseKL,
    Smooth,
    Tail,
)
from pdstudy.config.run import KD, Pretrained
from pdstudy.distill.loss.fused import fused_loss
from tests.distill.dense import signal_of

# One context whose next token follows p: every id as often as its probability says.
COUNTS = torch.tensor([15, 11, 8, 6, 4, 3, 2, 1])
V, K = len(COUNTS), 3
P = COUNTS.double() / COUNTS.sum()
M = P[:K].sum()
INSIDE = torch.arange(V) < K
GOLD = torch.repeat_interleave(torch.arange(V), COUNTS)


def end(rest: Rest, loss: Divergence) -> Tensor:
    """The student's q at the minimum, from a flat start."""
    n = len(GOLD)
    kd = KD(teacher=Pretrained(path="unread"), rest=rest, loss=loss)
    signal = signal_of(P.log().expand(n, V), INSIDE.expand(n, V), GOLD, (), torch.float64)
    logits = torch.zeros(V, 1, dtype=torch.float64, requires_grad=True)
    hidden = torch.ones(n, 1, dtype=torch.float64)
    optimiser = torch.optim.LBFGS([logits], max_iter=500, tolerance_grad=1e-11, tolerance_change=0, history_size=30,
                                  line_search_fn="strong_wolfe")  # fmt: skip

    def closure() -> float:
        logits.grad = None
        value, _ = fused_loss(hidden, logits, GOLD, signal, kd, 1.0, n, V)
        value.backward()
        return value.item()

    optimiser.step(closure)
    return torch.softmax(logits.detach()[:, 0], 0)


CLOSED_FORM: list[tuple[Rest, Divergence, Tensor]] = [
    (Renormalise(), NLL(), torch.where(INSIDE, P / M, 0)),
    (Renormalise(), JensenShannon(), torch.where(INSIDE, P / M, 0)),
    (Plain(), NLL(), torch.where(INSIDE, P / M, 0)),
    (OntoGold(), NLL(), torch.where(INSIDE, (2 - M) * P, (1 - M) * P)),
    (Smooth(), NLL(), torch.where(INSIDE, P, (1 - M) / (V - K))),
    # Right on K and in mass; the shape of the rest stays as it began, flat.
    *((Tail(), loss, torch.where(INSIDE, P, (1 - M) / (V - K))) for loss in (NLL(), ReverseKL(), JensenShannon())),
    (Decoupled(), KLD(), torch.where(INSIDE, P, (1 - M) / (V - K))),
]


@pytest.mark.integration
@pytest.mark.parametrize(("rest", "loss", "want"), CLOSED_FORM, ids=lambda x: "" if isinstance(x, Tensor) else str(x))
def test_the_minimum_is_the_documented_one(rest: Rest, loss: Divergence, want: Tensor) -> None:
    torch.testing.assert_close(end(rest, loss), want, rtol=0, atol=1e-4)


def test_renormalising_both_sides_never_empties_the_tail() -> None:
    q = end(RenormaliseBoth(), NLL())
    torch.testing.assert_close(q[:K] / q[:K].sum(), P[:K] / M, rtol=0, atol=1e-6)
    assert q[K:].sum() > 0.5
