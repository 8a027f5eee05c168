"""Models that are finetuned before they are asked: planned once per model, made, asked, and priced."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import json
from pathlib import Path
from typing import Any

import pytest

from pdstudy.config.data import Slice
from pdstudy.config.downstream import OFFLINE_SUITE, Downstream
from pdstudy.config.evaluation import HeldoutResponses
from pdstudy.config.finetuning import Finetuning
from pdstudy.config.instructions import Instructions, LocalExamples
from pdstudy.config.normal_form import normal_form
from pdstudy.config.optimizer import AdamW, Cosine
from pdstudy.config.placement import Execution, resolve
from pdstudy.config.run import Run
from pdstudy.launch.stages import perform
from pdstudy.launch.work_order import make_order
from pdstudy.plan.account import account, charges, flops_by_stage, run_accounts, tasks_not_priced
from pdstudy.plan.builder import make_plan
from pdstudy.plan.cost import sizes, tokens_read, training_flops
from pdstudy.plan.plan import Plan
from pdstudy.study.collection import Collection
from pdstudy.study.grid import axis
from pdstudy.study.study import Study
from pdstudy.study.study_file import load_study
from pdstudy.workspace.layout import Workspace
from tests.core.tiny import write_tiny

STEP = 256


@pytest.fixture
def finetune(tmp_path: Path) -> Finetuning:
    file = tmp_path / "examples.jsonl"
    with file.open("w") as out:
        for name, thing in inspect.getmembers(contextlib, callable):
            text = (inspect.getdoc(thing) or "").partition("\n")[0]
            out.write(json.dumps({"prompt": name, "response": text[:30]}) + "\n")
    return Finetuning(
        instructions=Instructions(sources=(LocalExamples(paths=(str(file),)),), validation=0.2),
        data=Slice(start=16 * STEP, tokens=2 * STEP),
        tokens=4 * STEP,
        optimiser=AdamW(lr=1e-3),
        schedule=Cosine(warmup_tokens=STEP),
    )


@pytest.fixture
def tiny(tmp_path: Path, finetune: Finetuning) -> Study:
    """LM and KD, asked at half way and at the end, finetuned each time."""
    path = write_tiny(tmp_path, steps=16)
    path.write_text(path.read_text().replace("context=32", "context=64"))
    study = load_study(str(path), "mini")
    scored = HeldoutResponses(instructions=finetune.instructions, tokens=256)
    return dataclasses.replace(
        study, seeds=(0,), baseline={}, outputs=(),
        evaluations=(study.evaluations[1], scored),
        downstream=(Downstream(tasks=OFFLINE_SUITE, at=(8 * STEP,), finetune=finetune),),
    )  # fmt: skip


def of_kind(plan: Plan, kind: str) -> list[Any]:
    return [artifact for artifact in plan.artifacts if artifact.kind == kind]


def test_each_model_is_finetuned_once_and_then_asked(tiny: Study, tmp_path: Path) -> None:
    plan = make_plan(tiny, Workspace(tmp_path / "workspace"))
    assert not plan.problems
    lm, kd = of_kind(plan, "student")
    assert lm.exports == kd.exports == (8,)
    tuned = of_kind(plan, "finetune")
    assert [artifact.needs[1] for artifact in tuned] == [lm.key, lm.key, kd.key, kd.key]
    assert [artifact.needs for artifact in of_kind(plan, "evaluate")] == [(artifact.key,) for artifact in tuned]
    starts = [artifact.run.start for artifact in tuned]
    assert [start.tokens for start in starts if start is not None] == [8 * STEP, None, 8 * STEP, None]

    # Another study that asks the same models other questions shares what comes before.
    other = dataclasses.replace(
        tiny, name="other", downstream=(dataclasses.replace(tiny.downstream[0], limit=5, at=()),)
    )
    both = make_plan(Collection.of("both", (tiny, other)), Workspace(tmp_path / "workspace"))
    assert [artifact.key for artifact in of_kind(both, "finetune")] == [artifact.key for artifact in tuned]
    assert len(of_kind(both, "evaluate")) == 6


def test_a_cell_that_is_such_a_run_stays_a_student(tiny: Study, finetune: Finetuning, tmp_path: Path) -> None:
    runs = axis("run", {"plain": {}, "tuned": _fields(finetune.of(tiny.base))})
    study = dataclasses.replace(tiny, grid=runs, downstream=(Downstream(tasks=OFFLINE_SUITE, finetune=finetune),))
    plan = make_plan(study, Workspace(tmp_path / "workspace"))
    students, tuned = of_kind(plan, "student"), of_kind(plan, "finetune")
    assert students[1].run == normal_form(finetune.of(tiny.base))
    assert [artifact.needs[1] for artifact in tuned] == [students[1].key]
    assert [artifact.needs[0] for artifact in of_kind(plan, "evaluate")] == [students[1].key, tuned[0].key]


def _fields(run: Run) -> dict[str, Any]:
    return {f.name: getattr(run, f.name) for f in dataclasses.fields(run) if f.name != "seed"}


@pytest.mark.slow
def test_finetuned_models_are_made_and_given_to_the_tasks(tiny: Study, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "workspace")
    plan = make_plan(tiny, workspace)
    todo = [artifact for artifact in plan.todo if artifact.kind != "evaluate"]
    states = [
        perform(make_order(plan, artifact, workspace), lambda what, share: None, lambda: False) for artifact in todo
    ]
    assert states == ["done"] * 9
    assert {artifact.kind for artifact in make_plan(tiny, workspace).todo} == {"evaluate"}
    on_the_way, at_end = of_kind(plan, "finetune")[:2]
    orders = [make_order(plan, artifact, workspace) for artifact in of_kind(plan, "evaluate")[:2]]
    assert [getattr(order.work, "model", None) for order in orders] == [
        workspace.root / "runs" / artifact.key / "model" for artifact in (on_the_way, at_end)
    ]
    before = workspace.run(tiny.base).result()
    after = workspace.root / "runs" / at_end.key / "result.json"
    assert before is not None
    losses = [{e["split"]: e["loss"] for e in r["evals"]}["responses"] for r in (before, json.loads(after.read_text()))]
    assert losses[1] < losses[0]


def test_each_run_is_charged_for_what_comes_after_it(tiny: Study, tmp_path: Path) -> None:
    plan = make_plan(tiny, Workspace(tmp_path / "workspace"))
    lm, kd = run_accounts(plan)
    forward = sizes(tiny.base)[2]
    assert (lm.student, lm.inference, lm.teacher) == (3 * forward * 16 * STEP, 0.0, 0.0)
    assert lm.finetuning == kd.finetuning == 2 * 3 * forward * 4 * STEP
    assert lm.evaluation == kd.evaluation == 3 * forward * (512 + 256)
    assert lm.tasks == kd.tasks == 2 * forward * tokens_read(tiny.downstream[0])[0]
    teacher = kd_teacher(tiny)
    assert kd.inference == sizes(teacher)[2] * 16 * STEP
    assert kd.charged.both == kd.student + kd.inference + training_flops(teacher)
    total = flops_by_stage(plan)
    assert total["finetuning"] == lm.finetuning + kd.finetuning
    assert total["tasks"] == lm.tasks + kd.tasks > 0
    assert charges(plan).free == total["student"] == lm.student + kd.student
    row = account(plan)["runs"][1]
    assert row["hours"]["both"] * 3600 * plan.rate == pytest.approx(kd.charged.both + kd.after)
    assert not tasks_not_priced(plan)


def kd_teacher(study: Study) -> Run:
    teacher = study.cells[-1].run.teacher
    assert isinstance(teacher, Run)
    return teacher


def test_what_does_not_fit_is_said_with_its_field(tiny: Study, finetune: Finetuning, tmp_path: Path) -> None:
    odd = dataclasses.replace(finetune, tokens=4 * STEP + 1, data=Slice(tokens=100))
    more = dataclasses.replace(finetune.instructions, validation=0.3)
    study = dataclasses.replace(
        tiny, downstream=(Downstream(tasks=OFFLINE_SUITE, finetune=odd),),
        evaluations=(HeldoutResponses(instructions=more, tokens=256),),
    )  # fmt: skip
    found = {p.field: p for p in study.problems()}
    assert set(found) == {
        "downstream[0].finetune.tokens", "downstream[0].finetune.data.tokens", "evaluations[0].instructions.validation",
    }  # fmt: skip
    assert "nearest: tokens=1024, or steps=4" in found["downstream[0].finetune.tokens"].hint
    assert "at most 0.2" in found["evaluations[0].instructions.validation"].allowed
    absent = Instructions(sources=(LocalExamples(paths=("nowhere/*.jsonl",)),))
    study = dataclasses.replace(
        tiny, evaluations=(), downstream=(Downstream(tasks=OFFLINE_SUITE,
                                                     finetune=dataclasses.replace(finetune, instructions=absent)),),
    )  # fmt: skip
    assert [p.field for p in study.problems()] == ["downstream[0].finetune.instructions.sources[0].paths[0]"]
    plan = make_plan(dataclasses.replace(study, elsewhere=True), Workspace(tmp_path / "workspace"))
    assert not plan.problems
    assert [w for w in plan.warnings if "nowhere/*.jsonl" in w]


def test_finetuning_asks_for_what_training_students_does_unless_told_otherwise() -> None:
    own = Execution(stage="finetune", minutes=30)
    rules = (Execution(stage="student", gpus=8, minutes=600), Execution(stage="evaluate", gpus=1))
    assert (resolve(rules, "finetune", 0).gpus, resolve(rules, "finetune", 0).minutes) == (8, 600)
    found = resolve((own, *rules), "finetune", 0)
    assert (found.gpus, found.ranks, found.minutes) == (8, 8, 30)
    assert resolve((own, *rules), "student", 0).minutes == 600
