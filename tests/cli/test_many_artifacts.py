"""Plans and states of more artifacts than a screen has lines: what needs attention comes first."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pdstudy import KD, Start, axis
from pdstudy.cli.machine_tables import Here
from pdstudy.cli.plan_tables import MAX_ROWS, print_plan
from pdstudy.cli.status_tables import print_status
from pdstudy.plan.artifact_state import GROUPS, by_urgency, group_of, states
from pdstudy.plan.builder import make_plan
from pdstudy.plan.members import artifacts_by_study
from pdstudy.plan.plan import Plan
from pdstudy.study.collection import Collection
from pdstudy.workspace.layout import Workspace
from tests.core.test_normal import make_run, make_teacher
from tests.core.tiny import leave_finished
from tests.study.test_study import make_study


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def many(workspace: Workspace, runs: int = 100, failed: int = 3, done: int = 10) -> Plan:
    """A study of which the first runs are done, the last have failed, and the one before them is being made."""
    rates = axis("lr", [1e-3 + 1e-6 * i for i in range(runs)], field="optimiser.lr")
    base = make_run(objective=KD(teacher=make_teacher()))
    study = make_study(base=base, grid=rates, seeds=(0,), baseline={}, evaluations=())
    for cell in study.cells[:done]:
        leave_finished(workspace, cell.run)
    for cell in study.cells[-failed:]:
        workspace.run(cell.run).create(cell.run)
        workspace.run(cell.run).set_status("failed", error="it went wrong")
    running = study.cells[-failed - 1]
    workspace.run(running.run).create(running.run)
    workspace.run(running.run).set_status("running", step=3, steps=10)
    return make_plan(study, workspace)


@pytest.mark.integration
def test_of_many_artifacts_those_that_failed_come_first(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = many(workspace, runs=2000)
    print_status(plan, workspace, {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "study demo: 10 done, 3 failed, 1 lost, 1989 new"
    rows = lines[2 : 2 + MAX_ROWS]
    assert [" failed " in row for row in rows] == [True] * 3 + [False] * (MAX_ROWS - 3)
    assert ["it went wrong" in row for row in rows[:3]] == [True, False, False], "a reason is said once"
    assert "lost" in rows[3], "its process is gone"
    assert not [row for row in lines[1:] if " done " in row]
    assert rows[4].split()[:2] == ["corpus", "demo"]
    assert all("waits for" in row for row in rows[5:])
    assert lines[2 + MAX_ROWS] == f"... and {2003 - 10 - MAX_ROWS} new (--json shows all)"

    print_plan(plan, workspace, Here(2), why=False, call="demo.py")
    lines = capsys.readouterr().out.splitlines()
    rows = lines[4 : 4 + MAX_ROWS]
    assert [row.split()[-1] for row in rows[:5]] == ["failed"] * 3 + ["running", "new"]
    assert lines[4 + MAX_ROWS] == f"... and {2003 - 10 - MAX_ROWS} more to make (--json shows all)"


def test_few_artifacts_are_shown_in_their_order(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    plan = many(workspace, runs=20)
    print_status(plan, workspace, {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:25]] == ["corpus", "teacher", "logits"] + ["student"] * 20
    assert sum(" done " in line for line in lines[2:25]) == 10


def test_what_waits_names_the_worst_of_what_it_waits_for(workspace: Workspace) -> None:
    plan = many(workspace, runs=20)
    (teacher,) = plan.runs_as("teacher")
    teacher.directory(workspace).create(teacher.run)
    teacher.directory(workspace).set_status("failed", error="no")
    rows = {row["key"]: row for row in states(make_plan(plan.study, workspace), workspace, {})}
    assert rows[plan.stores[0].key]["waits_for"] == f"teacher {teacher.label} (failed)"
    assert "waits_for" not in rows[plan.corpora[0].key]
    assert "waits_for" not in rows[plan.runs_as("student")[0].key], "it is done"


def test_states_by_urgency() -> None:
    shown = ["done", "new", "running", "lost", "queued", "failed", "diverged", "completing", "evaluate"]
    rows = by_urgency({"state": state} for state in shown)
    assert [row["state"] for row in rows] == [
        "failed", "lost", "diverged", "running", "completing", "new", "queued", "evaluate", "done"
    ]  # fmt: skip
    assert {group_of(state) for state in shown} == set(GROUPS)


def collection(workspace: Workspace) -> Plan:
    """Two studies of fifty runs, which share the corpus and ten of them; the second alone has a teacher and logits."""
    first, second = (axis("lr", [1e-3 + 1e-6 * i for i in range(at, at + 50)], field="optimiser.lr") for at in (0, 40))
    plain = make_study(name="plain", grid=first, seeds=(0,), baseline={}, evaluations=())
    kd = make_run(objective=KD(teacher=make_teacher()))
    both = second + axis("lr", [1e-3], field="optimiser.lr").set("objective", kd.objective)
    other = make_study(name="other", grid=both, seeds=(0,), baseline={}, evaluations=())
    for cell in plain.cells[38:42]:
        leave_finished(workspace, cell.run)
    return make_plan(Collection.of("all", [plain, other]), workspace)


def test_a_study_of_studies_has_a_row_for_each(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    plan = collection(workspace)
    members = artifacts_by_study(plan)
    assert {name: len(artifacts) for name, artifacts in members.items()} == {"plain": 51, "other": 54}
    assert len({a.key for artifacts in members.values() for a in artifacts}) == len(plan.artifacts) == 94
    print_status(plan, workspace, {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[1:4]] == [
        ["study", "artifacts", *GROUPS], ["plain", "51", "47", "4"], ["other", "54", "52", "2"]
    ]  # fmt: skip
    print_plan(plan, workspace, Here(2), why=False, call="all")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:4] for line in lines[4:6]] == [["plain", "51", "4", "47"], ["other", "54", "2", "52"]]
    alone = make_plan(dataclasses.replace(plan.study.studies[0]), workspace)  # type: ignore[attr-defined]
    assert artifacts_by_study(alone) == {}


def test_what_a_study_needs_is_followed_to_its_beginning(workspace: Workspace) -> None:
    first = make_run()
    second = dataclasses.replace(first, start=Start(model=first))
    chained = make_study(name="chained", base=dataclasses.replace(first, start=Start(model=second)), seeds=(0,),
                         grid=axis("lr", (1e-3,), field="optimiser.lr"), baseline={})  # fmt: skip
    alone = make_study(name="alone", grid=axis("lr", (1e-2,), field="optimiser.lr"), seeds=(0,), baseline={})
    members = artifacts_by_study(make_plan(Collection.of("all", [alone, chained]), workspace))
    assert [artifact.kind for artifact in members["chained"]] == ["corpus", "student", "student", "student"]
    assert [artifact.kind for artifact in members["alone"]] == ["corpus", "student"]
