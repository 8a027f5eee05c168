"""A run from its first step to its export, on real text."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer

from pdstudy.config.alpha import WSDMix
from pdstudy.config.data import Slice
from pdstudy.config.evaluation import Heldout
from pdstudy.config.model import Shape
from pdstudy.config.optimizer import WSD, AdamW, Cosine
from pdstudy.config.placement import Placement
from pdstudy.config.run import Run
from pdstudy.config.trajectory import learning_rate
from pdstudy.core.errors import ConfigError
from pdstudy.core.files import file_sha256, read_jsonl
from pdstudy.core.identity import fingerprint
from pdstudy.core.run_files import SEQUENCES
from pdstudy.core.validation import problems
from pdstudy.corpus import TokenCorpus
from pdstudy.evaluate.heldout import evaluate_export
from pdstudy.workspace.run_dir import RunDir
from tests.train.one_run import train_run

SMALL_VOCAB = Shape(width=32, layers=1, heads=4, query_groups=2, ffn=64, vocab=300)
TIMINGS = ("tokens_per_second", "memory_bytes", "seconds")


def rows(file: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k not in TIMINGS} for row in read_jsonl(file)]


def weights(directory: RunDir) -> dict[str, torch.Tensor]:
    return AutoModelForCausalLM.from_pretrained(directory.model).state_dict()


@pytest.fixture(scope="module")
def finished(
    small_run: Run, corpus: TokenCorpus, heldout: tuple[Heldout, ...], tmp_path_factory: pytest.TempPathFactory
) -> RunDir:
    directory = RunDir(tmp_path_factory.mktemp("run") / "finished")
    assert train_run(small_run, directory, corpus=corpus, store=None, evaluations=heldout) == "done"
    return directory


@pytest.mark.integration
def test_a_run_learns_and_writes_every_row(finished: RunDir, small_run: Run, corpus: TokenCorpus) -> None:
    metrics = list(read_jsonl(finished.metrics_file))
    assert [row["step"] for row in metrics] == list(range(1, 25))
    assert metrics[0]["loss"] == pytest.approx(math.log(corpus.vocab), abs=0.1)
    assert metrics[-1]["loss"] < metrics[0]["loss"] - 0.5
    assert metrics[-1]["flops"] == 3 * small_run.student.forward_flops(64) * small_run.num_tokens
    for row in metrics:
        assert row["lm"] == pytest.approx(row["loss"], rel=1e-6)
        assert row["tokens"] == row["step"] * 512
    evals = list(read_jsonl(finished.evals_file))
    assert [(row["split"], row["step"], row["final"]) for row in evals] == [
        ("validation", 8, False), ("validation", 16, False), ("validation", 24, True), ("test", 24, True),
    ]  # fmt: skip
    result = finished.result()
    assert result is not None
    assert result["state"] == "done"
    assert result["evals"] == evals[2:]
    kept = {path.stem: file_sha256(path) for path in (finished.path / SEQUENCES).iterdir()}
    assert kept == {row["eval"]: row["sequences_sha256"] for row in evals[2:]}, "of final evaluations alone"
    assert result["parameters"]["total"] == small_run.student.parameters().total
    assert finished.status()["state"] == "done"
    assert finished.status()["step"] == 24
    assert json.loads((finished.path / "provenance.json").read_text())["threads"] == 1


@pytest.mark.integration
def test_the_export_gives_the_recorded_loss(finished: RunDir, corpus: TokenCorpus) -> None:
    model = AutoModelForCausalLM.from_pretrained(finished.model)
    assert model.config.vocab_size == corpus.vocab < 512
    assert AutoTokenizer.from_pretrained(finished.model).vocab_size == corpus.vocab
    final = finished.result()["evals"][1]
    tokens = torch.from_numpy(corpus.stream("test").tokens(0, 64 * 20 + 1))
    inputs, targets = tokens[:-1].view(20, 64), tokens[1:]
    with torch.no_grad():
        logits = model(input_ids=inputs).logits.double().flatten(0, 1)
    nats = cross_entropy(logits, targets, reduction="sum").item()
    assert final["loss"] == pytest.approx(nats / len(targets), abs=1e-4)
    num_bytes = corpus.token_bytes[targets.numpy()].sum()
    assert final["bits_per_byte"] == pytest.approx(nats / math.log(2) / num_bytes, rel=1e-4)
    assert final["slice"] == [0, 1280]
    assert final["tokens_scored"] == 1280


@pytest.mark.integration
def test_a_finished_run_is_not_run_again(finished: RunDir, small_run: Run, corpus: TokenCorpus) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.path.rglob("*")}
    assert train_run(small_run, finished, corpus=corpus, store=None, evaluations=()) == "done"
    assert before == {path: path.stat().st_mtime_ns for path in finished.path.rglob("*")}


def stop_after(steps: int) -> Callable[[], bool]:
    calls = iter(range(1, 10**9))
    return lambda: next(calls) >= steps


@pytest.mark.integration
@pytest.mark.parametrize("seed_of_stops", range(2))
def test_a_stopped_run_ends_bit_identical(
    seed_of_stops: int,
    finished: RunDir,
    small_run: Run,
    corpus: TokenCorpus,
    heldout: tuple[Heldout, ...],
    tmp_path: Path,
) -> None:
    directory = RunDir(tmp_path / "stopped")
    random = np.random.default_rng(seed_of_stops)
    state, attempts = "", 0
    while state != "done":
        attempts += 1
        state = train_run(
            small_run, directory, corpus=corpus, store=None, evaluations=heldout,
            should_stop=stop_after(int(random.integers(2, 12))),
        )  # fmt: skip
        assert state in ("stopped", "done")
    assert attempts > 2
    assert directory.result()["attempts"] == attempts
    assert rows(directory.metrics_file) == rows(finished.metrics_file)
    assert rows(directory.evals_file) == rows(finished.evals_file)
    expected = weights(finished)
    assert all(torch.equal(value, expected[name]) for name, value in weights(directory).items())


@pytest.mark.integration
def test_rows_of_several_steps_survive_a_stop_in_between(
    small_run: Run, corpus: TokenCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pdstudy.train.recorder.ROWS", 5)
    whole, stopped = RunDir(tmp_path / "whole"), RunDir(tmp_path / "stopped")
    train_run(small_run, whole, corpus=corpus, store=None, evaluations=())
    for steps in (7, 4, 99):
        train_run(small_run, stopped, corpus=corpus, store=None, evaluations=(), should_stop=stop_after(steps))
    assert [row["step"] for row in rows(whole.metrics_file)] == [1, 5, 10, 15, 20, 24]
    assert rows(stopped.metrics_file) == rows(whole.metrics_file)


@pytest.mark.integration
def test_a_crash_after_a_checkpoint_repeats_the_steps_since(
    finished: RunDir, small_run: Run, corpus: TokenCorpus, heldout: tuple[Heldout, ...], tmp_path: Path
) -> None:
    directory = RunDir(tmp_path / "crashed")
    common = {"corpus": corpus, "store": None, "evaluations": heldout}
    train_run(small_run, directory, **common, should_stop=stop_after(10))

    def crash() -> bool:
        raise MemoryError

    for _ in range(2):
        with pytest.raises(MemoryError):
            train_run(small_run, directory, **common, should_stop=crash)
    assert train_run(small_run, directory, **common) == "done"
    assert rows(directory.metrics_file) == rows(finished.metrics_file)
    assert rows(directory.evals_file) == rows(finished.evals_file)


@pytest.mark.integration
def test_micro_batches_do_not_change_the_run(
    finished: RunDir, small_run: Run, corpus: TokenCorpus, tmp_path: Path
) -> None:
    directory = RunDir(tmp_path / "micro")
    placement = Placement(micro_batch_tokens=200)  # three sequences, so 3 + 3 + 2
    train_run(small_run, directory, corpus=corpus, store=None, evaluations=(), placement=placement)
    for ours, theirs in zip(rows(directory.metrics_file)[:3], rows(finished.metrics_file), strict=False):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-6)
        assert ours["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-5)


@pytest.mark.integration
def test_a_diverged_run_is_a_result(
    small_run: Run, corpus: TokenCorpus, heldout: tuple[Heldout, ...], tmp_path: Path
) -> None:
    wild = dataclasses.replace(small_run, optimiser=AdamW(lr=1e30, weight_decay=0.0), schedule=Cosine(warmup_tokens=0))
    directory = RunDir(tmp_path / "wild")
    common = {"corpus": corpus, "store": None, "evaluations": heldout}
    assert train_run(wild, directory, **common) == "diverged"
    result = directory.result()
    assert result["state"] == directory.status()["state"] == "diverged"
    assert result["step"] == result["steps"] > 1
    assert "nan" in result["reason"] or "inf" in result["reason"]
    assert [row["step"] for row in rows(directory.metrics_file)] == list(range(1, result["step"]))
    assert not directory.checkpoints.exists()
    assert not directory.model.exists()
    assert train_run(wild, directory, **common) == "diverged"


@pytest.mark.integration
def test_a_run_whose_last_update_breaks_it_is_not_done(
    small_run: Run, corpus: TokenCorpus, heldout: tuple[Heldout, ...], tmp_path: Path
) -> None:
    """Loss and gradient norm of every step are finite, and the model is none: its evaluation used to be NaN, "done"."""
    optimiser = AdamW(lr=1e39, weight_decay=0.0)
    wild = dataclasses.replace(small_run, optimiser=optimiser, schedule=Cosine(warmup_tokens=0), steps=1)
    directory = RunDir(tmp_path / "wild")
    assert train_run(wild, directory, corpus=corpus, store=None, evaluations=heldout) == "diverged"
    assert re.fullmatch(r"\w+ loss is (nan|inf)", directory.result()["reason"])
    assert directory.result()["evals"] == rows(directory.evals_file) == []
    assert not directory.model.exists()


@pytest.mark.integration
def test_late_evaluations_join_a_finished_run(
    small_run: Run, corpus: TokenCorpus, heldout: tuple[Heldout, ...], tmp_path: Path
) -> None:
    early, late = RunDir(tmp_path / "early"), RunDir(tmp_path / "late")
    short = dataclasses.replace(small_run, steps=2)
    train_run(short, early, corpus=corpus, store=None, evaluations=heldout)
    train_run(short, late, corpus=corpus, store=None, evaluations=heldout[:1])
    missing = late.missing_evaluations(heldout)
    assert missing == heldout[1:]
    evaluate_export(short, late, corpus=corpus, evaluations=missing, progress=lambda what, share: None)
    for ours, theirs in zip(late.result()["evals"], early.result()["evals"], strict=True):
        assert ours["eval"] == theirs["eval"]
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-6)
        assert file_sha256(late.path / SEQUENCES / f"{ours['eval']}.npy") == ours["sequences_sha256"]
    assert late.missing_evaluations(heldout) == ()
    assert len(rows(late.evals_file)) == 2


@pytest.mark.parametrize(
    ("change", "placement", "evaluations", "words"),
    [
        ({"student": SMALL_VOCAB}, {}, (), "student.vocab: found 300"),
        ({"data": Slice(tokens=64 * 10**6)}, {}, (), "data: found train"),
        ({}, {"replicas": 2}, (), "replicas: found 2; allowed: a divisor of the ranks, 1"),
        ({}, {"micro_batch_tokens": 63}, (), "at least one sequence, 64"),
        ({}, {}, (Heldout(data=Slice(tokens=10**9, split="test")),), "evaluation: found test"),
        ({}, {}, (Heldout(data=Slice(tokens=63, split="test")),), "at least that many"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_before_anything_is_written(
    change: dict[str, Any], placement: dict[str, Any], evaluations: tuple[Heldout, ...], words: str,
    small_run: Run, corpus: TokenCorpus, tmp_path: Path,
) -> None:  # fmt: skip
    directory = RunDir(tmp_path / "none")
    with pytest.raises(ConfigError, match=words):
        train_run(
            dataclasses.replace(small_run, **change), directory, corpus=corpus, store=None, evaluations=evaluations,
            placement=Placement(**placement),
        )  # fmt: skip
    assert not directory.path.exists()


def test_the_learning_rate_wastes_neither_the_first_nor_the_last_step(small_run: Run) -> None:
    run = dataclasses.replace(small_run, schedule=WSD(warmup_tokens=2048, decay_tokens=4096, shape="linear"))
    rates = [learning_rate(run, step) / run.optimiser.lr for step in range(24)]
    assert rates[:5] == pytest.approx([1 / 8, 3 / 8, 5 / 8, 7 / 8, 1])
    assert rates[-9:] == pytest.approx([1, *(x / 16 for x in range(15, 0, -2))])


DECAYS = {"linear": [0.5, 0], "cosine": [0.5, 0], "1-sqrt": [1 - 0.5**0.5, 0], "exponential": [1 / 32, 1 / 1024]}


@pytest.mark.parametrize("shape", DECAYS)
def test_the_learning_rate_decays_in_the_declared_shape(shape: Any) -> None:
    """The same as alpha does under a `WSDMix` of that shape."""
    schedule, mix = WSD(warmup_tokens=0, decay_tokens=400, shape=shape), WSDMix(decay=0.4, shape=shape)
    factors = [schedule.factor(tokens, 1000) for tokens in (0, 600, 800, 1000)]
    assert factors == pytest.approx([1, 1, *DECAYS[shape]], abs=1e-12)
    assert factors == pytest.approx([mix.factor(x) for x in (0, 0.6, 0.8, 1)], abs=1e-12)


@pytest.mark.parametrize("shape", DECAYS)
def test_a_decay_ends_at_its_floor(shape: Any) -> None:
    schedule, floored = (WSD(warmup_tokens=100, decay_tokens=400, shape=shape, final=f) for f in (0.0, 0.05))
    factors = [floored.factor(tokens, 1000) for tokens in (50, 100, 600, 800, 1000)]
    share = DECAYS[shape]
    assert factors == pytest.approx([0.5, 1, 1, 0.05 + 0.95 * share[0], 0.05 + 0.95 * share[1]], abs=1e-12)
    assert fingerprint(schedule) == fingerprint(WSD(warmup_tokens=100, decay_tokens=400, shape=shape))
    assert fingerprint(floored) != fingerprint(schedule)
    assert [str(p) for p in problems(dataclasses.replace(floored, final=1.5))] == [
        "final: found 1.5; allowed: 0 to 1 (a share of the peak)"
    ]


@pytest.mark.integration
def test_fingerprints_of_evaluations_are_what_rows_carry(finished: RunDir, heldout: tuple[Heldout, ...]) -> None:
    assert [row["eval"] for row in finished.result()["evals"]] == [fingerprint(h) for h in heldout]


@pytest.mark.integration
def test_a_run_whose_end_failed_ends_once_more_with_the_time_of_all_attempts(
    small_run: Run, corpus: TokenCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last evaluations are made again, and are in the file once. They come after the steps that pass a multiple of
    700 tokens: 1,024, 1,536 and 2,560; 2,800 is passed in the last of six steps."""
    run, directory, late = dataclasses.replace(small_run, steps=6), RunDir(tmp_path / "run"), 0.0
    evaluations = (Heldout(data=Slice(tokens=64, split="validation"), every_tokens=700),)
    monkeypatch.setattr("pdstudy.train.recorder.time", SimpleNamespace(perf_counter=lambda: time.perf_counter() + late))

    def slow() -> bool:
        nonlocal late
        late += 100
        return False

    with monkeypatch.context() as broken:
        broken.setattr("pdstudy.train.trainer.make_result", lambda *given, **more: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train_run(run, directory, corpus=corpus, evaluations=evaluations, should_stop=slow)
    assert directory.result() is None
    late = 0.0
    assert train_run(run, directory, corpus=corpus, evaluations=evaluations) == "done"
    found = [(row["step"], row["final"]) for row in read_jsonl(directory.evals_file)]
    assert found == [(2, False), (3, False), (5, False), (6, True)]
    result = directory.result()
    assert result is not None
    assert result["attempts"] == 2
    assert 600 <= result["seconds"]["train"] < 900
