"""What a run writes beside its end: models of steps on its way, and what it says of its own text."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from pdstudy.config.data import Slice
from pdstudy.config.logits import Coverage, StoreSpec
from pdstudy.config.optimizer import AdamW
from pdstudy.config.placement import Placement
from pdstudy.config.run import KD, Run
from pdstudy.config.truncation import Sampled, TopPK
from pdstudy.core.errors import ConfigError
from pdstudy.corpus import TokenCorpus
from pdstudy.corpus.batch import read_batch, step_sequences
from pdstudy.distill.signal import SparseTargets
from pdstudy.distill.store.store import open_store
from pdstudy.train.online_logits import OnlineLogits
from pdstudy.train.training_job import StoreToFill
from pdstudy.workspace.run_dir import RunDir
from pdstudy.workspace.store_index import stored_ranges
from tests.train import ranks
from tests.train.one_run import train_run

WINDOW = range(8, 120)
COVERAGE = Coverage(p=0.98, k=30, draws=8)
CUT = TopPK(p=0.98, k=30)
OFTEN = Placement(save_minutes=1e-9)


@pytest.fixture
def teacher(small_run: Run) -> Run:
    return dataclasses.replace(small_run, order="stream")


def record(teacher: Run, directory: Path, window: range = WINDOW, coverage: Coverage = COVERAGE) -> StoreToFill:
    spec = StoreSpec(corpus=teacher.corpus, view=teacher.view, split="train", teacher=teacher)
    return StoreToFill(spec, coverage, window, directory)


def signal(record: StoreToFill, corpus: TokenCorpus, wanted: TopPK | Sampled = CUT) -> SparseTargets:
    reader = open_store(
        record.directory, spec=record.spec, corpus=corpus, wanted=wanted, sequences=record.sequences
    )  # fmt: skip
    return reader.signal(np.array(record.sequences), wanted)


def stop_after(count: int):
    calls = iter(range(1, 10**6))
    return lambda: next(calls) >= count


def test_in_the_order_of_the_stream(teacher: Run) -> None:
    later = dataclasses.replace(teacher, data=Slice(start=64 * 8, tokens=64 * 20))
    seen = [step_sequences(later, step).tolist() for step in range(3)]
    assert seen == [list(range(8, 16)), list(range(16, 24)), [*range(24, 28), *range(8, 12)]]


@pytest.mark.integration
def test_stores_hold_the_distributions_before_the_step(teacher: Run, corpus: TokenCorpus, tmp_path: Path) -> None:
    directory, made = RunDir(tmp_path / "teacher"), record(teacher, tmp_path / "store")
    state = train_run(
        teacher, directory, corpus=corpus, store=None, evaluations=(), exports=(5, 24), online=(made,),
        placement=Placement(micro_batch_tokens=192),
    )  # fmt: skip
    assert state == "done"
    final, last = (load_file(folder / "model.safetensors") for folder in (directory.model, directory.export(24)))
    assert all(torch.equal(value, last[name]) for name, value in final.items())
    assert "2,560 tokens" in (directory.export(5) / "README.md").read_text().replace("\n", " ")

    sequences = step_sequences(teacher, 5)  # the model after five steps is what the sixth reads with
    assert sequences.tolist() == list(range(40, 48))
    model = AutoModelForCausalLM.from_pretrained(directory.export(5))
    batch = read_batch(corpus.stream("train"), teacher.view, sequences)
    with torch.no_grad():
        logits = model(input_ids=torch.from_numpy(batch.inputs)).logits.flatten(0, 1)
    dense = torch.log_softmax(logits.double(), 1)
    rows = slice((40 - WINDOW.start) * 64, (48 - WINDOW.start) * 64)
    got = signal(made, corpus).rows(rows)
    used = got.log_probs > -torch.inf
    expected = dense.gather(1, got.ids)
    torch.testing.assert_close(got.log_probs[used].double(), expected[used], rtol=0, atol=3e-6)
    assert ((dense.exp().sum(1) - (expected.exp() * used).sum(1) - got.tail).abs() < 1e-5).all()
    targets = torch.from_numpy(batch.targets).flatten()
    torch.testing.assert_close(got.gold.double(), dense.gather(1, targets[:, None])[:, 0], rtol=0, atol=3e-6)

    losses = [json.loads(line) for line in directory.metrics_file.read_text().splitlines()]
    sidecars = [json.loads(path.read_text()) for path in sorted(made.directory.glob("shard-*.json"))]
    (beside,) = [sidecar["training"] for sidecar in sidecars]
    assert beside["steps"] == [1, 15]
    assert beside["loss"] == pytest.approx(np.mean([row["loss"] for row in losses[1:15]]), abs=1e-6)


@pytest.mark.integration
def test_an_interrupted_run_records_what_an_undisturbed_one_does(
    teacher: Run, corpus: TokenCorpus, tmp_path: Path
) -> None:
    whole, parts = record(teacher, tmp_path / "whole"), record(teacher, tmp_path / "parts")
    train_run(teacher, RunDir(tmp_path / "one"), corpus=corpus, store=None, evaluations=(), online=(whole,))

    other = RunDir(tmp_path / "other")
    options = {"corpus": corpus, "store": None, "evaluations": (), "online": (parts,)}
    train_run(teacher, other, placement=Placement(), should_stop=stop_after(4), **options)
    train_run(teacher, other, placement=OFTEN, should_stop=stop_after(3), **options)
    assert train_run(teacher, other, placement=Placement(), **options) == "done"
    assert len(list(parts.directory.glob("shard-*.json"))) > len(list(whole.directory.glob("shard-*.json")))
    for wanted in (TopPK(p=0.98, k=30), Sampled(draws=8)):
        ours, theirs = signal(parts, corpus, wanted), signal(whole, corpus, wanted)
        for field in ("ids", "log_probs", "tail", "gold", "log_normaliser", "entropy", "std"):
            assert torch.equal(getattr(ours, field), getattr(theirs, field)), field


def on_ranks(run: Run, path: Path, corpus: TokenCorpus, made: StoreToFill) -> None:
    train_run(run, RunDir(path), corpus=corpus, store=None, evaluations=(), online=(made,))


@pytest.mark.integration
def test_two_ranks_record_together(teacher: Run, corpus: TokenCorpus, tmp_path: Path) -> None:
    one, two = record(teacher, tmp_path / "one"), record(teacher, tmp_path / "two")
    on_ranks(teacher, tmp_path / "run", corpus, one)
    ranks.run(2, on_ranks, teacher, tmp_path / "runs", corpus, two)
    ours, theirs = signal(two, corpus), signal(one, corpus)
    # Ranks round differently, and steps carry it on.
    torch.testing.assert_close(ours.gold, theirs.gold, rtol=0, atol=1e-3)
    assert (ours.ids[:, 0] == theirs.ids[:, 0]).float().mean() > 0.99


@pytest.mark.integration
def test_a_student_trains_on_the_window(teacher: Run, corpus: TokenCorpus, tmp_path: Path) -> None:
    made = record(teacher, tmp_path / "store")
    train_run(teacher, RunDir(tmp_path / "teacher"), corpus=corpus, store=None, evaluations=(), online=(made,))
    objective = KD(teacher=teacher, truncation=TopPK(p=0.95, k=20), alpha=0.9)
    window = Slice(start=64 * WINDOW.start, tokens=64 * len(WINDOW))
    student = dataclasses.replace(
        teacher, order="shuffled", data=window, objective=objective, optimiser=AdamW(lr=3e-3), steps=20
    )
    student_dir = RunDir(tmp_path / "student")
    assert train_run(student, student_dir, corpus=corpus, store=made.directory, evaluations=()) == "done"
    rows = [json.loads(line) for line in student_dir.metrics_file.read_text().splitlines()]
    assert rows[-1]["kd"] < rows[0]["kd"] - 0.3


@pytest.mark.integration
def test_what_cannot_be_recorded_is_refused(small_run: Run, teacher: Run, corpus: TokenCorpus, tmp_path: Path) -> None:
    directory = RunDir(tmp_path / "run")
    options = {"corpus": corpus, "store": None, "evaluations": ()}
    with pytest.raises(ConfigError, match="'stream'"):
        train_run(small_run, directory, online=(record(small_run, tmp_path / "store"),), **options)
    with pytest.raises(ConfigError, match="that the run reads, 0 to 191"):
        train_run(teacher, directory, online=(record(teacher, tmp_path / "store", range(8, 193)),), **options)
    assert not directory.path.exists()
    train_run(teacher, directory, should_stop=stop_after(4), **options)
    with pytest.raises(ConfigError, match="gone through step 4 when its model after step 2 and its logits in store"):
        train_run(teacher, directory, exports=(2,), online=(record(teacher, tmp_path / "store"),), **options)
    train_run(teacher, directory, exports=(4,), **options)
    assert (directory.export(4) / "model.safetensors").exists()
    with pytest.raises(ConfigError, match="its model after step 9"):
        train_run(teacher, directory, exports=(4, 9), **options)


@pytest.mark.integration
def test_a_window_may_begin_and_end_inside_a_step(teacher: Run, corpus: TokenCorpus, tmp_path: Path) -> None:
    """And the run's text may begin anywhere: of eight sequences a step, from the sixteenth on."""
    later = dataclasses.replace(teacher, data=Slice(start=64 * 16, tokens=64 * 40), steps=5)
    window = range(19, 45)
    made = record(later, tmp_path / "store", window)
    online = OnlineLogits(later, (made,), corpus)
    assert online.first_step == 0
    assert [len(online.incomplete_after(step)) for step in (0, 1)] == [0, 1]
    state = train_run(later, RunDir(tmp_path / "run"), corpus=corpus, store=None, evaluations=(), online=(made,))
    assert state == "done"
    assert stored_ranges(made.directory) == [(19, 45)]
    whole = record(later, tmp_path / "whole", range(16, 56))
    state = train_run(later, RunDir(tmp_path / "again"), corpus=corpus, store=None, evaluations=(), online=(whole,))
    assert state == "done"
    part, all_of = signal(made, corpus), signal(whole, corpus)
    torch.testing.assert_close(part.gold, all_of.gold[3 * 64 : 29 * 64], rtol=0, atol=1e-6)
    (sidecar,) = (json.loads(path.read_text()) for path in made.directory.glob("shard-*.json"))
    assert sidecar["training"]["steps"] == [0, 4]


@pytest.mark.integration
def test_draws_are_those_of_the_sequence_however_a_step_is_divided(
    teacher: Run, corpus: TokenCorpus, tmp_path: Path
) -> None:
    """The first step, in one piece and in three: the model is the same until then."""
    first = dataclasses.replace(teacher, steps=4)
    made = []
    for name, tokens in (("whole", None), ("parts", 192)):
        made.append(record(first, tmp_path / name, range(8)))
        train_run(
            first, RunDir(tmp_path / f"run-{name}"), corpus=corpus, evaluations=(), online=(made[-1],),
            placement=Placement(micro_batch_tokens=tokens), should_stop=stop_after(1),
        )  # fmt: skip
    whole, parts = (signal(each, corpus, Sampled(draws=8)) for each in made)
    assert (whole.ids == parts.ids).float().mean() > 0.999
