"""A run in the maximal update parametrisation: its export in plain transformers, stops, ranks and a teacher."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from pdstudy.config.evaluation import Heldout
from pdstudy.config.losses import KLD
from pdstudy.config.model import MuP, Shape
from pdstudy.config.placement import Placement
from pdstudy.config.run import KD, Run, Start
from pdstudy.config.truncation import TopPK
from pdstudy.core.files import read_jsonl
from pdstudy.corpus import TokenCorpus
from pdstudy.workspace.run_dir import RunDir
from tests.train import ranks
from tests.train.one_run import train_run
from tests.train.test_survival import work, work_until

MUP = MuP(base_width=8, base_head_dim=4, base_layers=1)


def in_mup(run: Run, *, tied: bool = True) -> Run:
    assert isinstance(run.student, Shape)
    return dataclasses.replace(run, student=dataclasses.replace(run.student, parametrisation=MUP, tied=tied))


def loss_by_transformers(folder: Path, corpus: TokenCorpus) -> float:
    """Nats per token of 1,280 tokens of the test split."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokens = torch.from_numpy(corpus.stream("test").tokens(0, 64 * 20 + 1))
    with torch.no_grad():
        logits = model(input_ids=tokens[:-1].view(20, 64)).logits.double().flatten(0, 1)
    return cross_entropy(logits, tokens[1:]).item()


@pytest.mark.integration
@pytest.mark.parametrize("tied", [True, False])
def test_the_export_gives_the_recorded_loss_and_a_stop_changes_nothing(
    tied: bool, small_run: Run, corpus: TokenCorpus, heldout: tuple[Heldout, ...], tmp_path: Path
) -> None:
    run = in_mup(small_run, tied=tied)
    whole, stopped = (RunDir(tmp_path / name) for name in ("whole", "stopped"))
    assert train_run(run, whole, corpus=corpus, store=None, evaluations=heldout) == "done"
    calls = iter(range(100))
    halfway = lambda: next(calls) >= 11  # noqa: E731
    assert train_run(run, stopped, corpus=corpus, store=None, evaluations=heldout, should_stop=halfway) == "stopped"
    assert train_run(run, stopped, corpus=corpus, store=None, evaluations=heldout) == "done"
    expected, found = (load_file(d.model / "model.safetensors") for d in (whole, stopped))
    assert all(found[name].equal(value) for name, value in expected.items())
    recorded = whole.result()["evals"][1]["loss"]
    assert recorded == pytest.approx(loss_by_transformers(whole.model, corpus), abs=1e-6)


@pytest.mark.integration
def test_a_student_that_starts_as_its_teacher_has_nothing_to_learn(
    small_run: Run, corpus: TokenCorpus, tmp_path: Path
) -> None:
    """Teacher, student and start each have the multipliers once: the divergence of the first step is 0."""
    teacher = dataclasses.replace(in_mup(small_run), steps=8)
    folder, student = RunDir(tmp_path / "teacher"), RunDir(tmp_path / "student")
    assert train_run(teacher, folder, corpus=corpus, store=None, evaluations=()) == "done"
    objective = KD(teacher=teacher, truncation=TopPK(p=1, k=None), alpha=1.0, loss=KLD(), stored="live")
    run = dataclasses.replace(teacher, objective=objective, steps=2, seed=1, start=Start(model=teacher))
    train_run(run, student, corpus=corpus, store=None, evaluations=(), teacher=folder.model, start=folder.model)
    first, second = read_jsonl(student.metrics_file)
    assert first["kd"] == pytest.approx(0, abs=1e-6)
    assert first["lm"] == pytest.approx(second["lm"], abs=0.5)


@pytest.mark.slow
def test_two_ranks_train_what_one_does_and_hand_over(small_run: Run, corpus: TokenCorpus, tmp_path: Path) -> None:
    run = dataclasses.replace(in_mup(small_run), steps=20)
    one, moved = (RunDir(tmp_path / name) for name in ("one", "moved"))
    arguments = (corpus.directory, (), Placement())
    ranks.run(1, work, run, one.path, *arguments)
    ranks.run(2, work_until, 8, run, moved.path, *arguments)
    ranks.run(2, work, run, moved.path, *arguments)
    pairs = zip(read_jsonl(moved.metrics_file), read_jsonl(one.metrics_file), strict=True)
    assert all(ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4) for ours, theirs in pairs)
