"""The coded store: its error is known and small, and its ids are exact."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pdstudy.config.logits import Coverage, StoreSpec, required_coverage, union
from pdstudy.config.run import KD, Pretrained
from pdstudy.config.truncation import TopPK
from pdstudy.core.errors import ConfigError
from pdstudy.core.identity import decode, encode
from pdstudy.corpus import TokenCorpus
from pdstudy.distill.store.codec import COLUMNS, GOLD, TAIL, Block, Encoded, Numbering
from pdstudy.distill.store.quantised import FINE, MOST_ADDED_KL, Planes, added_kl
from pdstudy.distill.store.shard import measure_coding_error
from pdstudy.distill.store.store import open_store
from pdstudy.distill.teacher import capture as captures
from pdstudy.distill.teacher.capture import capture
from pdstudy.distill.teacher.statistics import summarise
from tests.distill.test_codec import block_of, counts


def flat(block: Block, codec: Planes) -> npt.NDArray[np.uint8]:
    return np.frombuffer(b"\0" + codec.encode(block, codec.numbering([block])), np.uint8)[1:]


def natural(vocab: int = 5000, tokens: int = 96, k: int = 60, p: float = 1.0) -> Block:
    """Distributions as peaked as a language model's, through the same code as a capture."""
    generator = torch.Generator().manual_seed(0)
    spread = 1 + 3 * torch.rand(tokens, 1, generator=generator)
    logits = spread * torch.randn(tokens, vocab, generator=generator)
    gold = logits.argmax(1)
    return captures.to_block(summarise(logits, gold, Coverage(p=p, k=k, taus=(2.0,), draws=5), vocab, seed=0))


@pytest.mark.integration
@settings(deadline=None, max_examples=60)
@given(
    counts=counts,
    seed=st.integers(0, 10),
    vocab=st.sampled_from([40, 65_536, 65_537, 262_144]),
    k=st.one_of(st.none(), st.integers(1, 35)),
)
def test_ids_are_exact_and_values_within_half_a_step(counts: list[int], seed: int, vocab: int, k: int | None) -> None:
    codec = decode(encode(Planes(vocab=vocab, columns=len(COLUMNS) + 2, draws=4)))
    block = block_of(counts, vocab, seed)
    block.columns[GOLD] = -np.abs(block.columns[GOLD])
    block.columns[len(COLUMNS) :] = np.abs(block.columns[len(COLUMNS) :]) + 0.01
    got = codec.decode([Encoded(flat(block, codec), codec.numbering([block]))], len(counts), k)
    width = min(got.ids.shape[1], block.ids.shape[1])
    np.testing.assert_array_equal(got.ids[:, :width], block.ids[:, :width])
    np.testing.assert_array_equal(got.drawn, block.drawn)
    assert not got.ids[:, width:].any()
    assert (got.log_probs[:, width:] == -np.inf).all()
    exact, coded = block.log_probs[:, :width], got.log_probs[:, :width]
    np.testing.assert_array_equal(exact == -np.inf, coded == -np.inf)
    depth = block.log_probs[:, :1] - exact
    # Half a step, and the rounding of the first entry to float16.
    error = np.abs(np.where(np.isfinite(exact), exact - np.where(np.isfinite(exact), coded, 0), 0))
    assert (error[depth <= 12] <= 1 / 32 + 0.005).all()
    assert (error[(depth > 12) & (depth < 27)] <= 1 / 8 + 0.02).all()
    np.testing.assert_allclose(got.columns[GOLD], block.columns[GOLD], atol=1 / 2048 + 1e-6)
    np.testing.assert_allclose(got.columns[2:], block.columns[2:], rtol=5e-3, atol=1e-3)


@pytest.mark.parametrize("p", [1.0, 0.9])
def test_an_entry_takes_less_than_two_bytes_and_the_error_is_small(p: float) -> None:
    block = natural(p=p)
    codec = Planes(vocab=5000, columns=6, draws=5)
    data = flat(block, codec)
    sizes = codec.sizes(data, 96)
    assert (sizes["values"] + sizes["ids"]) / (block.log_probs > -np.inf).sum() < 1.9
    coded = codec.decode([Encoded(data, codec.numbering([block]))], 96, None)
    added = added_kl(block, coded)
    assert added.min() > -1e-9
    assert added.mean() < 1e-4 < MOST_ADDED_KL
    big = block.columns[TAIL] > 1e-6
    np.testing.assert_allclose(coded.columns[TAIL, big], block.columns[TAIL, big], rtol=1 / 32 + 1e-3)


def test_a_shard_numbers_its_frequent_ids_first_and_that_saves_bytes() -> None:
    block = natural(vocab=20_000)
    # Half of the entries are 64 ids that lie far apart.
    block.ids[:, ::2] = np.random.default_rng(0).permutation(64)[np.newaxis, :30] * 300 + 77
    codec = Planes(vocab=20_000, columns=6, draws=5)
    numbering, none = codec.numbering([block]), Numbering(np.zeros(0, np.uint32), 20_000)
    assert set(numbering.first[:30].tolist()) == set(block.ids[0, ::2].tolist())
    np.testing.assert_array_equal(numbering.ids[numbering.numbers], np.arange(20_000))
    data = {by: codec.encode(block, by) for by in (numbering, none)}
    assert len(data[numbering]) < 0.95 * len(data[none])
    for by, encoded in data.items():
        got = codec.decode([Encoded(np.frombuffer(encoded, np.uint8), by)], len(block.ids), None)
        np.testing.assert_array_equal(got.ids, block.ids)


def test_a_small_shard_numbers_few_ids() -> None:
    """One for each 64 entries at most: a longer list would cost more bytes than it saves."""
    block = natural(vocab=20_000)
    entries = int((block.log_probs > -np.inf).sum())
    assert 0 < len(Planes(vocab=20_000, columns=6, draws=5).numbering([block]).first) <= entries // 64


def test_the_error_is_the_kl_divergence() -> None:
    exact, coded = natural(tokens=1, k=3), natural(tokens=1, k=3)
    coded.log_probs[:] = np.log([[0.5, 0.2, 0.1]])
    coded.columns[TAIL] = 0.2
    p = np.append(np.exp(exact.log_probs[0].astype(np.float64)), exact.columns[TAIL])
    p /= p.sum()
    want = (p * np.log(p / [0.5, 0.2, 0.1, 0.2])).sum()
    assert added_kl(exact, coded)[0] == pytest.approx(want, rel=1e-6)


def test_distributions_that_coding_would_bend_too_much_are_not_written() -> None:
    """All entries but the first lie between two steps, and are rounded apart."""
    block = natural(tokens=8, k=21)
    depths = np.where(np.arange(20) < 10, 0.98, 1.02) * FINE
    depths = (np.floor(depths) + np.where(np.arange(20) < 10, 0.499, 0.501)) / FINE
    block.log_probs[:] = -3.0 - np.append(0, depths)
    block.columns[TAIL] = 1 - np.exp(block.log_probs.astype(np.float64)).sum(1)
    codec = Planes(vocab=5000, columns=6, draws=5)
    numbering = codec.numbering([block])
    with pytest.raises(ConfigError, match=r"would add .* nats per token .*capture with encoding='exact'"):
        measure_coding_error([block], [codec.encode(block, numbering)], codec, 8, numbering)


def test_more_entries_than_a_coded_store_can_count_are_refused() -> None:
    vocab = 70_000
    ids = np.arange(vocab)[None]
    log_probs = np.full((1, vocab), -np.log(vocab), np.float32)
    block = Block(ids, log_probs, np.zeros((5, 1), np.float32), ids[:, :0], log_probs[:, :0])
    codec = Planes(vocab=vocab)
    with pytest.raises(ConfigError, match=r"keeps 70,000 entries, a coded store at most 65,535; capture with a k"):
        codec.encode(block, codec.numbering([block]))


def test_bytes_that_cannot_be_a_block_are_refused() -> None:
    codec = Planes(vocab=5000, columns=6, draws=5)
    data, numbering = flat(natural(), codec), codec.numbering([natural()])
    with pytest.raises(ConfigError, match="cannot have"):
        codec.decode([Encoded(data[:-1], numbering)], 96, None)
    with pytest.raises(ConfigError, match="was read as 95"):
        codec.decode([Encoded(data, numbering)], 95, None)


def test_a_coded_store_serves_what_an_exact_one_does(
    tmp_path: Path, spec: StoreSpec, corpus: TokenCorpus, teacher: Path
) -> None:
    encoding: Literal["small"] = "small"
    cut, sequences = TopPK(p=0.98, k=20), np.arange(6)
    signals = {}
    for name in ("exact", encoding):
        coverage = Coverage(p=0.98, k=40, encoding=name)
        capture(spec, coverage, range(6), corpus=corpus, teacher=teacher, directory=tmp_path / name)
        reader = open_store(tmp_path / name, spec=spec, corpus=corpus, wanted=cut, sequences=range(6))
        signals[name] = reader.signal(sequences, cut)
    exact, coded = signals["exact"], signals[encoding]
    assert (exact.ids == coded.ids).all(1).float().mean() > 0.95  # p may cut one place sooner or later
    torch.testing.assert_close(coded.gold, exact.gold, rtol=0, atol=6e-4)
    with pytest.raises(ConfigError, match=rf"cannot serve .* coverage of p0\.98-k41-{encoding}"):
        open_store(tmp_path / encoding, spec=spec, corpus=corpus, wanted=TopPK(p=0.9, k=41), sequences=range(6))
    (path,) = (tmp_path / encoding).glob("shard-*.json")
    sidecar = json.loads(path.read_text())
    assert 0 < sidecar["added_kl"]["mean"] < MOST_ADDED_KL < sidecar["added_kl"]["largest"] * 10
    path.write_text(json.dumps(sidecar | {"added_kl": {"mean": 1e-3, "largest": 1.0}}))
    with pytest.raises(ConfigError, match=r"was coded with an error of 0\.001 nats"):
        open_store(tmp_path / encoding, spec=spec, corpus=corpus, wanted=cut, sequences=range(6))


def test_a_run_says_whether_its_targets_are_coded() -> None:
    plain, coded = (KD(teacher=Pretrained(path="unread"), stored=stored) for stored in ("exact", "coded"))
    exact, small = required_coverage(plain), required_coverage(coded)
    assert (exact.encoding, small.encoding) == ("exact", "small")
    assert not exact.admits(small)
    assert not small.admits(exact)
    assert Coverage(p=1.0, k=100, encoding="small").admits(small)
    assert union([small, small]).label == "p0.95-k100-small"
    with pytest.raises(ConfigError, match="one store has one encoding"):
        union([exact, small])
