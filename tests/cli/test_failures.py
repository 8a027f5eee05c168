"""What failed is shown as failed, with its reason, once."""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path

import pytest

from pdstudy.cli.progress import PlainView
from pdstudy.cli.status_commands import _logs
from pdstudy.cli.status_tables import print_status
from pdstudy.plan.artifact import RunArtifact
from pdstudy.plan.artifact_state import state_of
from pdstudy.plan.builder import make_plan
from pdstudy.plan.plan import Plan
from pdstudy.study.study_file import load_study
from pdstudy.workspace.failure import clear_failure, write_failure
from pdstudy.workspace.layout import Workspace
from tests.core.cli import call
from tests.core.tiny import write_tiny

REASON = "lm-eval is not installed: pip install 'pdstudy[eval]'"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def plan(tmp_path: Path, workspace: Workspace) -> Plan:
    """The tiny study with tasks for each model."""
    study = write_tiny(tmp_path)
    tasks = "downstream=(Downstream(tasks=OFFLINE_SUITE),), outputs="
    study.write_text(study.read_text().replace("outputs=", tasks))
    return make_plan(load_study(str(study)), workspace)


def test_tasks_that_failed_are_failed_until_they_are_tried_again(plan: Plan, workspace: Workspace) -> None:
    others = [a for a in plan.artifacts if not isinstance(a, RunArtifact)]
    assert {a.kind for a in others} == {"corpus", "logits", "evaluate"}
    for artifact in others:
        assert state_of(artifact, workspace)["state"] == "new"
        write_failure(artifact.log(workspace), REASON)
        found = state_of(artifact, workspace)
        assert (found["state"], found["error"]) == ("failed", REASON)
        clear_failure(artifact.log(workspace))
        assert state_of(artifact, workspace)["state"] == "new"


def test_status_says_each_reason_once(plan: Plan, workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    tasks = [a for a in plan.artifacts if a.kind == "evaluate"]
    for artifact in tasks:
        write_failure(artifact.log(workspace), REASON)
    print_status(plan, workspace, {})
    shown = capsys.readouterr().out
    assert shown.count(REASON) == 1
    assert shown.count("as above") == len(tasks) - 1
    assert f"{len(tasks)} failed" in shown.splitlines()[0]


def test_a_run_says_each_reason_once(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    view = PlainView(io.StringIO())
    view.start(plan)
    tasks = [a for a in plan.artifacts if a.kind == "evaluate"]
    for artifact in tasks:
        view.begin(0, artifact)
        view.end(0, artifact, "failed", REASON)
    shown = capsys.readouterr().err.splitlines()
    assert shown[0] == f"[1/{len(plan.todo)}] evaluate {tasks[0].label}: failed: {REASON}"
    assert shown[1] == f"[2/{len(plan.todo)}] evaluate {tasks[1].label}: failed, as evaluate {tasks[0].label}"


@pytest.mark.integration
def test_a_corpus_that_can_not_be_built_is_failed_for_whoever_looks_later(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    (tmp_path / "texts" / "9999.txt").write_bytes(b"latin-1: \xe9t\xe9 \xff")
    done = call(tmp_path, "run", "tiny.py", "--workers", "1")
    assert done.returncode == 1
    (first, *_) = [line for line in done.stderr.splitlines() if line.startswith("[1/")]
    reason = first.partition(": failed: ")[2]
    assert "9999.txt" in reason
    assert (done.stdout + done.stderr).count(reason) == 1
    rows = json.loads(call(tmp_path, "status", "tiny.py", "--json").stdout)
    assert [(row["kind"], row["error"]) for row in rows if row["state"] == "failed"] == [("corpus", reason)]


def test_logs_show_the_last_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study, workspace = str(write_tiny(tmp_path)), Workspace(tmp_path / "workspace")
    log = make_plan(load_study(study), workspace).artifacts[0].log(workspace)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("".join(f"line {number}\n" for number in range(1, 6)))
    for count, shown in ((2, [4, 5]), (9, [1, 2, 3, 4, 5])):
        asked = {"study": study, "scale": None, "workspace": workspace.root, "name": "corpus", "follow": False}
        assert _logs(argparse.Namespace(**asked, n=count)) == 0
        assert capsys.readouterr().out.splitlines()[1:] == [f"line {number}" for number in shown]
