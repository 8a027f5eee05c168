"""Codecs: what goes in comes out."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdstudy.core.errors import ConfigError
from pdstudy.core.identity import decode, encode
from pdstudy.distill.store.codec import COLUMNS, TAIL, Block, Encoded, Exact
from pdstudy.distill.store.quantised import Planes

DRAWS = 4


def block_of(counts: list[int], vocab: int, seed: int) -> Block:
    """Random rows with `counts` entries, descending log-probabilities of total mass below one, random columns."""
    rng = np.random.default_rng(seed)
    width = max(counts)
    ids = np.zeros((len(counts), width), np.int64)
    log_probs = np.full((len(counts), width), -np.inf, np.float32)
    columns = rng.normal(size=(len(COLUMNS) + 2, len(counts))).astype(np.float32)
    for i, count in enumerate(counts):
        ids[i, :count] = rng.permutation(vocab)[:count]
        probs = np.sort(rng.dirichlet(np.full(count + 1, 0.3)))[::-1]
        log_probs[i, :count] = np.log(np.maximum(probs[:count], 1e-30))
        columns[TAIL, i] = probs[count:].sum()
    drawn = rng.integers(0, vocab, size=(len(counts), DRAWS))
    return Block(ids, log_probs, columns, drawn, rng.random(drawn.shape, np.float32))


def flat(block: Block, codec: Exact) -> npt.NDArray[np.uint8]:
    # An odd offset: blocks lie in a shard wherever the one before ended.
    return np.frombuffer(b"\0" + codec.encode(block, codec.numbering([block])), np.uint8)[1:]


counts = st.lists(st.integers(1, 30), min_size=1, max_size=12)


@pytest.mark.integration
@settings(deadline=None, max_examples=80)
@given(counts=counts, seed=st.integers(0, 10), vocab=st.sampled_from([40, 65_536, 65_537, 262_144]))
def test_exact_is_exact(counts: list[int], seed: int, vocab: int) -> None:
    codec = decode(encode(Exact(vocab=vocab, columns=len(COLUMNS) + 2, draws=DRAWS, weighted=True)))
    block = block_of(counts, vocab, seed)
    got = codec.decode([Encoded(flat(block, codec), codec.numbering([block]))], len(counts), None)
    for field in dataclasses.fields(Block):
        np.testing.assert_array_equal(getattr(got, field.name), getattr(block, field.name))


@settings(deadline=None, max_examples=80)
@given(counts=counts, seed=st.integers(0, 10), k=st.integers(1, 35))
def test_a_smaller_k_is_a_prefix_and_mass_is_kept(counts: list[int], seed: int, k: int) -> None:
    codec = Exact(vocab=300, columns=len(COLUMNS) + 2, draws=DRAWS, weighted=True)
    block = block_of(counts, 300, seed)
    got = codec.decode([Encoded(flat(block, codec), codec.numbering([block]))], len(counts), k)
    shared = min(k, block.ids.shape[1])
    np.testing.assert_array_equal(got.ids[:, :shared], block.ids[:, :shared])
    np.testing.assert_array_equal(got.log_probs[:, :shared], block.log_probs[:, :shared])
    assert got.ids.shape[1] == k
    assert not got.ids[:, shared:].any()
    mass = np.exp(got.log_probs.astype(np.float64)).sum(1) + got.columns[TAIL]
    np.testing.assert_allclose(mass, 1, atol=2e-7)
    whole = np.array(counts) <= k
    np.testing.assert_array_equal(got.columns[:, whole], block.columns[:, whole])


def test_bytes_that_cannot_be_a_block_are_refused() -> None:
    codec = Exact(vocab=300, columns=len(COLUMNS) + 2, draws=DRAWS, weighted=True)
    data = flat(block_of([3, 4], 300, 0), codec)
    with pytest.raises(ConfigError, match="a block of 2 positions and 7 entries has"):
        codec.decode([Encoded(data[:-1], codec.numbering([]))], 2, None)


@pytest.mark.parametrize("vocab", [65_535, 65_536, 65_537, 2**18])
def test_the_largest_id_is_kept_and_drawn(vocab: int) -> None:
    """Which random ids hardly ever are: two bytes hold ids up to 65,535."""
    ids = np.array([[vocab - 1, 0], [vocab - 2, vocab - 1]])
    log_probs = np.log(np.array([[0.5, 0.25], [0.75, 0.125]], np.float32))
    columns = np.abs(np.random.default_rng(0).normal(size=(len(COLUMNS), 2))).astype(np.float32)
    block = Block(ids, log_probs, columns, ids[:, ::-1].copy(), np.ones((2, 2), np.float32))
    for codec in (Exact(vocab=vocab, draws=2), Planes(vocab=vocab, draws=2)):
        numbering = codec.numbering([block])
        data = np.frombuffer(codec.encode(block, numbering), np.uint8)
        got = codec.decode([Encoded(data, numbering)], 2, None)
        np.testing.assert_array_equal(got.ids, block.ids)
        np.testing.assert_array_equal(got.drawn, block.drawn)
