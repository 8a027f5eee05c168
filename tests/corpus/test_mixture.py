"""Mixtures are exact over any slice, and their parts are corpora of their own with the same tokens."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdstudy.config.data import BPE, Corpus, Mixture, PretrainedTokenizer, Slice, View
from pdstudy.config.evaluation import Heldout, split_of
from pdstudy.config.text_sources import LocalFiles, StandardLibrary
from pdstudy.core.errors import ConfigError
from pdstudy.core.identity import decode, encode, fingerprint
from pdstudy.core.validation import problems
from pdstudy.corpus import TokenCorpus, build, open_corpus
from pdstudy.corpus.mixture_build import LONGEST_PIECE, cut_pieces, interleave
from pdstudy.evaluate.heldout_data import held_out
from pdstudy.study.validation import check_evaluations
from tests.core.test_normal import make_run
from tests.corpus.pretrained import write_tokenizer


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> tuple[LocalFiles, LocalFiles]:
    """A hundred texts of digits, and four hundred of letters."""
    folder: Path = tmp_path_factory.mktemp("sources")
    rng = np.random.default_rng(0)
    for name, alphabet, count in (("digits", "0123456789", 100), ("letters", "abcdefghij", 400)):
        texts = ["".join(rng.choice(list(alphabet), size)) for size in rng.integers(20, 400, count)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    digits, letters = (LocalFiles(paths=(str(folder / f"{name}.jsonl"),)) for name in ("digits", "letters"))
    return digits, letters


def declare(sources: tuple[LocalFiles, LocalFiles], share: float = 0.3, **fields: object) -> Corpus:
    mixture = Mixture((sources[0], share), (sources[1], round(1 - share, 6)))
    fields = {"tokenizer": BPE(vocab=257, sample_bytes=10_000), "validation": 0.2, "test": 0.2} | fields
    return Corpus(sources=(mixture,), **fields)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def mixed(sources: tuple[LocalFiles, LocalFiles], tmp_path_factory: pytest.TempPathFactory) -> TokenCorpus:
    corpus = declare(sources)
    directory = tmp_path_factory.mktemp("corpora") / fingerprint(corpus)
    build(corpus, directory)
    return open_corpus(directory)


def test_any_slice_has_the_shares(mixed: TokenCorpus) -> None:
    """Of 257 ids a byte is one, so that a token is a digit, a letter or an end."""
    rng = np.random.default_rng(1)
    stream = mixed.stream("train")
    ids = stream.tokens(0, len(stream))
    starts = np.append(stream.document_starts(0, len(stream)), len(stream))
    first = np.array([mixed.token_bytes[ids[a]] and _is_digit(mixed, ids[a]) for a in starts[:-1]])
    digit = np.repeat(first, np.diff(starts))
    longest = int(np.diff(starts).max())
    for a, b in np.sort(rng.integers(0, len(stream) + 1, (300, 2)), axis=1):
        assert abs(digit[a:b].sum() - 0.3 * (b - a)) <= longest * (1 + 0.3 * 2)
    facts = mixed.manifest["splits"]["train"]
    assert abs(digit.sum() - 0.3 * len(stream)) <= facts["deviation"] <= longest
    assert min(facts["unused"]) <= longest < max(facts["unused"])  # it ends where the digits do


def _is_digit(corpus: TokenCorpus, token: np.int64) -> bool:
    names = json.loads((corpus.tokenizer_dir / "tokenizer.json").read_text())["model"]["vocab"]
    return {number: name for name, number in names.items()}[int(token)].isdigit()


@pytest.mark.integration
@given(
    st.lists(st.lists(st.integers(1, LONGEST_PIECE), min_size=1, max_size=60), min_size=2, max_size=4),
    st.lists(st.integers(1, 9), min_size=4, max_size=4),
)
def test_the_stated_tolerance_holds(lengths: list[list[int]], weights: list[int]) -> None:
    shares = [weight / sum(weights[: len(lengths)]) for weight in weights[: len(lengths)]]
    arrays = [np.array(each, dtype=np.int64) for each in lengths]
    order, deviation = interleave(arrays, shares)
    source = np.repeat(np.arange(len(arrays)), list(map(len, arrays)))[order]
    sizes = np.concatenate(arrays)[order]
    longest = max(map(max, lengths))
    total, given_so_far, worst = 0, np.zeros(len(shares)), 0.0
    for number, size in zip(source, sizes, strict=True):
        total += int(size)
        given_so_far[number] += size
        off = np.abs(given_so_far - np.array(shares) * total)
        assert (off <= longest * (1 + np.array(shares) * len(shares)) / 2 + 1e-6).all()
        worst = max(worst, float(off.max()))
    assert deviation == pytest.approx(worst)
    for number in range(len(arrays)):  # a source's documents keep their order
        mine = order[source == number]
        assert (np.diff(mine) == 1).all()


def test_a_long_document_has_its_turn_in_the_middle_of_its_share() -> None:
    """Its 100 tokens come after 50 of the other source, not after all 100 that its share stands for."""
    order, deviation = interleave([np.full(10, 100), np.ones(1000, dtype=np.int64)], [0.5, 0.5])
    assert deviation == pytest.approx(25, abs=1)
    assert np.flatnonzero(order == 0)[0] in (49, 50)


def test_long_documents_come_in_pieces() -> None:
    starts, lengths = cut_pieces(np.array([0, 10, 10 + 2 * LONGEST_PIECE]), 13 + 2 * LONGEST_PIECE)
    assert starts.tolist() == [0, 10, 10 + LONGEST_PIECE, 10 + 2 * LONGEST_PIECE]
    assert lengths.tolist() == [10, LONGEST_PIECE, LONGEST_PIECE, 3]


def test_parts_have_the_same_tokens_and_their_own_slices(
    mixed: TokenCorpus, sources: tuple[LocalFiles, LocalFiles]
) -> None:
    corpus = declare(sources)
    digits, letters = (open_corpus(mixed.directory.parent / fingerprint(part)) for part in corpus.parts)
    assert digits.tokenizer_hash == letters.tokenizer_hash == mixed.tokenizer_hash
    assert len({fingerprint(each.ids) for each in (corpus, *corpus.parts)}) == 1
    stream = digits.stream("test")
    ids = stream.tokens(0, len(stream))
    assert all(_is_digit(mixed, token) for token in np.unique(ids[ids != mixed.eos]))
    own = {tuple(stream.tokens(a, b)) for a, b in _documents(stream)}
    seen = {split: {tuple(mixed.stream(split).tokens(a, b)) for a, b in _documents(mixed.stream(split))} for split in
            ("train", "validation", "test")}  # fmt: skip
    assert not own & (seen["train"] | seen["validation"])  # what is held out of a part is held out of the mixture
    assert len(own & seen["test"]) > len(own) / 2


def _documents(stream: object) -> list[tuple[int, int]]:
    starts = [*stream.document_starts(0, len(stream)), len(stream)]  # type: ignore[attr-defined, arg-type]
    return list(itertools.pairwise(starts))


def test_mixtures_of_other_shares_share_their_parts(sources: tuple[LocalFiles, LocalFiles], tmp_path: Path) -> None:
    path = write_tokenizer(tmp_path / "tokenizer", ["0123456789 abcdefghij"])
    corpora = [declare(sources, share, tokenizer=PretrainedTokenizer(path=path)) for share in (0.2, 0.5)]
    assert fingerprint(corpora[0]) != fingerprint(corpora[1])
    assert corpora[0].parts == corpora[1].parts
    for corpus in corpora:
        build(corpus, tmp_path / fingerprint(corpus))
    assert len(list(tmp_path.glob("*/manifest.json"))) == 4
    again = decode(encode(corpora[0]))
    assert again == corpora[0]
    assert dataclasses.replace(again, shuffle_seed=1).mixture == corpora[0].mixture


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        ((Mixture((StandardLibrary(), 0.5), (StandardLibrary(), 0.6)),), "sum to 1 (such as 0.4545, 0.5455)"),
        ((Mixture((StandardLibrary(), 1.0)),), "two (source, share) or more"),
        ((Mixture((StandardLibrary(), 0.0), (StandardLibrary(), 1.0)),), "shares above 0"),
        ((Mixture((StandardLibrary(), 0.5), (StandardLibrary(), 0.5)), StandardLibrary()), "a Mixture alone"),
        ((Mixture((StandardLibrary(), "half"), (StandardLibrary(), 0.5)),), "parts[0]"),  # type: ignore[arg-type]
    ],
)
def test_mixtures_that_are_none_are_refused(sources: tuple[Mixture, ...], said: str) -> None:
    found = list(problems(Corpus(sources=sources)))
    assert len(found) == 1, found
    assert said in str(found[0])


def test_a_loss_out_of_domain_is_a_column_of_its_own(
    mixed: TokenCorpus, sources: tuple[LocalFiles, LocalFiles]
) -> None:
    corpus, part = declare(sources), Slice(tokens=256, split="test")
    heldout = Heldout(data=part, corpus=corpus.parts[0], name="digits")
    assert (split_of(heldout), split_of(Heldout(data=part))) == ("digits_test", "test")
    assert split_of(Heldout(data=part, corpus=corpus.parts[0])) == "LocalFiles_test"
    assert fingerprint(heldout) == fingerprint(dataclasses.replace(heldout, name=None))  # a name changes no result
    assert "corpus" not in json.dumps(encode(fingerprint(Heldout(data=part))))
    view = View(context=64)
    text = held_out(heldout, view, mixed)
    assert text.described["split"] == "digits_test"
    assert all(_is_digit(mixed, t) for t in np.unique(text.read(np.arange(2)).inputs) if t != mixed.eos)


def test_another_corpus_must_have_the_same_tokens(
    mixed: TokenCorpus, sources: tuple[LocalFiles, LocalFiles], tmp_path: Path
) -> None:
    part, corpus = Slice(tokens=256, split="test"), declare(sources)
    run = dataclasses.replace(make_run(), corpus=corpus)
    other = Corpus(sources=sources[:1], tokenizer=BPE(vocab=300))
    (problem,) = check_evaluations((Heldout(data=part, corpus=other),), run.view, (run,), ())
    assert "evaluations[0].corpus.tokenizer" in str(problem)
    assert "tokenizer=CORPUS of the runs" in str(problem)
    good = (Heldout(data=part, corpus=corpus.parts[0]), Heldout(data=part, corpus=corpus.parts[1]))
    (problem,) = check_evaluations(good, run.view, (run,), ())
    assert "evaluations[1].name: found None; allowed: another than 'LocalFiles_test'" in str(problem)
    assert not list(check_evaluations((Heldout(data=part, corpus=other.__class__(
        sources=(StandardLibrary(),), tokenizer=corpus)),), run.view, (run,), ()))  # fmt: skip
    build(other, mixed.directory.parent / fingerprint(other))
    with pytest.raises(ConfigError, match="has another tokenizer than"):
        held_out(Heldout(data=part, corpus=other), View(context=64), mixed)
