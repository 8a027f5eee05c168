"""Runs that start from the weights of another: at its end, on its way, and stopped in between."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pdstudy.config.data import View
from pdstudy.config.instructions import Instructions, LocalExamples
from pdstudy.config.run import Run, Start
from pdstudy.core.errors import ConfigError
from pdstudy.core.files import read_jsonl
from pdstudy.corpus import TokenCorpus
from pdstudy.distill.teacher.weights import write_digests
from pdstudy.launch.work_order import model_folder
from pdstudy.models.build_model import build_model, start_from
from pdstudy.train.run_job import run_job
from pdstudy.workspace.layout import Workspace
from pdstudy.workspace.run_dir import RunDir
from tests.train.one_run import job_of, train_run

STEPS = 6


def stop_after(steps: int) -> Callable[[], bool]:
    calls = iter(range(1, 10**9))
    return lambda: next(calls) >= steps


@pytest.fixture(scope="module")
def workspace(small_run: Run, corpus: TokenCorpus, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Holds `small_run`, finished, with the model of half way."""
    workspace = Workspace(tmp_path_factory.mktemp("workspace"))
    train_run(small_run, workspace.run(small_run), corpus=corpus, store=None, evaluations=(), exports=(12,))
    return workspace


def finetuning(run: Run, tmp_path: Path, tokens: int | None = None) -> Run:
    file = tmp_path / "examples.jsonl"
    rows = [{"prompt": f"Add {n} and 1.", "response": f"It is {n + 1}."} for n in range(60)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    instructions = Instructions(sources=(LocalExamples(paths=(str(file),)),), share=0.5)
    view = View(context=64, documents="respect")
    start = Start(model=run, tokens=tokens)
    return dataclasses.replace(run, start=start, instructions=instructions, view=view, steps=STEPS, seed=7)


def start_folder(run: Run, workspace: Workspace) -> Path:
    assert run.start is not None
    return model_folder(run.start.model, workspace, run.start.step)


@pytest.mark.integration
@pytest.mark.parametrize("step", [None, 12])
def test_the_weights_at_the_start_are_the_models(
    step: int | None, workspace: Workspace, small_run: Run, corpus: TokenCorpus, tmp_path: Path
) -> None:
    run = finetuning(small_run, tmp_path, step and step * small_run.tokens_per_step)
    folder = start_folder(run, workspace)
    directory = workspace.run(small_run)
    assert folder == (directory.export(step) if step else directory.model)
    initial, model = (build_model(run.student, seed=run.seed) for _ in range(2))
    start_from(model, folder, corpus.vocab)
    exported = load_file(folder / "model.safetensors")
    before = dict(initial.named_parameters())
    for name, value in model.named_parameters():
        rows = len(exported[name])
        assert torch.equal(value[:rows], exported[name]), name
        assert torch.equal(value[rows:], before[name][rows:]), name
    assert len(model.get_input_embeddings().weight) > corpus.vocab

    # And through the trainer: the loss of its first step is far below that of random weights.
    tuned = RunDir(tmp_path / "tuned")
    train_run(run, tuned, corpus=corpus, store=None, evaluations=(), start=folder, should_stop=stop_after(1))
    fresh = RunDir(tmp_path / "fresh")
    train_run(dataclasses.replace(run, start=None), fresh, corpus=corpus, store=None, evaluations=(),
          should_stop=stop_after(1))  # fmt: skip
    first, other = (next(iter(read_jsonl(d.metrics_file)))["loss"] for d in (tuned, fresh))
    assert first < other - 0.3


@pytest.mark.integration
def test_a_stopped_finetuning_ends_bit_identical(
    workspace: Workspace, small_run: Run, corpus: TokenCorpus, tmp_path: Path
) -> None:
    run = finetuning(small_run, tmp_path)
    whole, stopped = RunDir(tmp_path / "whole"), RunDir(tmp_path / "stopped")
    common = {"corpus": corpus, "store": None, "evaluations": (), "start": start_folder(run, workspace)}
    assert train_run(run, whole, **common) == "done"
    assert train_run(run, stopped, **common, should_stop=stop_after(3)) == "stopped"
    assert train_run(run, stopped, **common) == "done"
    ours, theirs = (load_file(d.model / "model.safetensors") for d in (stopped, whole))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    losses = [[row["loss"] for row in read_jsonl(d.metrics_file)] for d in (stopped, whole)]
    assert losses[0] == losses[1]


@pytest.mark.integration
def test_what_does_not_fit_is_refused(
    workspace: Workspace, small_run: Run, corpus: TokenCorpus, tmp_path: Path
) -> None:
    run = finetuning(small_run, tmp_path)
    with pytest.raises(ConfigError, match="no model folder was given"):
        train_run(run, RunDir(tmp_path / "run"), corpus=corpus, store=None, evaluations=())
    missing = job_of(run, RunDir(tmp_path / "run"), corpus, start=start_folder(run, Workspace(tmp_path)))
    with pytest.raises(ConfigError, match=r"the model that it starts from, .* is not there"):
        run_job(missing)
    folder = start_folder(run, workspace)
    assert isinstance(folder, Path)
    for change, found in (
        ({"ffn": 96}, r"of shape \(64, 32\)"),
        ({"layers": 3}, "do not both have"),
        ({"heads": 2}, "num_attention_heads=4"),
        ({"rope_theta": 500.0}, "rope_parameters="),
    ):
        other = build_model(dataclasses.replace(run.student, **change), seed=0)
        with pytest.raises(ConfigError, match=found):
            start_from(other, folder, corpus.vocab)
    with pytest.raises(ConfigError, match=r"holds no .*safetensors"):
        start_from(build_model(run.student, seed=0), tmp_path, corpus.vocab)


@pytest.mark.integration
def test_a_start_whose_weights_are_lost_or_no_numbers_is_refused(
    workspace: Workspace, small_run: Run, tmp_path: Path
) -> None:
    model = build_model(small_run.student, seed=0)
    for change, words in (
        (lambda weights: weights.pop("model.norm.weight"), r"start\.model: .* lacks 1 weights .*model\.norm\.weight"),
        (lambda weights: weights["model.norm.weight"].fill_(float("nan")), r"model\.norm\.weight with values that are"),
    ):
        folder = shutil.copytree(workspace.run(small_run).model, tmp_path / "model", dirs_exist_ok=True)
        weights = load_file(folder / "model.safetensors")
        change(weights)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ConfigError, match="is damaged: its sha256"):
            start_from(model, folder, 500)
        write_digests(folder)
        with pytest.raises(ConfigError, match=words):
            start_from(model, folder, 500)
