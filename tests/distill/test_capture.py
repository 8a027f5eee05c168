"""Capturing: what is stored is what the teacher says, and a store that exists is added to, never redone."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from pdstudy.config.data import View
from pdstudy.config.logits import Coverage, StoreSpec
from pdstudy.config.run import Pretrained
from pdstudy.config.truncation import TopPK
from pdstudy.core.errors import ConfigError
from pdstudy.corpus import TokenCorpus
from pdstudy.corpus.batch import read_batch
from pdstudy.distill.store.store import open_store
from pdstudy.distill.teacher import capture as capture_module
from pdstudy.distill.teacher.capture import capture
from tests.distill.conftest import CONTEXT, SEQUENCES
from tests.distill.reference import kept_ids
from tests.distill.teachers import make_teacher


def dense(teacher: Path, corpus: TokenCorpus, sequences: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """float64 logits [N, vocab] of the teacher, targets [N], and transformers' own loss per token."""
    batch = read_batch(corpus.stream("train"), View(context=CONTEXT), sequences)
    model = AutoModelForCausalLM.from_pretrained(teacher).eval()
    inputs, targets = torch.from_numpy(batch.inputs), torch.from_numpy(batch.targets)
    with torch.no_grad():
        logits = model(input_ids=inputs).logits
        # Padding rows of the vocabulary must not take probability: cut them off, as an export of a student does.
        loss = model.loss_function(
            logits[..., : corpus.vocab], labels=None, shift_labels=targets, vocab_size=corpus.vocab
        )
    return logits[..., : corpus.vocab].flatten(0, 1).double(), targets.flatten(), loss


@pytest.mark.integration
def test_mean_gold_log_probability_is_the_teacher_s_own_loss(
    store: Path, spec: StoreSpec, corpus: TokenCorpus, teacher: Path
) -> None:
    sequences = np.array(SEQUENCES)
    reader = open_store(store, spec=spec, corpus=corpus, wanted=TopPK(p=0.9, k=5), sequences=SEQUENCES)
    _, _, loss = dense(teacher, corpus, sequences)
    gold = reader.signal(sequences, TopPK(p=0.9, k=5)).gold.double()
    assert -gold.mean().item() == pytest.approx(loss.item(), abs=1e-5)
    sidecars = [json.loads(path.read_text()) for path in store.glob("shard-*.json")]
    mean = np.average([s["mean_gold"] for s in sidecars], weights=[s["tokens"] for s in sidecars])
    assert -mean == pytest.approx(loss.item(), abs=1e-5)


@pytest.mark.parametrize("cut", [TopPK(p=0.98, k=40), TopPK(p=0.98, k=7), TopPK(p=0.6, k=40), TopPK(p=0.3, k=1)])
def test_entries_and_columns_are_the_dense_teacher_s(
    store: Path, spec: StoreSpec, corpus: TokenCorpus, teacher: Path, cut: TopPK
) -> None:
    sequences = np.array([30, 4, 17])
    signal = open_store(store, spec=spec, corpus=corpus, wanted=cut, sequences=SEQUENCES).signal(sequences, cut)
    logits, targets, _ = dense(teacher, corpus, sequences)
    log_probs = torch.log_softmax(logits, 1)
    probs = log_probs.exp()
    for row in range(len(logits)):
        want = kept_ids(log_probs[row].tolist(), cut.p, cut.k)
        used = signal.log_probs[row] > -torch.inf
        assert signal.ids[row, used].tolist() == want
        torch.testing.assert_close(signal.log_probs[row, used].double(), log_probs[row, want], rtol=2e-6, atol=2e-6)
        assert not signal.ids[row, ~used].any()
        outside = probs[row].sum() - probs[row, want].sum()
        assert signal.tail[row].item() == pytest.approx(outside.item(), rel=1e-5, abs=2e-6)
    for name, value in {
        "gold": log_probs.gather(1, targets[:, None])[:, 0],
        "log_normaliser": logits.logsumexp(1),
        "entropy": -(probs * log_probs).sum(1),
        "std": logits.std(1, correction=0),
    }.items():
        torch.testing.assert_close(getattr(signal, name).double(), value, rtol=1e-5, atol=1e-5)


def test_a_small_tail_keeps_its_digits(tmp_path: Path, spec: StoreSpec, corpus: TokenCorpus, teacher: Path) -> None:
    coverage = Coverage(p=1.0, k=corpus.vocab - 3)
    capture(spec, coverage, range(2), corpus=corpus, teacher=teacher, directory=tmp_path)
    cut = TopPK(p=1.0, k=corpus.vocab - 3)
    signal = open_store(tmp_path, spec=spec, corpus=corpus, wanted=cut, sequences=range(2)).signal(np.arange(2), cut)
    logits, _, _ = dense(teacher, corpus, np.arange(2))
    want = torch.softmax(logits, 1).sort(1).values[:, :3].sum(1)
    assert want.max() < 1e-4
    torch.testing.assert_close(signal.tail.double(), want, rtol=1e-5, atol=0)


def test_a_killed_capture_goes_on_where_it_was(
    tmp_path: Path, store: Path, spec: StoreSpec, coverage: Coverage, corpus: TokenCorpus, teacher: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(capture_module, "SHARD_TOKENS", 8 * CONTEXT)
    seen: list[str] = []

    def interrupt(what: str, share: float) -> None:
        seen.append(what)
        if len(seen) == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        capture(spec, coverage, SEQUENCES, corpus=corpus, teacher=teacher, directory=tmp_path, progress=interrupt)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert sorted(before) == [
        "manifest.json",
        "shard-0000000003-0000000008.json", "shard-0000000003-0000000008.safetensors",
        "shard-0000000008-0000000016.json", "shard-0000000008-0000000016.safetensors",
    ]  # fmt: skip
    shares: list[float] = []
    capture(
        spec, coverage, SEQUENCES, corpus=corpus, teacher=teacher, directory=tmp_path,
        progress=lambda what, share: shares.append(share),
    )  # fmt: skip
    assert len(shares) == 40 - 16
    assert shares[-1] == 1.0
    assert all((tmp_path / name).stat().st_mtime_ns == time for name, time in before.items())
    cut = TopPK(p=0.98, k=40)
    sequences = np.array(SEQUENCES)
    a, b = (
        open_store(d, spec=spec, corpus=corpus, wanted=cut, sequences=SEQUENCES).signal(sequences, cut)
        for d in (tmp_path, store)
    )
    assert torch.equal(a.ids, b.ids)
    for name in ("log_probs", "tail", "gold", "log_normaliser", "entropy", "std"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=1e-6, atol=1e-6)


def test_a_complete_store_does_not_load_the_teacher(
    store: Path, spec: StoreSpec, coverage: Coverage, corpus: TokenCorpus, teacher: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(capture_module, "load_teacher", None)
    capture(spec, coverage, range(5, 30), corpus=corpus, teacher=teacher, directory=store)


def test_another_teacher_does_not_add_to_a_store(
    tmp_path: Path, spec: StoreSpec, coverage: Coverage, corpus: TokenCorpus, teacher: Path
) -> None:
    capture(spec, coverage, range(2), corpus=corpus, teacher=teacher, directory=tmp_path / "store")
    make_teacher(tmp_path / "other", corpus, seed=1)
    with pytest.raises(ConfigError, match="holds another store: its weights"):
        capture(spec, coverage, range(4), corpus=corpus, teacher=tmp_path / "other", directory=tmp_path / "store")
    with pytest.raises(ConfigError, match="holds another store: its coverage"):
        capture(spec, Coverage(p=1.0, k=3), range(4), corpus=corpus, teacher=teacher, directory=tmp_path / "store")


def test_a_teacher_that_does_not_fit_is_refused(
    tmp_path: Path, spec: StoreSpec, coverage: Coverage, corpus: TokenCorpus, teacher: Path
) -> None:
    def attempt(folder: Path, view: View = spec.view) -> None:
        asked = dataclasses.replace(spec, teacher=Pretrained(path=str(folder)), view=view)
        capture(asked, coverage, range(2), corpus=corpus, teacher=folder, directory=tmp_path / "store")

    make_teacher(tmp_path / "small", corpus, padding=-1)
    with pytest.raises(ConfigError, match=f"vocabulary of {corpus.vocab - 1}, the corpus's tokenizer {corpus.vocab}"):
        attempt(tmp_path / "small")
    shutil.rmtree(tmp_path / "store")
    other = shutil.copytree(teacher, tmp_path / "other")
    state = json.loads((other / "tokenizer.json").read_text())
    (other / "tokenizer.json").write_text(json.dumps(state))  # laid out otherwise: the same tokenizer
    attempt(other)
    shutil.rmtree(tmp_path / "store")
    state["model"]["merges"].pop()
    (other / "tokenizer.json").write_text(json.dumps(state))
    with pytest.raises(ConfigError, match="has another tokenizer than the corpus"):
        attempt(other)
    shutil.rmtree(tmp_path / "store")
    with pytest.raises(ConfigError, match="reads 64 tokens at most, the view has 128"):
        attempt(teacher, View(context=128))
    shutil.rmtree(tmp_path / "store")
    with pytest.raises(ConfigError, match="'respect'"):
        attempt(teacher, View(context=32, documents="respect"))
    (tmp_path / "pickled").mkdir()
    (tmp_path / "pickled" / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"no \*\.safetensors"):
        attempt(tmp_path / "pickled")


def test_a_teacher_runs_in_the_type_that_is_declared(
    tmp_path: Path, spec: StoreSpec, corpus: TokenCorpus, teacher: Path
) -> None:
    cut, sequences = TopPK(p=1, k=5), np.arange(2)
    batch = read_batch(corpus.stream("train"), spec.view, sequences)
    found = []
    for name in ("float32", "bfloat16"):
        typed = dataclasses.replace(spec, teacher=Pretrained(path=str(teacher), dtype=name))
        folder = tmp_path / name
        capture(typed, Coverage(p=1, k=5), range(2), corpus=corpus, teacher=teacher, directory=folder)
        reader = open_store(folder, spec=typed, corpus=corpus, wanted=cut, sequences=range(2))
        model = AutoModelForCausalLM.from_pretrained(teacher, dtype=getattr(torch, name)).eval()
        with torch.no_grad():
            logits = model(input_ids=torch.from_numpy(batch.inputs)).logits[..., : corpus.vocab].flatten(0, 1).float()
        found.append(reader.signal(sequences, cut).log_normaliser)
        torch.testing.assert_close(found[-1], logits.logsumexp(1), rtol=0, atol=1e-5)
    assert (found[0] - found[1]).abs().max() > 1e-3
