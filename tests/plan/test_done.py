"""What "done" means: one definition for plan, status, results and report."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import pytest

from pdstudy import arm, axis
from pdstudy.analysis.data.runs import arm_summary, load_runs
from pdstudy.analysis.report.study_outputs import Outputs
from pdstudy.analysis.report.study_page import _warn_of_missing
from pdstudy.config.data import Slice
from pdstudy.config.downstream import OFFLINE_SUITE, Downstream
from pdstudy.config.evaluation import Heldout
from pdstudy.config.run import Start
from pdstudy.core.claim import Claim
from pdstudy.core.files import write_json
from pdstudy.core.run_state import run_state
from pdstudy.plan.artifact_state import states
from pdstudy.plan.builder import make_plan
from pdstudy.plan.record import make_record
from pdstudy.study.study import Study
from pdstudy.workspace.layout import Workspace
from tests.core.tiny import leave_finished
from tests.study.test_study import make_study

TEST = Heldout(data=Slice(split="test", tokens=640))
LONGER = Heldout(data=Slice(split="test", tokens=1280))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


def trained(workspace: Workspace) -> Study:
    """A study of two learning rates and two seeds that is done, but for its corpus."""
    rates = axis("lr", (1e-3, 1e-4), field="optimiser.lr")
    study = make_study(grid=rates, baseline={}, seeds=(0, 1), evaluations=(TEST,))
    for cell in study.cells:
        leave_finished(workspace, cell.run, evaluations=study.evaluations)
    return study


def views(study: Study, workspace: Workspace) -> list[Counter[str]]:
    """States of the study's four runs: by the plan, by `status`, in the results."""
    plan = make_plan(study, workspace)
    runs = {run.key for run in plan.runs}
    return [
        Counter(run.state for run in plan.runs),
        Counter(row["state"] for row in states(plan, workspace, {}) if row["key"] in runs),
        Counter(load_runs(workspace.root, make_record(plan))["state"]),
    ]


def report_of(study: Study, workspace: Workspace) -> Outputs:
    return Outputs(workspace.root, make_record(make_plan(study, workspace)))


def test_plan_status_results_and_report_agree_on_what_is_done(workspace: Workspace) -> None:
    study = trained(workspace)
    assert views(study, workspace) == 3 * [Counter(done=4)]
    assert not _warn_of_missing(report_of(study, workspace))

    for evaluations in ((LONGER,), (TEST, LONGER)):
        more = dataclasses.replace(study, evaluations=evaluations)
        assert views(more, workspace) == 3 * [Counter(evaluate=4)]
        assert len([a for a in make_plan(more, workspace).todo if a.kind == "student"]) == 4
        report = report_of(more, workspace)
        assert list(arm_summary(report.runs)["runs"]) == ["0/2", "0/2"]
        found = _warn_of_missing(report)
        assert "4 of 4 runs are not done: lr=0.001,seed=0 (not evaluated)" in found
        assert len(report.trained) == 4, "what they have is shown"
    assert list(arm_summary(report.runs)["test loss"]) == ["3.000 ± 0.000"] * 2, "that of the evaluation which is there"


def test_tasks_that_are_missing_are_said(workspace: Workspace) -> None:
    study = dataclasses.replace(trained(workspace), downstream=(Downstream(tasks=OFFLINE_SUITE),))
    plan = make_plan(study, workspace)
    assert len([a for a in plan.todo if a.kind == "evaluate"]) == 4
    assert Counter(row["state"] for row in states(plan, workspace, {}) if row["kind"] == "evaluate") == {"new": 4}
    assert "4 of 4 models are not evaluated on their tasks" in _warn_of_missing(report_of(study, workspace))
    answers = plan.answers[0].path(workspace)
    answers.mkdir(parents=True)
    (answers / "results.json").write_text('{"tasks": {}}')
    assert "3 of 4 models are not evaluated on their tasks" in _warn_of_missing(report_of(study, workspace))


def test_a_run_that_is_evaluated_now_is_running(workspace: Workspace) -> None:
    study = dataclasses.replace(trained(workspace), evaluations=(LONGER,))
    plan = make_plan(study, workspace)
    first = plan.runs[0]
    with Claim(workspace.claim(first.kind, first.key), "a test"):
        rows = {row["key"]: row["state"] for row in states(plan, workspace, {})}
    assert rows[first.key] == "running"
    assert Counter(rows[run.key] for run in plan.runs) == {"running": 1, "evaluate": 3}


@pytest.mark.parametrize(
    ("result", "status", "wanted", "state"),
    [
        (None, None, [], "new"),
        (None, {"state": "running"}, ["a"], "running"),
        (None, {"state": "done"}, [], "stopped"),
        (None, {"state": "diverged"}, [], "stopped"),
        ({"state": "done", "evals": [{"eval": "a"}]}, {"state": "running"}, ["a"], "done"),
        ({"state": "done", "evals": [{"eval": "a"}]}, None, ["a", "b"], "evaluate"),
        ({"state": "diverged", "evals": []}, None, ["a"], "diverged"),
    ],
)
def test_the_state_of_a_run(
    result: dict[str, object] | None, status: dict[str, object] | None, wanted: list[str], state: str
) -> None:
    assert run_state(result, status, wanted) == state


def test_what_is_to_be_evaluated_or_trained_again_is_there_for_those_that_need_it(workspace: Workspace) -> None:
    """Its model is: what waits for something waits for what is not made yet."""
    study = trained(workspace)
    first = study.cells[0].run
    more = dataclasses.replace(
        study, grid=study.grid + arm("tuned", {"start": Start(model=first)}, axis="lr"), evaluations=(LONGER,)
    )
    plan = make_plan(more, workspace)
    rows = {row["key"]: row for row in states(plan, workspace, {})}
    waiting = next(a for a in plan.runs if a.run.start is not None)
    assert rows[workspace.run(first).key]["state"] == "evaluate"
    write_json(workspace.corpus(first.corpus) / "manifest.json", {"splits": {}})
    rows = {row["key"]: row for row in states(make_plan(more, workspace), workspace, {})}
    assert "waits_for" not in rows[waiting.key]
