"""The scaling study of this repository: which runs it has, on which text, and what its laws must predict."""

from __future__ import annotations

from pathlib import Path

import pytest

from pdstudy.config.model import Shape
from pdstudy.config.normal_form import normal_form
from pdstudy.config.run import KD, Run
from pdstudy.plan.builder import make_plan
from pdstudy.plan.plan import Plan
from pdstudy.study.study_file import load_study
from pdstudy.workspace.layout import Workspace

FOLDER = Path(__file__).parents[2] / "studies" / "scaling"


def planned(name: str, root: Path, scale: str = "small") -> Plan:
    return make_plan(load_study(FOLDER / f"{name}.py", scale), Workspace(root))


def test_runs_of_the_ladder_have_two_tokens_a_parameter_and_at_most_the_stated_flops(tmp_path: Path) -> None:
    runs = {cell.name: cell.run for cell in planned("ladder", tmp_path).study.cells}
    assert len(runs) == 29
    dear = set()
    for name, run in runs.items():
        assert isinstance(run.student, Shape)
        assert run.num_tokens >= 2 * run.student.parameters().non_embedding
        if 3 * run.student.forward_flops(run.view.context) * run.num_tokens > 1e14:
            dear.add(name)
    assert dear == {"width=w192,tokens=8.39M,seed=0", "width=w256,tokens=8.39M,seed=0"}


def test_budgets_of_a_width_share_a_trunk(tmp_path: Path) -> None:
    plan = planned("ladder", tmp_path)
    alone = [artifact for artifact in plan.artifacts if artifact.kind == "student" and not artifact.after]
    assert len(alone) == 7


@pytest.mark.parametrize("scale", ["small", "gpu", "tiny"])
def test_students_read_text_that_no_teacher_has_read(scale: str, tmp_path: Path) -> None:
    runs = [cell.run for cell in planned("students", tmp_path, scale).study.cells]
    students = [run for run in runs if isinstance(run.objective, KD)]
    assert len(students) == {"small": 80, "gpu": 80, "tiny": 8}[scale]
    alone = {normal_form(run) for run in runs if run.teacher is None}
    for run in students:
        teacher = run.teacher
        assert isinstance(teacher, Run)
        assert teacher.data.stop <= run.data.start
        assert normal_form(teacher) in alone
    assert max(run.data.stop for run in runs) <= 27_522_950  # tokens of the training split
