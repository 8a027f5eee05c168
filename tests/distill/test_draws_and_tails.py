"""Draws and tempered tails: captured once, and right at every smaller cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pdstudy.config.alpha import ByConfidence, ByEntropy
from pdstudy.config.logits import Coverage, StoreSpec, required_coverage
from pdstudy.config.losses import WTTM, Plain, Renormalise
from pdstudy.config.run import KD, Pretrained
from pdstudy.config.truncation import Sampled, TopPK
from pdstudy.core.errors import ConfigError
from pdstudy.corpus import TokenCorpus
from pdstudy.distill.loss.fused import fused_loss
from pdstudy.distill.loss.token_weights import token_share
from pdstudy.distill.signal import SparseTargets
from pdstudy.distill.store.store import open_store
from pdstudy.distill.teacher.capture import capture
from pdstudy.distill.teacher.statistics import _draw, summarise, summarise_states, whole_signal
from pdstudy.distill.truncate import cut
from tests.distill.test_capture import dense

SEQUENCES = range(6)


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory, spec: StoreSpec, corpus: TokenCorpus, teacher: Path) -> Path:
    """Entries, tails at two temperatures, and 40 draws."""
    directory = tmp_path_factory.mktemp("rich")
    coverage = Coverage(p=0.99, k=50, taus=(0.5, 2.0), draws=40)
    capture(spec, coverage, SEQUENCES, corpus=corpus, teacher=teacher, directory=directory)
    return directory


def signal_of(directory: Path, spec: StoreSpec, corpus: TokenCorpus, truncation: TopPK | Sampled) -> SparseTargets:
    reader = open_store(directory, spec=spec, corpus=corpus, wanted=truncation, sequences=SEQUENCES)
    return reader.signal(np.array(SEQUENCES), truncation)


@pytest.mark.parametrize("truncation", [TopPK(p=0.99, k=50), TopPK(p=0.99, k=5), TopPK(p=0.5, k=50)])
def test_tempered_tails_follow_the_cut(
    rich: Path, spec: StoreSpec, corpus: TokenCorpus, teacher: Path, truncation: TopPK
) -> None:
    signal = signal_of(rich, spec, corpus, truncation)
    logits, _, _ = dense(teacher, corpus, np.array(SEQUENCES))
    log_p = torch.log_softmax(logits, 1)
    used = signal.log_probs > -torch.inf
    inside = torch.zeros_like(log_p, dtype=torch.bool).scatter_(1, signal.ids.where(used, signal.ids[:, :1]), True)
    for tau in (1.0, 0.5, 2.0):
        want = (log_p / tau).exp().masked_fill(inside, 0).sum(1)
        torch.testing.assert_close(signal.tail_at(tau).double(), want, rtol=1e-5, atol=2e-6)
    with pytest.raises(ConfigError, match=r"no mass of tails at tau = 3.*taus=\(3,\)"):
        signal.tail_at(3.0)


def test_fewer_draws_are_a_prefix(rich: Path, spec: StoreSpec, corpus: TokenCorpus) -> None:
    many, few = (signal_of(rich, spec, corpus, Sampled(draws=n)) for n in (40, 12))
    assert torch.equal(few.ids, many.ids[:, :12])
    torch.testing.assert_close(few.log_probs.exp().sum(1), torch.ones(len(few.ids)))
    with pytest.raises(ConfigError, match=r"keeps p0\.99-k50-t0\.5-t2-d40, which cannot serve .*-d41"):
        signal_of(rich, spec, corpus, Sampled(draws=41))


def test_draws_from_the_distribution_itself_count_one_each_exactly() -> None:
    """Rounding of p / proposal would give equal counts unequal weights."""
    log_probs = torch.log_softmax(3 * torch.randn(64, 50, generator=torch.Generator().manual_seed(0)), 1)
    uniform = torch.rand(64, 40, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    _, weights = _draw(log_probs, log_probs.exp(), Coverage(p=1.0, k=1, draws=40), uniform)
    assert (weights == 1).all()


@pytest.mark.parametrize("exponent", [1.0, 0.6])
def test_sampling_is_unbiased(exponent: float) -> None:
    """The mean over many draws is the full distribution within four standard errors, at a fixed seed."""
    logits = 1.5 * torch.randn(1, 30, generator=torch.Generator().manual_seed(3))
    p = torch.softmax(logits.double(), 1)[0]
    n = 40_000
    coverage = Coverage(p=1.0, k=1, draws=n, exponent=exponent)
    signal = cut(summarise(logits, torch.zeros(1, dtype=torch.int64), coverage, 30, seed=5), Sampled(draws=n))
    shares = signal.log_probs[0].double().exp()
    estimate = torch.zeros(30, dtype=torch.float64).index_add_(0, signal.ids[0], shares)
    proposal = p**exponent / (p**exponent).sum()
    error = ((p / proposal) ** 2 * proposal * (1 - proposal) / n).sqrt()
    assert ((estimate - p).abs() < 4 * error).all()
    assert error.max() < 0.01


@pytest.mark.parametrize(("rest", "exponent"), [(Renormalise(), 1.0), (Plain(), 1.0), (Plain(), 0.7)])
def test_the_gradient_of_draws_is_the_full_one_in_expectation(rest: Renormalise | Plain, exponent: float) -> None:
    torch.manual_seed(0)
    n, vocab, draws = 4, 25, 20_000
    teacher, hidden = 1.5 * torch.randn(n, vocab), torch.randn(n, 6).double()
    weight = torch.randn(vocab, 6).double().requires_grad_()
    coverage = Coverage(p=1.0, k=None, draws=draws, exponent=exponent)
    whole = summarise(teacher, torch.zeros(n, dtype=torch.int64), coverage, vocab, seed=1)

    def gradient(signal: SparseTargets, kd: KD) -> Tensor:
        targets = torch.zeros(n, dtype=torch.int64)
        return torch.autograd.grad(fused_loss(hidden, weight, targets, signal, kd, 1.0, 1.0, vocab)[0], weight)[0]

    unread = Pretrained(path="unread")
    sampled = Sampled(draws=draws, exponent=exponent)
    full = gradient(whole, KD(teacher=unread, truncation=TopPK(p=1.0, k=None)))
    drawn = gradient(cut(whole, sampled), KD(teacher=unread, truncation=sampled, rest=rest))
    assert (drawn - full).norm() < 0.03 * full.norm()


def test_draws_do_not_depend_on_how_a_store_was_captured(
    tmp_path: Path, rich: Path, spec: StoreSpec, corpus: TokenCorpus, teacher: Path
) -> None:
    coverage = Coverage(p=0.99, k=50, taus=(0.5, 2.0), draws=40)
    for part in (range(4, 6), range(4)):
        capture(spec, coverage, part, corpus=corpus, teacher=teacher, directory=tmp_path)
    a, b = (signal_of(d, spec, corpus, Sampled(draws=40)) for d in (rich, tmp_path))
    assert (a.ids != b.ids).float().mean() < 1e-3  # a batch of another size rounds otherwise


def test_entropy_ranks_are_quantiles(rich: Path, spec: StoreSpec, corpus: TokenCorpus) -> None:
    signal = signal_of(rich, spec, corpus, TopPK(p=0.9, k=5))
    assert signal.entropy_rank is not None
    want = (signal.entropy[None] < signal.entropy[:, None]).float().mean(1)
    assert (signal.entropy_rank - want).abs().max() < 0.1
    for share in (0.15, 0.3, 0.8):
        assert abs((signal.entropy_rank < share).float().mean() - share) < 0.05


def test_a_whole_signal_is_a_summary_that_cuts_nothing() -> None:
    """Its ids are not ranked: what a live teacher of the whole distribution says, without sorting a vocabulary."""
    torch.manual_seed(1)
    logits, targets = 3 * torch.randn(7, 45), torch.randint(40, (7,))
    kd = KD(teacher=Pretrained(path="unread"), truncation=TopPK(p=1, k=None), temperature=WTTM(tau=2.0, over="all"))
    want = cut(summarise(logits, targets, required_coverage(kd), 40, seed=0), kd.truncation)
    found = whole_signal(logits, targets, 40, required_coverage(kd).taus)
    assert torch.equal(found.log_probs.gather(1, want.ids), want.log_probs)
    assert torch.equal(found.tail_at(2.0), want.tail_at(2.0))
    for name in ("tail", "gold", "log_normaliser", "entropy", "std"):
        torch.testing.assert_close(getattr(found, name), getattr(want, name))
    for rule in (ByConfidence(), ByEntropy(full=5.0)):
        shares = (token_share(rule, signal, torch.float32) for signal in (found, want))
        torch.testing.assert_close(*shares)


def test_entropy_ranks_are_of_what_a_run_reads_alone(
    tmp_path: Path, rich: Path, spec: StoreSpec, corpus: TokenCorpus, teacher: Path
) -> None:
    """Whatever else the shards hold, and however the store was cut into them."""
    for part in (range(1, 3), range(3, 4), range(4, 6)):
        capture(spec, Coverage(p=0.9, k=5), part, corpus=corpus, teacher=teacher, directory=tmp_path)
    truncation, sequences = TopPK(p=0.9, k=5), np.arange(1, 4)
    ranks = []
    for directory in (rich, tmp_path):
        reader = open_store(directory, spec=spec, corpus=corpus, wanted=truncation, sequences=range(1, 4))
        signal = reader.signal(sequences, truncation)
        assert signal.entropy_rank is not None
        ranks.append(signal.entropy_rank)
        bins = (signal.entropy.half() * 64).long()
        want = (bins[None] < bins[:, None]).float().mean(1)
        torch.testing.assert_close(signal.entropy_rank, want)
    assert (ranks[0] - ranks[1]).abs().max() < 0.02  # a batch of another size rounds otherwise


@pytest.mark.parametrize("exponent", [1.0, 0.5])
def test_draws_come_from_a_float64_cumulative_sum(exponent: float) -> None:
    """Numbers just below and just above the edge between two ids draw the one and the other, as in float64."""
    logits = torch.linspace(1.0, 0.0, 64)[torch.randperm(64, generator=torch.Generator().manual_seed(0))][None]
    exponentials = (logits - logits.amax()).exp()
    total = exponentials.sum(1, keepdim=True)
    proposal = (exponentials / total).double()
    if exponent != 1:
        log_probs = logits - (logits.amax() + total.log())
        proposal = (exponent * log_probs.double()).exp()
    edges = proposal.cumsum(1)[0]
    uniform = torch.cat([edges[:-1] - 1e-12, edges[:-1] + 1e-12]) / edges[-1]
    coverage = Coverage(p=0.5, k=1, draws=len(uniform), exponent=exponent)
    gold = torch.zeros(1, dtype=torch.int64)
    found = summarise_states(logits, torch.eye(64), gold, coverage, uniform[None])
    assert found.drawn is not None
    assert found.drawn[0].tolist() == [*range(63), *range(1, 64)]


def test_draws_serve_only_draws_of_their_exponent() -> None:
    store = Coverage(draws=12)
    assert store.admits(Sampled(draws=12))
    assert store.admits(Sampled(draws=3))
    assert not store.admits(Sampled(draws=13))
    assert not store.admits(Sampled(draws=12, exponent=0.5))
    assert Coverage(draws=12, exponent=0.5).admits(Sampled(draws=12, exponent=0.5))
    assert Coverage(draws=12, exponent=0.5).admits(TopPK(p=1, k=100)), "entries are the same with any draws"
