"""Blocks that are decoded together are what each is by itself, bit for bit, whichever shards they lie in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdstudy.distill.store.codec import COLUMNS, Codec, Encoded, Exact
from pdstudy.distill.store.quantised import Planes
from tests.distill.test_codec import DRAWS, block_of

VOCAB = 70_000
COUNTED = {"vocab": VOCAB, "columns": len(COLUMNS) + 2, "draws": DRAWS}
CODECS: dict[str, Codec] = {
    "exact": Exact(**COUNTED, weighted=True),
    "small": Planes(**COUNTED),
}
TOKENS = 5
even = st.integers(1, 30).map(lambda count: [count] * TOKENS)
uneven = st.lists(st.integers(1, 30), min_size=TOKENS, max_size=TOKENS)
shard = st.lists(st.one_of(even, uneven), min_size=1, max_size=4)


@pytest.mark.integration
@pytest.mark.parametrize("name", CODECS)
@settings(deadline=None, max_examples=25)
@given(shards=st.lists(shard, min_size=1, max_size=3), k=st.one_of(st.none(), st.integers(1, 35)), data=st.data())
def test_together_is_one_below_the_other(
    name: str, shards: list[list[list[int]]], k: int | None, data: st.DataObject
) -> None:
    codec = CODECS[name]
    encoded = []
    for number, rows in enumerate(shards):
        blocks = [block_of(counts, VOCAB, seed=10 * number + i) for i, counts in enumerate(rows)]
        numbering = codec.numbering(blocks * 9)  # what recurs gets a number
        for block in blocks:
            block.columns[:] = np.abs(block.columns)
            encoded.append(Encoded(np.frombuffer(b"\0" + codec.encode(block, numbering), np.uint8)[1:], numbering))
    encoded = data.draw(st.permutations(encoded))
    together = codec.decode(encoded, TOKENS, k)
    width = together.ids.shape[1]
    for number, one in enumerate(encoded):
        rows = slice(number * TOKENS, (number + 1) * TOKENS)
        alone = codec.decode([one], TOKENS, k)
        own = alone.ids.shape[1]
        np.testing.assert_array_equal(together.ids[rows, :own], alone.ids)
        np.testing.assert_array_equal(together.log_probs[rows, :own], alone.log_probs)
        assert own == width or (k is None and not together.ids[rows, own:].any())
        assert (together.log_probs[rows, own:] == -np.inf).all()
        np.testing.assert_array_equal(together.columns[:, rows], alone.columns)
        np.testing.assert_array_equal(together.drawn[rows], alone.drawn)
        np.testing.assert_array_equal(together.drawn_weights[rows], alone.drawn_weights)
    assert len(together.ids) == len(encoded) * TOKENS
