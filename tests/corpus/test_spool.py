"""Deduplication, split and shuffle follow from the content of documents and the seed alone."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdstudy.corpus.spool import SPLITS, Spool

TEXTS = st.lists(st.text(alphabet="abc ü\n", min_size=1, max_size=4), max_size=60)
SHARES = (0.2, 0.1)


def streams(texts: list[str], seed: int = 0, shares: tuple[float, float] = SHARES) -> dict[str, list[str]]:
    with tempfile.TemporaryDirectory() as folder, Spool(Path(folder) / "texts") as spool:
        for text in texts:
            spool.add(text.encode())
        index = spool.index()
        return {split: list(spool.texts(index, index.shuffled(split, shares, seed))) for split in SPLITS}


@given(TEXTS)
def test_every_distinct_document_is_in_one_split_once(texts: list[str]) -> None:
    found = [text for split in streams(texts).values() for text in split]
    assert sorted(found) == sorted(set(texts))


@given(TEXTS, TEXTS, st.integers(0, 9))
def test_appending_documents_moves_none(texts: list[str], more: list[str], seed: int) -> None:
    before, after = streams(texts, seed), streams(texts + more, seed)
    for split in SPLITS:
        kept = [text for text in after[split] if text in set(texts)]
        assert kept == before[split]  # neither to another split, nor past one another


@given(TEXTS, st.randoms(use_true_random=False))
def test_the_order_of_input_does_not_matter(texts: list[str], random: object) -> None:
    mixed = list(texts)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert streams(mixed) == streams(texts)


def test_golden_splits() -> None:
    # Stored results rest on it, and no fingerprint shows it: a change of these numbers moves text between splits.
    found = streams([f"document {i}" for i in range(24)])
    numbers = {split: [int(text.split()[1]) for text in texts] for split, texts in found.items()}
    assert numbers == {
        "train": [18, 9, 15, 7, 5, 11, 1, 8, 12, 4, 6, 23, 22, 0],
        "validation": [20, 19, 21, 16, 3, 13, 14],
        "test": [10, 17, 2],
    }


@pytest.mark.integration
def test_shares_are_met_and_the_seed_changes_order_only() -> None:
    texts = [f"document {i}" for i in range(20_000)]
    one, two = streams(texts, 1), streams(texts, 2)
    for split, share in (("train", 0.7), ("validation", 0.2), ("test", 0.1)):
        # Five standard deviations of a binomial share.
        assert abs(len(one[split]) / len(texts) - share) < 5 * np.sqrt(share * (1 - share) / len(texts))
        assert one[split] != two[split]
        assert set(one[split]) == set(two[split])
    places = np.array([texts.index(text) for text in one["test"]])
    assert abs(np.corrcoef(places, np.arange(len(places)))[0, 1]) < 0.1


def test_another_share_of_validation_leaves_the_test_split_alone() -> None:
    texts = [f"document {i}" for i in range(2000)]
    assert set(streams(texts, shares=(0.4, 0.1))["test"]) == set(streams(texts)["test"])
