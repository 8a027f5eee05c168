"""A live teacher, or that of a probe, in a plan: it is needed and charged, and there is no store."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pdstudy.config.data import Slice
from pdstudy.config.evaluation import Probe
from pdstudy.config.run import LM
from pdstudy.core.progress import no_progress
from pdstudy.launch.stages import perform
from pdstudy.launch.work_order import make_order
from pdstudy.plan.builder import make_plan
from pdstudy.plan.cost import sizes
from pdstudy.study.grid import axis
from pdstudy.study.study_file import load_study
from pdstudy.train.training_job import never
from pdstudy.workspace.layout import Workspace
from tests.core.tiny import write_tiny


@pytest.mark.integration
def test_a_live_teacher_is_trained_and_charged_and_has_no_store(tmp_path: Path) -> None:
    study = load_study(str(write_tiny(tmp_path, steps=4)), "mini")
    kd = study.cells[-1].run.objective
    live = axis("loss", {"KD": kd, "live": dataclasses.replace(kd, stored="live")}, field="objective")
    study = dataclasses.replace(study, grid=live, seeds=(0,), baseline={}, outputs=(), evaluations=())
    workspace = Workspace(tmp_path / "workspace")
    plan = make_plan(study, workspace)
    assert not plan.problems
    assert [artifact.kind for artifact in plan.artifacts] == ["corpus", "teacher", "logits", "student", "student"]
    teacher, cached, living = plan.runs
    assert set(living.needs) == {plan.corpora[0].key, teacher.key}
    assert living.flops - cached.flops == sizes(teacher.run)[2] * cached.run.num_tokens
    states = [perform(make_order(plan, artifact, workspace), no_progress, never) for artifact in plan.artifacts]
    assert states == ["done"] * 5
    results = [workspace.run(artifact.run).result() for artifact in (cached, living)]
    assert results[1]["flops"]["teacher"] == living.flops - cached.flops
    assert abs(results[0]["train_loss"] - results[1]["train_loss"]) < 1e-5


@pytest.mark.integration
def test_a_probe_needs_its_teacher_and_the_teacher_s_own_run_has_none(tmp_path: Path) -> None:
    study = load_study(str(write_tiny(tmp_path, steps=4)), "mini")
    teacher = study.cells[-1].run.objective.teacher
    probe = Probe(data=Slice(split="validation", tokens=512), teacher=teacher)
    grid = axis("loss", {"LM": LM()}, field="objective")
    study = dataclasses.replace(study, grid=grid, seeds=(0,), baseline={}, outputs=(), evaluations=(probe,))
    workspace = Workspace(tmp_path / "workspace")
    plan = make_plan(study, workspace)
    assert [artifact.kind for artifact in plan.artifacts] == ["corpus", "teacher", "student"]
    taught, student = plan.runs
    assert student.needs == (plan.corpora[0].key, taught.key)
    forward = sizes(student.run)[2]
    assert student.flops == 3 * forward * student.run.num_tokens + 512 * (forward + sizes(taught.run)[2])
    for artifact in plan.artifacts:
        assert perform(make_order(plan, artifact, workspace), no_progress, never) == "done"
    rows = [workspace.run(artifact.run).result()["evals"][0] for artifact in (taught, student)]
    assert "kl" not in rows[0]
    assert rows[1]["kl"] > 0
    assert make_plan(study, workspace).todo == ()
    other = dataclasses.replace(study, evaluations=(probe, Probe(data=probe.data)))
    plan = make_plan(other, workspace)
    assert [artifact.state for artifact in plan.artifacts[1:]] == ["evaluate", "evaluate"]
    for artifact in plan.artifacts:
        assert perform(make_order(plan, artifact, workspace), no_progress, never) == "done"
    assert make_plan(other, workspace).todo == ()
