"""`pdstudy design` of a study that declares a law of distilled students."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

import pytest

from pdstudy import (
    KD,
    LM,
    DistillationLaw,
    DistilOrTrain,
    Heldout,
    HoldOut,
    JointLaw,
    Online,
    Run,
    Shape,
    Slice,
    Study,
    axis,
)
from pdstudy.analysis.errors import AnalysisError
from pdstudy.cli.design import USUAL_LAW, USUAL_STUDENT_LAW
from pdstudy.cli.students_design import declared_student_law, foretell_students
from pdstudy.cli.students_tables import design_json, print_design
from pdstudy.cli.study_design import assumed_student_law
from pdstudy.core.errors import ConfigError
from pdstudy.plan.account import totals
from pdstudy.plan.builder import make_plan
from pdstudy.workspace.layout import Workspace
from tests.cli.test_design_command import TOKENS, budget
from tests.core.test_normal import make_run
from tests.study.test_study import make_study

WIDTHS = (32, 48, 64)


def shape(width: int) -> Shape:
    return Shape(width=width, layers=3, heads=2, query_groups=1, ffn=2 * width, vocab=512)


def trained(width: int, tokens: int) -> Run:
    return dataclasses.replace(make_run(data=Slice(tokens=TOKENS[-1])), student=shape(width), **budget(tokens))


def study(**objectives: object) -> Study:
    """A ladder of three widths and budgets, and students of these under teachers of it; the largest is held out."""
    sizes = axis("width", {f"w{w}": shape(w) for w in WIDTHS}, field="student")
    sizes *= axis("tokens", {str(t): budget(t) for t in TOKENS[1:]})
    learned = {"none": LM(), **(objectives or {f"w{w}": KD(teacher=trained(w, TOKENS[-1])) for w in WIDTHS})}
    law = DistillationLaw(supervised=JointLaw(where={"teacher": "none"}))
    held = HoldOut(law=law, where={"width": "w64", "tokens": str(TOKENS[-1]), "teacher": "w64"})
    return make_study(
        base=make_run(data=Slice(tokens=TOKENS[-1])),
        grid=sizes * axis("teacher", learned, field="objective"),
        seeds=(0,),
        baseline={},
        evaluations=(Heldout(data=Slice(split="test", tokens=640)),),
        outputs=(DistilOrTrain(law=law), *([] if objectives else [held])),
    )


def options(**changes: object) -> argparse.Namespace:
    values = {"law": USUAL_LAW, "student_law": USUAL_STUDENT_LAW, "noise": 0.003, "draws": 100, "seed": 0}
    return argparse.Namespace(**(values | changes))


@pytest.mark.slow
def test_a_study_of_students_is_foretold_at_the_price_of_its_plan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = Workspace(tmp_path)
    plan = make_plan(study(), workspace)
    assert not plan.problems
    law = declared_student_law(plan)
    assert law is not None
    found = foretell_students(plan, workspace, law, options())
    assert (found.alone, found.students, len(found.teachers)) == (9, 26, 3)
    assert [spread.name for spread, _ in found.parameters][:2] == ["A'", "B'"]
    assert len(found.held_out) == 1
    assert len(found.crossovers) == len(found.best_teachers) == 9
    declared, *smaller = found.designs
    assert declared.flops == pytest.approx(totals(plan)["flops"])
    assert len(smaller) == 9
    assert smaller[0].title == "no width=w32"
    assert smaller[0].missing == "sizes (2)"
    for design in smaller:
        assert design.flops < declared.flops, design.title
        assert design.held_out is not None
        assert declared.held_out is not None
        assert design.held_out >= declared.held_out, design.title
    print_design(found)
    shown = capsys.readouterr().out
    assert "26 students under 3 teachers, 9 LM runs" in shown
    assert max(map(len, shown.splitlines())) <= 120
    data = json.loads(json.dumps(design_json(found)))
    assert data["crossovers"][0].keys() >= {"N", "teacher_loss", "value", "error", "first_order", "end"}


def test_students_that_cannot_be_designed_are_said(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    first = KD(teacher=trained(64, TOKENS[-1]))
    moving = KD(teacher=Online(run=dataclasses.replace(trained(64, TOKENS[-1]), order="stream")))
    for objectives, said in (
        ({"a": first}, r"has too few teachers \(1\); a law of students takes 3 sizes"),
        ({"a": first, "b": moving}, "found Online; allowed in a design: a run, whose loss"),
    ):
        plan = make_plan(study(**objectives), workspace)
        assert not plan.problems
        law = declared_student_law(plan)
        assert law is not None
        with pytest.raises(ConfigError, match=said):
            foretell_students(plan, workspace, law, options())
    with pytest.raises(ConfigError, match="--student-law: found A; allowed: A, B, alpha"):
        assumed_student_law("A=1")
    with pytest.raises(ConfigError, match=r"f1 of \.01 to 10"):
        assumed_student_law(USUAL_STUDENT_LAW.replace("f1=.09", "f1=0"))
    with pytest.raises(AnalysisError, match="write NAME=NUMBER"):
        assumed_student_law("A")


def test_a_study_of_sizes_alone_has_no_law_of_students(tmp_path: Path) -> None:
    plain = dataclasses.replace(study(), outputs=(JointLaw(where={"teacher": "none"}),))
    assert declared_student_law(make_plan(plain, Workspace(tmp_path))) is None
