"""Batches are a pure function of (run, step)."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdstudy.config.data import Corpus, Slice, View
from pdstudy.config.logits import Capture
from pdstudy.config.model import Shape
from pdstudy.config.optimizer import WSD, AdamW
from pdstudy.config.run import Pretrained, Run
from pdstudy.config.text_sources import StandardLibrary
from pdstudy.config.truncation import TopPK
from pdstudy.core.validation import problems
from pdstudy.corpus import TokenCorpus
from pdstudy.corpus.batch import IGNORED, read_batch, step_sequences
from pdstudy.corpus.permutation import order

RUN = Run(
    student=Shape(width=32, layers=1, heads=2, query_groups=1, ffn=64, vocab=640),
    corpus=Corpus(sources=(StandardLibrary(),)),
    data=Slice(tokens=64 * 100, start=64 * 10),
    view=View(context=64),
    optimiser=AdamW(lr=1e-3),
    schedule=WSD(warmup_tokens=0, decay_tokens=0),
    tokens_per_step=64 * 6,
    steps=40,
)


@given(seed=st.integers(0, 2**63), size=st.integers(1, 3000), epoch=st.integers(0, 5))
def test_every_epoch_is_a_permutation(seed: int, size: int, epoch: int) -> None:
    assert np.array_equal(np.sort(order(seed, size, epoch * size, size)), np.arange(size))


@given(seed=st.integers(0, 100), size=st.integers(1, 50), first=st.integers(0, 200), cuts=st.lists(st.integers(1, 60)))
def test_order_does_not_depend_on_how_it_is_read(seed: int, size: int, first: int, cuts: list[int]) -> None:
    pieces, at = [], first
    for cut in cuts:
        pieces.append(order(seed, size, at, cut))
        at += cut
    whole = order(seed, size, first, at - first)
    assert np.array_equal(np.concatenate([*pieces, []]), whole)


def test_orders_are_uniform_and_differ_between_seeds_and_epochs() -> None:
    # All 24 permutations of four, each about equally often: chi-squared of 23 degrees of freedom, 0.9999 quantile 58.6.
    counts = dict.fromkeys(itertools.permutations(range(4)), 0)
    for seed in range(600):
        for epoch in range(4):
            counts[tuple(order(seed, 4, epoch * 4, 4).tolist())] += 1
    assert sum((n - 100) ** 2 / 100 for n in counts.values()) < 58.6
    # Neighbours in a long order are not neighbours in the slice.
    steps = np.diff(order(1, 10_007, 0, 10_007))
    assert abs(np.mean(np.abs(steps)) - 10_007 / 3) < 150
    assert np.mean(order(1, 10_007, 0, 10_007) == order(2, 10_007, 0, 10_007)) < 0.001


def test_order_of_a_large_slice_takes_no_memory() -> None:
    # 2**40 sequences: an order that were held anywhere would not fit.
    places = order(3, 2**40, 2**40 - 4, 8)
    assert places.shape == (8,)
    assert ((places >= 0) & (places < 2**40)).all()


def test_golden_order() -> None:
    # Stored results rest on it: a change of these numbers is a change of every run.
    assert order(0, 10, 0, 20).tolist() == [5, 6, 7, 9, 2, 4, 1, 3, 8, 0, 4, 3, 8, 1, 5, 2, 6, 7, 0, 9]


def test_steps_cover_the_slice_once_per_epoch_whatever_the_total() -> None:
    longer = dataclasses.replace(RUN, steps=4000)
    seen = np.concatenate([step_sequences(RUN, step) for step in range(40)])
    assert np.array_equal(seen, np.concatenate([step_sequences(longer, step) for step in range(40)]))
    assert np.array_equal(np.sort(seen[:100]), np.arange(10, 110))
    assert np.array_equal(np.sort(seen[100:200]), np.arange(10, 110))
    assert not np.array_equal(seen[:100], seen[100:200])


def test_another_batch_size_reads_the_same_order() -> None:
    other = dataclasses.replace(RUN, tokens_per_step=64 * 4)
    a = np.concatenate([step_sequences(RUN, step) for step in range(10)])
    assert np.array_equal(a, np.concatenate([step_sequences(other, step) for step in range(15)]))


@pytest.mark.integration
def test_read_gives_inputs_and_the_tokens_after_them(standard: TokenCorpus) -> None:
    stream = standard.stream("train")
    sequences = step_sequences(RUN, 7)
    batch = read_batch(stream, RUN.view, sequences)
    assert batch.documents is None
    assert np.array_equal(batch.sequences, sequences)
    for row, sequence in enumerate(sequences):
        expected = stream.tokens(sequence * 64, sequence * 64 + 65)
        assert np.array_equal(batch.inputs[row], expected[:-1])
        assert np.array_equal(batch.targets[row], expected[1:])


@pytest.mark.integration
def test_respected_documents_have_no_target_across_their_end(standard: TokenCorpus) -> None:
    stream = standard.stream("train")
    starts = stream.document_starts(0, len(stream))
    context = 512
    # Sequences in which a document begins: inside, and (by the choice of context) at the very first position.
    sequences = np.unique(np.append(starts[1:40] // context, 0))
    view = View(context=context, documents="respect")
    crossing, batch = read_batch(stream, View(context=context), sequences), read_batch(stream, view, sequences)
    assert batch.documents is not None
    assert np.array_equal(batch.inputs, crossing.inputs)
    document_of = np.searchsorted(starts, np.arange(len(stream)), side="right")
    for row, sequence in enumerate(sequences):
        at = np.arange(sequence * context, (sequence + 1) * context)
        inside = document_of[at] == document_of[at + 1]
        assert np.array_equal(batch.targets[row][inside], crossing.targets[row][inside])
        assert (batch.targets[row][~inside] == IGNORED).all()
        assert (batch.inputs[row][~inside] == standard.eos).all()
        assert np.array_equal(batch.documents[row], document_of[at] - document_of[at[0]])
    assert (batch.targets == IGNORED).sum() >= 30


def test_past_the_end_is_refused(standard: TokenCorpus) -> None:
    stream = standard.stream("test")
    with pytest.raises(ValueError, match="of the test split are needed, but it has"):
        read_batch(stream, View(context=64), np.array([len(stream) // 64]))


def test_a_slice_in_the_order_of_the_stream_begins_at_its_own_start() -> None:
    streamed = dataclasses.replace(RUN, order="stream")
    seen = np.concatenate([step_sequences(streamed, step) for step in range(40)])
    assert np.array_equal(seen, 10 + np.arange(240) % 100)


def test_slices_that_are_not_aligned_are_refused() -> None:
    """Start and length, of a run's text and of a capture's: a sequence of the view must not begin before the slice."""
    for data in (Slice(tokens=6400, start=639), Slice(tokens=6399, start=640)):
        name, value = ("start", 639) if data.start % 64 else ("tokens", 6399)
        run = dataclasses.replace(RUN, data=data)
        capture = Capture(teacher=Pretrained(path="unread"), corpus=RUN.corpus, view=RUN.view, data=data,
                          truncation=TopPK())  # fmt: skip
        for declared in (run, capture):
            found = {problem.field: problem.found for problem in problems(declared)}
            assert found.get(f"data.{name}") == value, declared
