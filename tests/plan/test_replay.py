"""What is asked of a run that has gone through the steps that would have left it: those alone are trained again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pdstudy.config.data import Slice
from pdstudy.config.instructions import Instructions, LocalExamples
from pdstudy.config.optimizer import WSD, Cosine
from pdstudy.config.run import KD, LM, Online, Run, Start
from pdstudy.core.files import read_jsonl
from pdstudy.launch.stages import perform
from pdstudy.launch.work_order import make_order
from pdstudy.plan.artifact import Artifact, RunArtifact
from pdstudy.plan.builder import make_plan
from pdstudy.plan.cost import training_flops
from pdstudy.plan.plan import Plan
from pdstudy.plan.replay import Replay, replay_needed
from pdstudy.study.grid import axis
from pdstudy.study.study import Study
from pdstudy.study.study_file import load_study
from pdstudy.workspace.layout import Workspace
from pdstudy.workspace.run_dir import RunDir
from pdstudy.workspace.store_index import holds
from tests.core.test_normal import make_run
from tests.core.tiny import leave_finished, write_tiny

STEP = 256


@pytest.fixture
def tiny(tmp_path: Path) -> Study:
    study = load_study(str(write_tiny(tmp_path, steps=16)), "mini")
    return dataclasses.replace(study, seeds=(0,), baseline={}, outputs=(), evaluations=())


def started_from(tiny: Study, *steps: int, base: Run | None = None) -> Study:
    """Runs of four steps that start from the weights that another had after these."""
    base = base or dataclasses.replace(tiny.base, objective=LM())
    short = Cosine(warmup_tokens=STEP)
    levels = {str(at): {"start": Start(model=base, tokens=at * STEP), "steps": 4, "schedule": short} for at in steps}
    return dataclasses.replace(tiny, base=base, grid=axis("at", {"none": {}, **levels}))


def one(plan: Plan, run: Run) -> RunArtifact:
    return next(artifact for artifact in plan.runs if artifact.run == run)


def make(plan: Plan, artifact: Artifact, workspace: Workspace, stop: int = 10**6) -> tuple[str, int]:
    """Its state at the end, and the steps that were trained."""
    taken = 0

    def should_stop() -> bool:
        nonlocal taken
        taken += 1
        return taken >= stop

    return perform(make_order(plan, artifact, workspace), lambda what, share: None, should_stop), taken


def corpus_of(plan: Plan, workspace: Workspace) -> None:
    make(plan, plan.artifacts[0], workspace)


def steps_of(run: Run, workspace: Workspace) -> list[int]:
    return [row["step"] for row in read_jsonl(workspace.run(run).metrics_file)]


@pytest.mark.slow
def test_models_of_steps_that_are_over(tiny: Study, tmp_path: Path) -> None:
    workspace, apart = Workspace(tmp_path / "workspace"), Workspace(tmp_path / "apart")
    alone, study = started_from(tiny), started_from(tiny, 4, 6)
    run = alone.base
    plan = make_plan(alone, workspace)
    corpus_of(plan, workspace)
    assert make(plan, one(plan, run), workspace, stop=10) == ("stopped", 10)

    plan = make_plan(study, workspace)
    artifact = one(plan, run)
    assert (artifact.state, artifact.exports) == ("stopped", (4, 6))
    assert artifact.flops == pytest.approx(training_flops(run) * (16 + 6) / 16)
    assert "steps 1 to 6 are trained again" in plan.warnings[0]
    assert make(plan, artifact, workspace, stop=5) == ("stopped", 5)  # in the middle of what is trained again
    assert make(plan, artifact, workspace) == ("done", 1 + 6)  # the sixth step, and the run's own last six

    straight = make_plan(study, apart)
    corpus_of(straight, apart)
    make(straight, one(straight, run), apart)
    for path in ("models/step-00000004", "models/step-00000006", "model"):
        files = [(w.run(run).path / path / "model.safetensors").read_bytes() for w in (workspace, apart)]
        assert files[0] == files[1]
    assert steps_of(run, workspace) == steps_of(run, apart) == list(range(1, 17))
    assert not (workspace.run(run).path / "again").exists()
    assert one(make_plan(study, workspace), run).done


@pytest.mark.integration
def test_a_finished_run_goes_from_the_nearest_checkpoint_and_no_further(tiny: Study, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "workspace")
    wsd = dataclasses.replace(
        tiny.base, objective=LM(), schedule=WSD(warmup_tokens=2 * STEP, decay_tokens=8 * STEP), steps=16
    )
    plan = make_plan(started_from(tiny, base=wsd), workspace)
    corpus_of(plan, workspace)
    make(plan, one(plan, wsd), workspace)
    before = (workspace.run(wsd).path / "result.json").read_bytes()
    plan = make_plan(started_from(tiny, 11, base=wsd), workspace)
    artifact = one(plan, wsd)
    assert artifact.state == "again"
    assert artifact.flops == pytest.approx(training_flops(wsd) * 3 / 16)  # its stable part ended after step 8
    assert make(plan, artifact, workspace) == ("done", 3)
    assert (workspace.run(wsd).path / "result.json").read_bytes() == before
    assert not make_plan(started_from(tiny, 11, base=wsd), workspace).todo[1:]


@pytest.mark.integration
def test_what_a_replay_of_other_steps_has_left_is_not_gone_on_from(tiny: Study, tmp_path: Path) -> None:
    """A replay for a late model was stopped behind the step of an earlier model, for which steps are trained now."""
    workspace, base = Workspace(tmp_path / "workspace"), dataclasses.replace(tiny.base, objective=LM())
    plan = make_plan(started_from(tiny), workspace)
    corpus_of(plan, workspace)
    make(plan, one(plan, base), workspace)
    late, early = (make_plan(started_from(tiny, step), workspace) for step in (10, 2))
    assert make(late, one(late, base), workspace, stop=6) == ("stopped", 6)
    left = RunDir(workspace.run(base).path / "again")
    assert left.saved == [6]
    assert make(early, one(early, base), workspace) == ("done", 2)
    assert workspace.run(base).export(2).exists()
    assert not left.path.exists()


def windows(tiny: Study, change: Callable[[Run], Run] = lambda run: run) -> Study:
    """Students of two windows of a teacher's sixteen steps."""
    kd = tiny.cells[-1].run.objective
    assert isinstance(kd, KD)
    assert isinstance(kd.teacher, Run)
    teacher = change(dataclasses.replace(kd.teacher, data=Slice(tokens=16 * STEP), order="stream", steps=16))
    levels = {at: {"data": Slice(start=int(at) * STEP, tokens=2 * STEP), "steps": 2} for at in ("2", "8")}
    base = dataclasses.replace(tiny.base, objective=dataclasses.replace(kd, teacher=Online(run=teacher)))
    return dataclasses.replace(tiny, base=base, grid=axis("window", levels))


@pytest.mark.integration
def test_windows_of_steps_that_are_over(tiny: Study, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "workspace")
    study = windows(tiny)
    late = dataclasses.replace(study, grid=study.grid.where(lambda arm: arm["window"] == "8"))
    plan = make_plan(late, workspace)
    corpus_of(plan, workspace)
    assert make(plan, plan.artifacts[1], workspace, stop=9) == ("stopped", 9)  # in the middle of the window of 8
    plan = make_plan(study, workspace)
    (teacher,) = plan.runs_as("teacher")
    assert make(plan, teacher, workspace) == ("done", 4 + 7)
    for need in teacher.records:
        store = workspace.store(need.spec, need.coverage)
        assert holds(store, need.sequences)
        found = [json.loads(path.read_text())["training"]["steps"] for path in sorted(store.glob("shard-*.json"))]
    assert found == [[2, 4], [8, 9], [9, 10]]
    assert [make(plan, artifact, workspace)[0] for artifact in plan.artifacts[2:]] == ["done"] * 2
    assert not make_plan(study, workspace).todo


@pytest.mark.integration
def test_a_teacher_with_instructions_reads_less_text_in_a_step(tiny: Study, tmp_path: Path) -> None:
    """Half of its steps' sequences are examples: its windows last twice as many steps, and it reads half as far."""
    examples = tmp_path / "examples.jsonl"
    rows = [{"prompt": f"say {n}", "response": f"{n}"} for n in range(40)]
    examples.write_text("".join(json.dumps(row) + "\n" for row in rows))
    half = Instructions(sources=(LocalExamples(paths=(str(examples),)),), share=0.5)
    study = windows(tiny, lambda run: dataclasses.replace(run, instructions=half))
    workspace = Workspace(tmp_path / "workspace")
    (found,) = make_plan(study, workspace).problems
    assert (found.field, found.allowed) == ("data", "a window of what the teacher reads, [0, 2048)")

    study = dataclasses.replace(study, grid=study.grid.where(lambda arm: arm["window"] == "2"))
    plan = make_plan(study, workspace)
    states = [make(plan, artifact, workspace)[0] for artifact in plan.artifacts]
    assert states == ["done"] * 3
    assert not make_plan(study, workspace).todo


def test_a_checkpoint_at_the_first_step_that_matters_is_gone_on_from(tmp_path: Path) -> None:
    for step in (2, 4, 6):
        (tmp_path / "checkpoints" / f"step-{step:08d}").mkdir(parents=True)
    assert Replay((), first=4, until=8).start(RunDir(tmp_path)) == 4
    assert Replay((), first=3, until=8).start(RunDir(tmp_path)) == 2
    assert Replay((), first=1, until=8).start(RunDir(tmp_path)) == 0


def test_a_window_that_ends_inside_a_step_needs_all_of_that_step(tmp_path: Path) -> None:
    """Ten sequences a step: of 25 to 40 the first is in the third step, the last in the fourth."""
    workspace, run = Workspace(tmp_path), make_run()
    leave_finished(workspace, run)
    directory = workspace.run(run)
    found = [replay_needed(run, directory, (), [(tmp_path / "store", part)]) for part in (range(20, 35), range(25, 40))]
    assert [each and (each.first, each.until) for each in found] == [(2, 4), (2, 4)]
    later = make_run(data=Slice(start=64 * 7, tokens=6400))
    leave_finished(workspace, later)
    there = replay_needed(later, workspace.run(later), (), [(tmp_path / "store", range(7, 22))])
    assert there == Replay((), first=0, until=2)
