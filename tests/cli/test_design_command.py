"""`pdstudy design`: what a study's LM runs will tell, priced as its plan, and the runs to make next."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from pdstudy import KD, LM, WSD, Heldout, HoldOut, JointLaw, Shape, Slice, Study, axis
from pdstudy.analysis.errors import AnalysisError
from pdstudy.analysis.laws import HOFFMANN
from pdstudy.cli.design import USUAL_LAW
from pdstudy.cli.design_tables import design_json, print_design
from pdstudy.cli.main import main
from pdstudy.cli.study_design import assumed_law, foretell, suggest
from pdstudy.core.errors import ConfigError
from pdstudy.plan.builder import make_plan
from pdstudy.workspace.layout import Workspace
from tests.core.test_normal import make_run, make_teacher
from tests.core.tiny import leave_finished
from tests.study.test_study import make_study

TOKENS = tuple(640 * 64 * 2**i for i in range(4))
TRUE = {"E": 2.47, "A": 21.65, "B": 115.9, "alpha": 0.35, "beta": 0.345}


def budget(tokens: int) -> dict[str, object]:
    return {"tokens": tokens, "schedule": WSD(warmup_tokens=640, decay_tokens=tokens // 5 // 640 * 640)}


def ladder(tokens: tuple[int, ...] = TOKENS) -> Study:
    sizes = {
        f"w{w}": Shape(width=w, layers=3, heads=2, query_groups=1, ffn=2 * w, vocab=512) for w in (32, 48, 64, 96, 128)
    }
    grid = axis("size", sizes, field="student") * axis("tokens", {str(t): budget(t) for t in tokens})
    losses = axis("loss", {"LM": LM(), "KD": KD(teacher=make_teacher())}, field="objective")
    text = Slice(split="test", tokens=640)
    base = make_run(data=Slice(tokens=TOKENS[-1]))
    return make_study(
        base=base, grid=grid * losses, seeds=(0,), baseline={}, evaluations=(Heldout(data=text),)
    )  # fmt: skip


def options(**changes: object) -> argparse.Namespace:
    values: dict[str, object] = {
        "law": USUAL_LAW, "noise": 0.003, "draws": 100, "seed": 0, "target": [], "next": None,
    }  # fmt: skip
    return argparse.Namespace(**(values | changes))


@pytest.mark.integration
def test_a_study_is_foretold_at_the_price_of_its_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = make_plan(ladder(), Workspace(tmp_path))
    assert not plan.problems
    found = foretell(plan, options(target=["loss:N=2e5,D=1e6", "optimum:C=1e13"]))
    assert len(found.runs) == 20
    assert {run.name.split(",")[2] for run in found.runs} == {"loss=LM"}
    declared = found.designs[0][0]
    text_only = [run for run in plan.runs_as("student") if isinstance(run.run.objective, LM)]
    assert declared.flops == pytest.approx(sum(run.flops for run in text_only), rel=1e-9)
    assert declared.flops < sum(run.flops for run in found.runs)
    for design, _ in found.designs:
        assert design.flops <= declared.flops * (1 + 1e-9)
    print_design(found)
    shown = capsys.readouterr().out
    assert "20 LM runs" in shown
    assert "a, exponent of N*" in shown
    assert "best for the targets" in shown
    row = next(line for line in shown.splitlines() if line.startswith("declared"))
    assert row.count("%") == 3, "relative errors of three targets, and the exponent's in its own units"
    data = json.loads(json.dumps(design_json(found)))
    assert data["designs"][0]["runs"][0]["declared"]
    assert data["law"]["values"] == TRUE


@pytest.mark.integration
def test_the_next_runs_follow_from_those_that_are_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workspace = Workspace(tmp_path)
    study = ladder()
    rng = np.random.default_rng(0)
    first = [cell for cell in study.cells if cell.labels["loss"] == "LM" and cell.labels["tokens"] != str(TOKENS[-1])]
    before = suggest(make_plan(study, workspace), workspace, options(next=1e13))
    assert before.done == 0
    assert before.basis.endswith("since no run is done")
    for cell in first:
        leave_finished(workspace, cell.run, evaluations=study.evaluations)
        path = workspace.run(cell.run).path / "result.json"
        result = json.loads(path.read_text())
        size = cell.run.student.parameters().non_embedding
        exact = HOFFMANN.predict(TRUE, {"N": size, "D": cell.run.num_tokens})[0]
        result["evals"][-1]["loss"] = exact * float(np.exp(0.003 * rng.standard_normal()))
        result["parameters"] = {"non_embedding": size, "total": size}
        result["tokens"] = cell.run.num_tokens
        path.write_text(json.dumps(result))
    found = suggest(make_plan(study, workspace), workspace, options(next=1e13, target=["loss:N=2e5,D=1e6"]))
    assert found.done == 15
    assert found.basis.startswith("hoffmann learned from 15 runs")
    assert 0 < found.found.flops <= 1e13
    assert all(not run.done for run in found.pool)
    (target,) = found.found.targets
    assert target.now[0] < target.after[0] < target.value < target.after[1] < target.now[1]
    print_design(found)
    shown = capsys.readouterr().out
    assert "15 runs done" in shown
    assert "expected after" in shown
    assert len(design_json(found)["runs"]) == len(found.found.chosen)
    none = suggest(make_plan(study, workspace), workspace, options(next=1.0))
    print_design(none)
    assert "the cheapest takes" in capsys.readouterr().out


def test_what_cannot_be_designed_is_said(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with pytest.raises(ConfigError, match=r"5 sizes and 2 token budgets; .* takes 3 or more"):
        foretell(make_plan(ladder(TOKENS[:2]), workspace), options())
    plan = make_plan(dataclasses.replace(ladder(), only="*loss=LM*"), workspace)
    with pytest.raises(ConfigError, match="--target: found 'loss:N=1'; allowed: loss:N"):
        foretell(plan, options(target=["loss:N=1"]))
    with pytest.raises(ConfigError, match="--law: found E, A; allowed: "):
        assumed_law("E=1,A=2")
    with pytest.raises(AnalysisError, match="--law 'E': write NAME=NUMBER"):
        assumed_law("E")
    for name, wrong in (
        ("E=2.47", "E=0"),
        ("A=21.65", "A=nan"),
        ("alpha=.35", "alpha=-.35"),
        ("alpha=.35", "alpha=11"),
    ):
        with pytest.raises(ConfigError, match="above 0"):
            assumed_law(USUAL_LAW.replace(name, wrong))
    for text in ("loss:D=1e9,N=nan", "loss:N=inf,D=1e9", "optimum:C=-1"):
        with pytest.raises(ConfigError, match=r"allowed: loss:N.* above 0"):
            suggest(plan, workspace, options(next=1e15, target=[text]))
    with pytest.raises(AnalysisError, match="no best size at C = 1 "):
        suggest(plan, workspace, options(next=1e15, target=["optimum:C=1"]))


@pytest.mark.parametrize("option", ["--noise", "--next"])
@pytest.mark.parametrize("value", ["-1", "0", "nan", "inf"])
def test_amounts_of_a_design_are_above_zero(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["design", "study.py", f"{option}={value}"])
    assert f"found {value}; allowed: a number above 0" in capsys.readouterr().err


def test_a_law_of_tied_exponents_is_designed_without_the_exponent(tmp_path: Path) -> None:
    tied = options(law="E=2.47,A=21.65,B=115.9,alpha=.35", next=1e13)
    found = suggest(make_plan(ladder(), Workspace(tmp_path)), Workspace(tmp_path), tied)
    assert [target.name.split(" at ")[0] for target in found.found.targets] == ["lowest loss", "N*"]
    assert found.found.chosen


def test_runs_that_a_law_must_predict_are_no_candidates(tmp_path: Path) -> None:
    law = JointLaw(where={"loss": "LM"})
    study = dataclasses.replace(
        ladder(), outputs=(law, HoldOut(law=law, where={"size": "w96", "tokens": str(TOKENS[2])}))
    )
    found = suggest(make_plan(study, Workspace(tmp_path)), Workspace(tmp_path), options(next=1e14))
    (place,) = found.found.targets[:-1]
    assert place.name.startswith("loss at N")
    size = next(c.run.student for c in study.cells if c.labels["size"] == "w96").parameters().non_embedding
    near = [r for r in found.pool if abs(np.log(r.size / size)) < 0.1 and abs(np.log(r.tokens / TOKENS[2])) < 0.1]
    assert near == []
