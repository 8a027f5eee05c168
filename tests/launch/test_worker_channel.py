"""What surrounds a worker: output of libraries, modules in the working directory, and ends of all kinds."""

from __future__ import annotations

import dataclasses
import io
import os
import sys
import time
from pathlib import Path

import pytest

from pdstudy.cli.progress import PlainView
from pdstudy.config.model import TransformersConfig
from pdstudy.config.optimizer import WSD
from pdstudy.launch import worker_process
from pdstudy.launch.local import RunOutcome, _Driver, run_plan
from pdstudy.launch.work_order import make_order
from pdstudy.plan.artifact import RunArtifact
from pdstudy.plan.builder import make_plan
from pdstudy.plan.model_size import counted
from pdstudy.plan.plan import Plan
from pdstudy.study.grid import axis
from pdstudy.study.study_file import load_study
from pdstudy.train.training_job import TrainingJob
from pdstudy.workspace.layout import Workspace
from tests.core.test_normal import make_run
from tests.core.tiny import write_tiny
from tests.study.test_study import make_study

NOISE = r"""
import atexit, os, sys, warnings
print("numexpr.utils INFO: NumExpr defaulting to 2 threads.", flush=True)
os.write(1, b"\x1b[31m{not json}\x1b[0m\n")
warnings.warn("a site's own words")
atexit.register(os.write, 1, b"farewell\n")
"""


@pytest.fixture
def corpus_alone(tmp_path: Path) -> tuple[Plan, Workspace]:
    """A plan of one artifact, the corpus."""
    workspace = Workspace(tmp_path / "workspace")
    plan = make_plan(load_study(str(write_tiny(tmp_path))), workspace)
    return dataclasses.replace(plan, artifacts=plan.artifacts[:1]), workspace


def made(plan: Plan, workspace: Workspace) -> RunOutcome:
    return run_plan(plan, workspace, workers=1, view=PlainView(io.StringIO()))


@pytest.fixture
def noisy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python prints before and after all else, as a cluster's sitecustomize may."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(NOISE)
    path = [str(tmp_path / "site"), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))


@pytest.mark.slow
@pytest.mark.usefixtures("noisy")
def test_stray_output_reaches_neither_events_nor_counts(
    corpus_alone: tuple[Plan, Workspace],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    outcome = made(*corpus_alone)
    assert (outcome.done, outcome.failed) == ([corpus_alone[0].artifacts[0].key], {})
    out, err = capfd.readouterr()
    assert "NumExpr" not in out
    assert "NumExpr" in err
    monkeypatch.setenv("PDSTUDY_CACHE", str(tmp_path / "cache"))
    no_dropout = tuple((name, 0.0) for name in ("resid_pdrop", "embd_pdrop", "attn_pdrop", "summary_first_dropout"))
    settings = (("n_embd", 16), ("n_layer", 1), ("n_head", 2), *no_dropout)
    student = TransformersConfig(model_type="gpt2", vocab=64, settings=settings)
    assert counted(student, 8)["embedding"] == 64 * 16


@pytest.mark.integration
def test_workers_import_nothing_from_the_working_directory(
    corpus_alone: tuple[Plan, Workspace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("token", "queue", "torch"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(3)\n")
    monkeypatch.chdir(tmp_path)
    outcome = made(*corpus_alone)
    assert (len(outcome.done), outcome.failed) == (1, {})


@pytest.mark.integration
@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("exit 3", "its worker left with exit code 3, 3 times (a library or a file of this Python ended it"),
        ("kill -SEGV $$", "its worker was killed by signal 11, 3 times (a crash inside a library"),
        ("kill -KILL $$", "its worker was killed by signal 9, 3 times (signal 9 is often the system out of memory"),
        ('eval "echo nonsense >&$3"; exec sleep 60', "its worker sent what is no event (Expecting value"),
    ],
)
def test_each_end_of_a_worker_has_its_own_words(
    script: str, words: str, corpus_alone: tuple[Plan, Workspace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last one would make a driver wait for ever whose listener died of it."""
    python = tmp_path / "python"
    python.write_text(f"#!/bin/bash\n{script}\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    outcome = made(*corpus_alone)
    (message,) = outcome.failed.values()
    assert message.startswith(words)


@pytest.mark.integration
def test_a_worker_that_does_not_end_is_ended(
    corpus_alone: tuple[Plan, Workspace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library's thread may hold a process back for ever when all is made."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(
        "import sys, threading, time\n"
        "if 'pdstudy.launch.worker' in ' '.join(sys.orig_argv):\n"
        "    threading.Thread(target=time.sleep, args=(300,)).start()\n"
    )
    path = [str(tmp_path / "site"), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
    monkeypatch.setattr(worker_process, "FAREWELL_SECONDS", 1.0)
    begun = time.monotonic()
    assert len(made(*corpus_alone).done) == 1
    assert time.monotonic() - begun < 200


def driver_of(plan: Plan, workspace: Workspace) -> _Driver:
    return _Driver(plan, workspace, 1, PlainView(io.StringIO()), None)


def test_the_largest_that_can_be_begun_is_begun_first(tmp_path: Path) -> None:
    """With long runs first, no worker is left alone with one at the end."""
    workspace = Workspace(tmp_path)
    study = make_study(
        grid=axis("steps", (5, 10, 2), field="steps"), baseline={}, seeds=(0,), base=make_run(tokens=None, steps=1)
    )
    driver = driver_of(make_plan(study, workspace), workspace)
    begun = []
    while (artifact := driver._next()) is not None:
        begun.append(artifact)
        del driver.waiting[artifact.key]
        driver.finished.add(artifact.key)
    assert [artifact.kind for artifact in begun] == ["corpus"] + 3 * ["student"]
    assert [artifact.run.num_steps for artifact in begun[1:] if isinstance(artifact, RunArtifact)] == [10, 5, 2]


def test_a_run_waits_for_the_one_whose_checkpoint_it_may_start_from(tmp_path: Path) -> None:
    """Until that has ended, well or not; it is not waited for where it can not be made any more."""
    workspace = Workspace(tmp_path)
    wsd = make_run(schedule=WSD(warmup_tokens=640, decay_tokens=2 * 640), tokens=None, steps=8)
    study = make_study(base=wsd, grid=axis("steps", (8, 30), field="steps"), baseline={}, seeds=(0,))
    driver = driver_of(make_plan(study, workspace), workspace)
    corpus, short, long = driver.plan.artifacts
    assert long.after == (short.key,)
    assert long.flops > short.flops
    job = make_order(driver.plan, long, workspace).work
    assert isinstance(job, TrainingJob)
    assert job.relatives == (short.path(workspace),)
    driver.finished.add(corpus.key)
    del driver.waiting[corpus.key]
    assert driver._next() == short
    del driver.waiting[short.key]
    driver.workers[0].artifact = short
    assert driver._next() is None
    driver.workers[0].artifact = None
    assert driver._next() == long
