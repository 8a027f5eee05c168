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
from pdstudy.launch import worker_process
from pdstudy.launch.local import RunOutcome, run_plan
from pdstudy.plan.builder import make_plan
from pdstudy.plan.model_size import counted
from pdstudy.plan.plan import Plan
from pdstudy.study.study_file import load_study
from pdstudy.workspace.layout import Workspace
from tests.core.tiny import write_tiny

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


@pytest.mark.integration
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
