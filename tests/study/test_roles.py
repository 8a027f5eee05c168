"""Runs that are several things at once: a cell that teaches, a teacher that starts from a cell."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pdstudy.config.data import Slice
from pdstudy.config.evaluation import Probe
from pdstudy.config.run import KD, LM, Online, Run, Start
from pdstudy.core.errors import ConfigError
from pdstudy.core.files import write_json
from pdstudy.core.identity import fingerprint
from pdstudy.launch.work_order import make_order
from pdstudy.plan.builder import make_plan
from pdstudy.plan.record import make_record
from pdstudy.study.grid import axis
from pdstudy.study.study import Study
from pdstudy.study.study_file import load_study
from pdstudy.workspace.layout import Workspace
from tests.core.tiny import write_tiny

STEP = 256


@pytest.fixture
def tiny(tmp_path: Path) -> Study:
    study = load_study(str(write_tiny(tmp_path, steps=16)), "mini")
    return dataclasses.replace(study, seeds=(0,), baseline={}, outputs=())


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


def kd_of(study: Study) -> KD:
    kd = study.cells[-1].run.objective
    assert isinstance(kd, KD)
    return kd


def teacher_of(study: Study) -> Run:
    teacher = kd_of(study).teacher
    assert isinstance(teacher, Run)
    return teacher


def as_cell(run: Run) -> dict[str, object]:
    return {"student": run.student, "data": run.data, "steps": run.steps, "objective": LM(), "start": run.start}


def test_a_run_that_teaches_starts_others_and_is_a_cell_is_one_item(tiny: Study, workspace: Workspace) -> None:
    teacher = teacher_of(tiny)
    started = {"student": teacher.student, "start": Start(model=teacher, tokens=8 * STEP)}
    arms = {"started": started, "KD": {"objective": kd_of(tiny)}, "same": as_cell(teacher)}
    plan = make_plan(dataclasses.replace(tiny, grid=axis("arm", arms)), workspace)
    keys = [artifact.key for artifact in plan.artifacts]
    assert len(keys) == len(set(keys)) == 5
    for artifact in plan.artifacts:
        assert all(keys.index(need) < keys.index(artifact.key) for need in artifact.needs)
    (one,) = (artifact for artifact in plan.runs if artifact.run == teacher)
    assert (one.kind, one.cells, one.exports) == ("student", ("arm=same,seed=0",), (8,))
    record = make_record(plan)
    assert [t["run"] for t in record["teachers"]] == [one.key]
    assert [cell["teacher"] for cell in record["cells"]] == [None, one.key, None]


def test_one_claim_on_a_run_whether_it_teaches_or_learns(tiny: Study, workspace: Workspace) -> None:
    teaching = make_plan(tiny, workspace)
    learning = make_plan(dataclasses.replace(tiny, grid=axis("arm", {"same": as_cell(teacher_of(tiny))})), workspace)
    tasks = [
        make_order(plan, artifact, workspace)
        for plan in (teaching, learning)
        for artifact in plan.runs
        if artifact.run == teacher_of(tiny)
    ]
    assert [task.kind for task in tasks] == ["teacher", "student"]
    assert tasks[0].claim == tasks[1].claim


def test_a_teacher_that_starts_from_another_run_waits_for_it(tiny: Study, workspace: Workspace) -> None:
    first = teacher_of(tiny)
    second = dataclasses.replace(first, start=Start(model=first), steps=4)
    kd = dataclasses.replace(kd_of(tiny), teacher=second)
    study = dataclasses.replace(tiny, grid=axis("loss", {"KD": kd}, field="objective"))
    kinds = [(artifact.kind, artifact.run) for artifact in make_plan(study, workspace).runs]
    assert kinds[:2] == [("student", first), ("teacher", second)]


def test_runs_that_wait_for_each_other_are_refused(tiny: Study, workspace: Workspace) -> None:
    cell = dataclasses.replace(tiny.base, objective=LM())
    probe = Probe(
        data=Slice(split="test", tokens=512), teacher=dataclasses.replace(cell, start=Start(model=cell), steps=4)
    )
    study = dataclasses.replace(tiny, evaluations=(*tiny.evaluations, probe))
    with pytest.raises(ConfigError, match=r"wait for each other: .* needs loss=LM,seed=0"):
        make_plan(study, workspace)


def test_a_teacher_declared_in_tokens_is_found_in_the_record(tiny: Study, workspace: Workspace) -> None:
    teacher = teacher_of(tiny)
    in_tokens = dataclasses.replace(teacher, steps=None, tokens=teacher.num_tokens)
    objectives = {"a": dataclasses.replace(kd_of(tiny), teacher=in_tokens)}
    record = make_record(make_plan(dataclasses.replace(tiny, grid=axis("o", objectives, field="objective")), workspace))
    assert [c["teacher"] for c in record["cells"]] == [t["run"] for t in record["teachers"]] == [fingerprint(teacher)]


def test_texts_that_are_too_short_for_any_run_of_a_plan_are_said(tiny: Study, workspace: Workspace) -> None:
    corpus = tiny.base.corpus
    splits = {name: {"tokens": 30 * STEP} for name in ("train", "validation", "test")}
    write_json(workspace.corpus(corpus) / "manifest.json", {"splits": splits})
    long = dataclasses.replace(
        tiny.base, data=Slice(tokens=40 * STEP), steps=40, order="stream", student=teacher_of(tiny).student
    )
    window = {"objective": dataclasses.replace(kd_of(tiny), teacher=Online(run=long))}
    started = {"student": long.student, "start": Start(model=dataclasses.replace(long, seed=1))}
    plan = make_plan(dataclasses.replace(tiny, grid=axis("arm", {"window": window, "started": started})), workspace)
    assert [p.field for p in plan.problems] == ["objective.teacher.run.data", "start.model.data"]
