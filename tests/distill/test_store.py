"""A store refuses what does not match it, and gives the same targets however it is asked."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pdstudy.config.data import View
from pdstudy.config.logits import Coverage, StoreSpec, required_coverage
from pdstudy.config.losses import WTTM, OntoGold, Tail, Temperature
from pdstudy.config.run import KD, Pretrained
from pdstudy.config.truncation import Sampled, TopPK
from pdstudy.core.errors import ConfigError
from pdstudy.core.identity import decode, encode, fingerprint
from pdstudy.corpus import TokenCorpus
from pdstudy.distill.signal import SparseTargets
from pdstudy.distill.store.quantised import Planes
from pdstudy.distill.store.shard import SIDECAR_FIELDS, Shard
from pdstudy.distill.store.store import StoreReader, open_store
from pdstudy.distill.teacher.capture import capture
from pdstudy.workspace.store_index import stored_ranges
from tests.distill.conftest import CONTEXT, SEQUENCES
from tests.distill.teachers import make_teacher

CUT = TopPK(p=0.98, k=40)


@pytest.fixture
def copied(tmp_path: Path, store: Path) -> Path:
    return Path(shutil.copytree(store, tmp_path / "store"))


def opened(
    directory: Path, spec: StoreSpec, corpus: TokenCorpus, cut: TopPK = CUT, sequences: range = SEQUENCES
) -> StoreReader:
    return open_store(directory, spec=spec, corpus=corpus, wanted=cut, sequences=sequences)


def same(a: SparseTargets, b: SparseTargets) -> bool:
    pairs = [(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a)]
    return all(torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y for x, y in pairs)


def only(directory: Path, suffix: str) -> Path:
    (path,) = directory.glob(f"shard-*{suffix}")
    return path


@pytest.mark.parametrize("where", [0, 9, 1000, -1])
def test_a_flipped_bit_is_refused(copied: Path, spec: StoreSpec, corpus: TokenCorpus, where: int) -> None:
    path = only(copied, ".safetensors")
    data = bytearray(path.read_bytes())
    data[where] ^= 4
    path.write_bytes(data)
    reader = opened(copied, spec, corpus)
    with pytest.raises(ConfigError, match=r"shard-.* is damaged: its sha256 is not"):
        reader.signal(np.array([5]), CUT)


def test_a_truncated_shard_is_refused(copied: Path, spec: StoreSpec, corpus: TokenCorpus) -> None:
    path = only(copied, ".safetensors")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ConfigError, match=r"is damaged: it has [\d,]+ bytes, its sidecar says"):
        opened(copied, spec, corpus)
    path.unlink()
    with pytest.raises(ConfigError, match="is damaged: it is missing"):
        opened(copied, spec, corpus)


def test_a_damaged_sidecar_is_refused(copied: Path, spec: StoreSpec, corpus: TokenCorpus) -> None:
    only(copied, ".json").write_text("{")
    with pytest.raises(ConfigError, match=r"\.json is damaged: it is not the JSON of a shard"):
        opened(copied, spec, corpus)
    (copied / "manifest.json").write_text("{")
    with pytest.raises(ConfigError, match=r"manifest\.json is damaged: it is not JSON"):
        opened(copied, spec, corpus)


@pytest.mark.parametrize("field", sorted(SIDECAR_FIELDS))
def test_a_sidecar_without_a_field_that_is_read_is_refused(
    copied: Path, spec: StoreSpec, corpus: TokenCorpus, field: str
) -> None:
    path = only(copied, ".json")
    path.write_text(json.dumps({name: value for name, value in json.loads(path.read_text()).items() if name != field}))
    with pytest.raises(ConfigError, match=rf"\.json is damaged: it lacks {field}, which .*delete the shard"):
        opened(copied, spec, corpus)


@pytest.mark.parametrize(
    ("content", "lacking"),
    [
        ("{}", "it lacks codec, context, coverage, format, identity, spec, vocab, weights"),
        ("[]", "it is JSON, but no object"),
    ],
)
def test_a_manifest_that_says_too_little_is_refused(
    copied: Path, spec: StoreSpec, corpus: TokenCorpus, content: str, lacking: str
) -> None:
    (copied / "manifest.json").write_text(content)
    with pytest.raises(ConfigError, match=rf"manifest\.json is damaged: {lacking}.*; move .* away"):
        opened(copied, spec, corpus)


def test_files_that_are_no_shards_are_left_alone(copied: Path, spec: StoreSpec, corpus: TokenCorpus) -> None:
    path = only(copied, ".json")
    for name in (f"{path.stem} (copy).json", "shard-notes.json"):
        shutil.copy(path, copied / name)
    assert opened(copied, spec, corpus).signal(np.array([5]), CUT).width > 1
    assert stored_ranges(copied) == [(SEQUENCES.start, SEQUENCES.stop)]


def test_shards_that_overlap_are_one_store(
    tmp_path: Path, store: Path, spec: StoreSpec, coverage: Coverage, corpus: TokenCorpus, teacher: Path
) -> None:
    """Two captures that ran at a time may both have written some sequences."""
    parts = (range(3, 20), range(8, 12), range(15, 40))
    for number, part in enumerate(parts):
        capture(spec, coverage, part, corpus=corpus, teacher=teacher, directory=tmp_path / str(number))
        shutil.copytree(tmp_path / str(number), tmp_path / "all", dirs_exist_ok=True)
    assert len(stored_ranges(tmp_path / "all")) == 3
    a, b = (opened(d, spec, corpus).signal(np.arange(3, 40), CUT) for d in (store, tmp_path / "all"))
    assert torch.equal(a.ids, b.ids)
    torch.testing.assert_close(a.log_probs, b.log_probs, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(a.entropy_rank, b.entropy_rank, rtol=0, atol=3 / len(a.entropy))


def test_shards_without_a_manifest_are_refused_with_the_way_out(
    copied: Path, spec: StoreSpec, coverage: Coverage, corpus: TokenCorpus, teacher: Path
) -> None:
    """They might be another teacher's: a capture must not make them its own."""
    (copied / "manifest.json").unlink()
    advice = r"has shards, but no manifest.json.* move .* away and run again"
    with pytest.raises(ConfigError, match=advice):
        opened(copied, spec, corpus)
    with pytest.raises(ConfigError, match=advice):
        capture(spec, coverage, SEQUENCES, corpus=corpus, teacher=teacher, directory=copied)
    assert not (copied / "manifest.json").exists()


def test_a_store_of_another_format_is_refused(copied: Path, spec: StoreSpec, corpus: TokenCorpus) -> None:
    path = copied / "manifest.json"
    manifest = json.loads(path.read_text())
    # Coded values had format 1 before ids were numbered by frequency.
    coded = encode(Planes(vocab=corpus.vocab))
    path.write_text(json.dumps(manifest | {"codec": coded, "format": 1}))
    with pytest.raises(ConfigError, match=r"has format 1, this pdstudy reads 2 .* move .* away and capture anew"):
        opened(copied, spec, corpus)


def test_a_store_of_an_encoding_that_is_no_more_is_refused(copied: Path, spec: StoreSpec, corpus: TokenCorpus) -> None:
    path = copied / "manifest.json"
    manifest = json.loads(path.read_text())
    coded = encode(Planes(vocab=corpus.vocab)) | {"compressed": False}
    coverage = manifest["coverage"] | {"encoding": "fast"}
    path.write_text(json.dumps(manifest | {"codec": coded, "coverage": coverage, "format": 2}))
    with pytest.raises(ConfigError, match=r"has encoding 'fast'; this pdstudy reads .* move .* away and capture anew"):
        opened(copied, spec, corpus)
    assert fingerprint(Coverage(encoding="small")) == "504a881ab6b1899f"


def test_another_teacher_view_split_corpus_or_tokenizer_is_refused(
    tmp_path: Path, store: Path, spec: StoreSpec, corpus: TokenCorpus
) -> None:
    make_teacher(tmp_path / "other", corpus, seed=1)
    wrong = {
        "teacher": dataclasses.replace(spec, teacher=Pretrained(path=str(tmp_path / "other"))),
        "view": dataclasses.replace(spec, view=View(context=16)),
        "split": dataclasses.replace(spec, split="validation"),
    }
    for part, other in wrong.items():
        with pytest.raises(ConfigError, match=f"captured with another {part}"):
            opened(store, other, corpus)
    for part, field in (("corpus", "fingerprint"), ("tokenizer", "tokenizer_sha256")):
        other_corpus = TokenCorpus(corpus.directory, {**corpus.manifest, field: "0" * 16})
        with pytest.raises(ConfigError, match=f"captured with another {part}"):
            opened(store, spec, other_corpus)


def test_other_tokens_under_the_same_names_are_refused(copied: Path, spec: StoreSpec, corpus: TokenCorpus) -> None:
    """Rows are bound to their tokens by content: a shard moved by one sequence does not pass."""
    for suffix in (".safetensors", ".json"):
        only(copied, suffix).rename(copied / f"shard-0000000004-0000000041{suffix}")
    reader = opened(copied, spec, corpus, sequences=range(4, 41))
    with pytest.raises(ConfigError, match="captured over other tokens than sequences 4 to 40 of the train split"):
        reader.signal(np.array([5]), CUT)


def test_missing_sequences_are_named(store: Path, spec: StoreSpec, corpus: TokenCorpus) -> None:
    with pytest.raises(ConfigError, match="lacks sequences 2, 40 to 49 of the train split"):
        opened(store, spec, corpus, sequences=range(2, 50))
    with pytest.raises(ConfigError, match=r"no logit store at .*: it has no manifest"):
        opened(store / "absent", spec, corpus)


@pytest.mark.parametrize("cut", [TopPK(p=0.99, k=40), TopPK(p=0.98, k=41), TopPK(p=0.5, k=None)])
def test_a_cut_beyond_the_coverage_is_refused(store: Path, spec: StoreSpec, corpus: TokenCorpus, cut: TopPK) -> None:
    with pytest.raises(ConfigError, match=r"keeps p0\.98-k40, which cannot serve .*capture with a coverage of p0"):
        opened(store, spec, corpus, cut)


SMALLER = TopPK(p=0.9, k=5)
LACKING = [
    ({"truncation": SMALLER, "temperature": Temperature(tau=2.0), "rest": Tail()}, "p0.98-k40-t2: Coverage("),
    ({"truncation": SMALLER, "temperature": Temperature(tau=0.5), "rest": OntoGold()}, "p0.98-k40-t0.5: Coverage("),
    ({"truncation": SMALLER, "temperature": WTTM(tau=2.0, over="all")}, "p0.98-k40-t2: Coverage("),
    ({"truncation": Sampled(draws=12)}, "p0.98-k40-d12: Coverage("),
    ({"truncation": Sampled(draws=12, exponent=0.5)}, "p0.98-k40-d12e0.5: Coverage("),
    # One store has one encoding, so that this one needs a store of its own.
    ({"truncation": SMALLER, "stored": "coded"}, "p0.9-k5-small: Coverage("),
]


@pytest.mark.parametrize(("fields", "capture_this"), LACKING)
def test_an_objective_whose_tails_draws_or_encoding_are_not_there_is_refused_at_opening(
    store: Path, spec: StoreSpec, corpus: TokenCorpus, fields: dict[str, Any], capture_this: str
) -> None:
    objective = KD(teacher=spec.teacher, **fields)
    with pytest.raises(ConfigError, match=f"which cannot serve .*coverage of {re.escape(capture_this)}"):
        open_store(store, spec=spec, corpus=corpus, wanted=required_coverage(objective), sequences=SEQUENCES)


def test_an_objective_that_the_store_serves_is_opened(store: Path, spec: StoreSpec, corpus: TokenCorpus) -> None:
    for objective in (
        KD(teacher=spec.teacher, truncation=SMALLER, temperature=Temperature(tau=2.0)),
        KD(teacher=spec.teacher, truncation=SMALLER, rest=Tail()),
    ):
        wanted = required_coverage(objective)
        assert open_store(store, spec=spec, corpus=corpus, wanted=wanted, sequences=SEQUENCES).directory == store


@pytest.mark.parametrize("cut", [CUT, TopPK(p=0.7, k=40), TopPK(p=0.98, k=3), TopPK(p=0.2, k=1)])
def test_order_and_batch_size_do_not_change_targets(
    store: Path, spec: StoreSpec, corpus: TokenCorpus, cut: TopPK
) -> None:
    sequences = np.array([39, 3, 20, 11])
    whole = opened(store, spec, corpus).signal(sequences, cut)
    for i, sequence in enumerate(sequences):
        mine = whole.rows(slice(i * CONTEXT, (i + 1) * CONTEXT))
        assert same(opened(store, spec, corpus).signal(np.array([sequence]), cut), mine)
        fewer = opened(store, spec, corpus, cut, range(sequence, sequence + 1)).signal(np.array([sequence]), cut)
        # Where an entropy ranks among those of the slice depends on the slice.
        assert same(dataclasses.replace(fewer, entropy_rank=mine.entropy_rank), mine)


def test_appended_shards_and_several_writers_make_one_store(
    tmp_path: Path, store: Path, spec: StoreSpec, coverage: Coverage, corpus: TokenCorpus, teacher: Path
) -> None:
    for part in (range(30, 40), range(3, 12), range(10, 31)):
        capture(spec, coverage, part, corpus=corpus, teacher=teacher, directory=tmp_path)
    assert [(s.first, s.stop) for s in Shard.all_of(tmp_path)] == [(3, 12), (12, 30), (30, 40)]
    sequences = np.array(SEQUENCES)
    mine, reference = (opened(d, spec, corpus).signal(sequences, CUT) for d in (tmp_path, store))
    assert torch.equal(mine.ids, reference.ids)
    torch.testing.assert_close(mine.log_probs, reference.log_probs, rtol=1e-6, atol=1e-6)


def test_a_shard_without_its_sidecar_does_not_exist(copied: Path, spec: StoreSpec, corpus: TokenCorpus) -> None:
    """That is what a kill between the two writes leaves."""
    only(copied, ".json").unlink()
    with pytest.raises(ConfigError, match="lacks sequences 3 to 39"):
        opened(copied, spec, corpus)


def test_the_reader_reports_what_it_checked(store: Path, spec: StoreSpec, corpus: TokenCorpus) -> None:
    reader = opened(store, spec, corpus)
    assert reader.checked == (0, 0.0)
    reader.signal(np.array([5]), CUT)
    size, rate = reader.checked
    assert size == only(store, ".safetensors").stat().st_size
    assert rate > 0


def test_nothing_in_a_store_is_a_pickle_or_a_path_of_this_machine(store: Path, teacher: Path) -> None:
    assert {path.suffix for path in store.iterdir()} == {".json", ".safetensors"}
    manifest = json.loads((store / "manifest.json").read_text())
    assert decode(manifest["coverage"]) == Coverage(p=0.98, k=40)
    assert str(teacher) not in json.dumps({k: v for k, v in manifest.items() if k != "spec"})
