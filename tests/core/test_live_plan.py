"""A live teacher, or that of a probe, in a plan: it is needed and charged, and there is no store."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from pdstudy.config.data import Slice
from pdstudy.config.evaluation import Probe
from pdstudy.config.run import LM, Run
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


def test_a_live_teacher_is_trained_and_charged_and_has_no_store(tmp_path: Path) -> None:
    study = load_study(str(write_tiny(tmp_path, steps=4)), "mini")
    kd = study.cells[-1].run.objective
    live = axis("loss", {"KD": kd, "live": dataclasses.replace(kd, stored="live")}, field="objective")
    study = dataclasses.replace(study, grid=live, seeds=(0,), baseline={}, outputs=(), evaluations=())
    workspace = Workspace(tmp_path / "workspace")
    plan = make_plan(study, workspace)
    assert not plan.problems
    assert [item.kind for item in plan.items] == ["corpus", "teacher", "logits", "student", "student"]
    _, teacher, _, cached, living = plan.items
    assert set(living.needs) == {plan.items[0].key, teacher.key}
    assert isinstance(teacher.subject, Run)
    assert living.flops - cached.flops == sizes(teacher.subject)[2] * cached.subject.num_tokens
    states = [perform(make_order(plan, item, workspace), no_progress, never) for item in plan.items]
    assert states == ["done"] * 5
    results = [workspace.run(item.subject).result() for item in (cached, living)]
    assert results[1]["flops"]["teacher"] == living.flops - cached.flops
    assert abs(results[0]["train_loss"] - results[1]["train_loss"]) < 1e-5


def test_a_probe_needs_its_teacher_and_the_teacher_s_own_run_has_none(tmp_path: Path) -> None:
    study = load_study(str(write_tiny(tmp_path, steps=4)), "mini")
    teacher = study.cells[-1].run.objective.teacher
    probe = Probe(data=Slice(split="validation", tokens=512), teacher=teacher)
    grid = axis("loss", {"LM": LM()}, field="objective")
    study = dataclasses.replace(study, grid=grid, seeds=(0,), baseline={}, outputs=(), evaluations=(probe,))
    workspace = Workspace(tmp_path / "workspace")
    plan = make_plan(study, workspace)
    assert [item.kind for item in plan.items] == ["corpus", "teacher", "student"]
    corpus, taught, student = plan.items
    assert student.needs == (corpus.key, taught.key)
    forward = sizes(student.subject)[2]
    assert student.flops == 3 * forward * student.subject.num_tokens + 512 * (forward + sizes(taught.subject)[2])
    for item in plan.items:
        assert perform(make_order(plan, item, workspace), no_progress, never) == "done"
    rows = [workspace.run(item.subject).result()["evals"][0] for item in (taught, student)]
    assert "kl" not in rows[0]
    assert rows[1]["kl"] > 0
    assert make_plan(study, workspace).todo == ()
    other = dataclasses.replace(study, evaluations=(probe, Probe(data=probe.data)))
    plan = make_plan(other, workspace)
    assert [item.state for item in plan.items[1:]] == ["evaluate", "evaluate"]
    for item in plan.items:
        assert perform(make_order(plan, item, workspace), no_progress, never) == "done"
    assert make_plan(other, workspace).todo == ()
