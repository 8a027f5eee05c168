"""Ranking and cutting against the definition in plain Python."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pdstudy.config.truncation import TopPK
from pdstudy.distill.signal import SparseTargets
from pdstudy.distill.truncate import cut, mark_kept, rank
from tests.distill.reference import kept_ids, teacher_log_probs


@settings(deadline=None, max_examples=100)
@given(
    values=st.lists(st.sampled_from([-0.0, 0.0, -1.5, -2.0, -2.0000002, -30.0]), min_size=1, max_size=40),
    k=st.integers(1, 40),
)
def test_rank_is_by_value_then_by_id(values: list[float], k: int) -> None:
    k = min(k, len(values))
    row = torch.tensor(values)[None]
    ids, log_probs = rank(row, k)
    want = sorted(range(len(values)), key=lambda i: (-row[0, i].item(), i))[:k]
    assert ids[0].tolist() == want
    assert torch.equal(log_probs[0], row[0, want])


def test_rank_of_real_sized_rows() -> None:
    log_probs = teacher_log_probs(8, 60_000)
    ids, values = rank(log_probs, 50)
    torch.testing.assert_close(values, log_probs.topk(50).values, rtol=0, atol=0)
    assert torch.equal(log_probs.gather(1, ids), values)
    rounded = log_probs.bfloat16().float()  # many ties
    ids, values = rank(rounded, 50)
    want = np.stack([np.lexsort((np.arange(60_000), -row))[:50] for row in rounded.numpy()])
    np.testing.assert_array_equal(ids.numpy(), want)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 50), p=st.floats(0.01, 1.0), k=st.one_of(st.none(), st.integers(1, 30)))
def test_p_cuts_then_k(seed: int, p: float, k: int | None) -> None:
    log_probs = teacher_log_probs(3, 24, seed)
    ids, values = rank(log_probs, 24)
    mask = mark_kept(values, TopPK(p=p, k=k))
    for row in range(3):
        assert ids[row, mask[row]].tolist() == kept_ids(log_probs[row].tolist(), p, k)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 20),
    outer=st.tuples(st.floats(0.3, 1.0), st.integers(5, 24)),
    inner=st.tuples(st.floats(0.05, 1.0), st.integers(1, 24)),
)
def test_a_cut_of_a_cut_is_the_cut(seed: int, outer: tuple[float, int], inner: tuple[float, int]) -> None:
    """What a store derives is what the full distribution gives."""
    p, k = min(inner[0], outer[0]), min(inner[1], outer[1])
    log_probs = teacher_log_probs(4, 24, seed)
    ids, values = rank(log_probs, 24)
    zeros = torch.zeros(4)
    full = SparseTargets(ids, values, zeros, zeros, zeros, zeros, zeros)
    twice = cut(cut(full, TopPK(p=outer[0], k=outer[1])), TopPK(p=p, k=k))
    once = cut(full, TopPK(p=p, k=k))
    assert torch.equal(twice.ids, once.ids)
    assert torch.equal(twice.log_probs, once.log_probs)
    torch.testing.assert_close(twice.tail, once.tail, rtol=0, atol=1e-7)
    mass = once.log_probs.double().exp().sum(1) + once.tail
    torch.testing.assert_close(mass, torch.ones(4, dtype=torch.float64), rtol=0, atol=3e-7)


def test_masses_are_summed_in_float64() -> None:
    """A p just above the mass before an entry keeps it, one just below does not: float32 cannot tell the two."""
    log_probs = torch.log_softmax(torch.linspace(2.0, 0.0, 50, dtype=torch.float64), 0).float()[None]
    before = np.cumsum(log_probs[0].double().exp().numpy())
    for place in range(1, 49):
        for nudge, kept in ((1e-12, place + 1), (-1e-12, place)):
            truncation = TopPK(p=float(before[place - 1]) + nudge, k=None)
            assert int(mark_kept(log_probs, truncation).sum()) == kept
