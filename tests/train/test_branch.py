"""Runs that begin alike may share their beginning."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pdstudy.config.data import Slice
from pdstudy.config.evaluation import Heldout
from pdstudy.config.optimizer import WSD, AdamW
from pdstudy.config.run import Run
from pdstudy.config.trajectory import lasting_steps, shared_steps
from pdstudy.core.files import read_jsonl, write_json
from pdstudy.core.identity import fingerprint
from pdstudy.corpus import TokenCorpus
from pdstudy.train.checkpoint import step_of
from pdstudy.train.starting_point import find_checkpoint
from pdstudy.train.training_job import TrainingJob
from pdstudy.workspace.run_dir import RunDir, list_checkpoints
from tests.core.test_normal import make_run
from tests.train.one_run import train_run


@pytest.fixture(scope="module")
def stable(small_run: Run) -> Run:
    """16 steps, the last 4 of them decay."""
    return dataclasses.replace(small_run, steps=16, schedule=WSD(warmup_tokens=1024, decay_tokens=2048))


def test_runs_share_what_comes_before_the_first_difference(small_run: Run, stable: Run) -> None:
    longer = dataclasses.replace(stable, steps=24)
    assert shared_steps(stable, stable) == 16
    assert shared_steps(stable, longer) == shared_steps(longer, stable) == 12
    assert lasting_steps(stable) == (12,)
    assert lasting_steps(longer) == (20,)
    assert shared_steps(small_run, dataclasses.replace(small_run, steps=30)) == 4  # the warm-up of a cosine
    for change in ({"seed": 1}, {"optimiser": AdamW(lr=1e-3)}, {"tokens_per_step": 1024}):
        assert shared_steps(stable, dataclasses.replace(longer, **change)) == 0


@pytest.mark.integration
def test_a_branch_ends_as_the_run_that_began_at_the_beginning(
    stable: Run, corpus: TokenCorpus, heldout: tuple[Heldout, ...], tmp_path: Path
) -> None:
    longer = dataclasses.replace(stable, steps=24)
    trunk, branch, whole_run, other = (RunDir(tmp_path / name) for name in ("trunk", "branch", "whole", "other"))
    common = {"corpus": corpus, "store": None, "evaluations": heldout}
    train_run(stable, trunk, **common)
    assert [step_of(path) for path in list_checkpoints(trunk.checkpoints)] == [12, 16]
    train_run(dataclasses.replace(stable, seed=1), other, **common)
    train_run(longer, whole_run, **common)
    seen: list[int] = []
    train_run(
        longer, branch, **common, relatives=(other, trunk),
        progress=lambda what, share: seen.append(round(share * 24)),
    )  # fmt: skip
    assert seen[0] == 12
    provenance = json.loads((branch.path / "provenance.json").read_text())
    assert provenance["branched_from"] == {"run": "trunk", "step": 12}
    for file in ("metrics.jsonl", "evals.jsonl"):
        rows = [[(r["step"], r["loss"]) for r in read_jsonl(d.path / file)] for d in (branch, whole_run)]
        assert rows[0] == rows[1]
    weights = [load_file(d.model / "model.safetensors") for d in (branch, whole_run)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_branch_takes_over_the_evaluations_that_it_wants_itself(tmp_path: Path) -> None:
    """Those on the way; another study may have had others made of the run that it goes on from."""
    stable = make_run(schedule=WSD(warmup_tokens=640, decay_tokens=2 * 640), tokens=None, steps=8)
    relative, directory = RunDir(tmp_path / "relative"), RunDir(tmp_path / "branch")
    relative.create(stable)
    (relative.checkpoints / "step-00000006").mkdir(parents=True)
    wanted, other = (Heldout(data=Slice(tokens=n, split="test"), every_tokens=640) for n in (64, 128))
    for step in range(1, 9):
        relative.append_metrics({"step": step, "loss": 3.0})
        for each in (wanted, other):
            relative.append_eval({"step": step, "eval": fingerprint(each), "final": step == 8})
    write_json(directory.path / "provenance.json", {"attempt": 1})
    job = TrainingJob(
        dataclasses.replace(stable, steps=10), directory.path, tmp_path / "corpus", evaluations=(wanted,),
        relatives=(relative.path,),
    )  # fmt: skip
    assert find_checkpoint(job, directory, math.inf) == relative.checkpoints / "step-00000006"
    assert [row["step"] for row in read_jsonl(directory.metrics_file)] == list(range(1, 7))
    rows = [(row["step"], row["eval"]) for row in read_jsonl(directory.evals_file)]
    assert rows == [(step, fingerprint(wanted)) for step in range(1, 7)]
    assert directory.branched_at == 6
