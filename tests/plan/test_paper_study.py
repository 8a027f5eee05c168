"""The paper's studies as code: their counts at the paper's scale, and the folder as one study."""

from __future__ import annotations

import dataclasses
import importlib
import json
import time
from pathlib import Path

import pytest

from pdstudy.cli.main import main
from pdstudy.config.model import Shape
from pdstudy.config.run import Run
from pdstudy.core.errors import ConfigError
from pdstudy.core.format import si
from pdstudy.plan.account import charges, flops_by_stage, run_accounts, tallies, tasks_not_priced, teacher_work, totals
from pdstudy.plan.builder import make_plan
from pdstudy.plan.cost import sizes
from pdstudy.plan.plan import Plan
from pdstudy.plan.store_bytes import reading, stored
from pdstudy.plan.study_plan import member_plans
from pdstudy.study.collection import Collection
from pdstudy.study.grid import Grid
from pdstudy.study.helper_modules import helper_modules
from pdstudy.study.study_file import load_study
from pdstudy.workspace.layout import Workspace

FOLDER = str(Path(__file__).parents[2] / "studies" / "paper")
STEP = 2048 * 4096
S3B = 2441 * 4096
"""Tokens, 10M as in the paper, of which S3b counts kept logits, for each of two teachers."""
TOTALS = {"330M": 334.5, "670M": 669.0, "1.9B": 1866.5, "3.8B": 3749.7, "6.8B": 6819.9}
"""Table 7's shapes at GLM-4's vocabulary, in millions of parameters, norms (0.03 to 0.23M) not counted."""


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return make_plan(load_study(FOLDER, "paper"), Workspace(tmp_path_factory.mktemp("workspace")))


def test_totals_are_the_papers(paper: Plan) -> None:
    study = next(s for s in collection(paper).studies if s.name == "paper-s10")
    found = {}
    for cell in study.cells:
        shape = cell.run.student
        assert isinstance(shape, Shape)
        norms = shape.width * (2 * shape.layers + 1)
        found[cell.labels["student"]] = (sizes(cell.run)[1] - norms) / 1e6
    assert found == pytest.approx(TOTALS, abs=0.1)


def collection(plan: Plan) -> Collection:
    assert isinstance(plan.study, Collection)
    return plan.study


def test_what_studies_share_is_one_run(paper: Plan) -> None:
    """The LM run and vanilla distillation of 1.9B are cells of nearly every study, and made once."""
    assert not paper.problems
    own, beyond = tallies(paper)
    assert own.budgets == ((59_604 * STEP, 4), (11_921 * STEP, 61))
    assert (own.group, own.runs, own.branches) == ("", 65, 0)
    assert own.tokens == pytest.approx(8.1e12, rel=1e-3)
    assert teacher_work(paper) == (1, 4, (59_604 + 11_921) * STEP + 2 * S3B)
    students = paper.runs_as("student")
    assert len(students) == own.runs + beyond.runs
    assert max(len(i.cells) for i in students) >= 9
    members = member_plans(paper, Workspace(Path("nowhere")))
    assert {i.key for part in members for i in part.artifacts if i.kind == "student"} == {i.key for i in students}


def test_budgets_beyond_the_paper_are_branches_of_one_trunk(paper: Plan) -> None:
    """S11b: each of two students' three losses trains 59,604 steps but for the last decay, and six decays."""
    tally = tallies(paper)[1]
    assert (tally.group, tally.runs, tally.branches) == ("beyond the paper", 36, 30)
    steps = [10_000, 20_000, 30_000, 40_000, 50_000, 59_604]
    decays = [step // 10 for step in steps]
    done = steps[-1] - decays[-1] + sum(decays)
    assert tally.saved / (tally.flops + tally.saved) == pytest.approx(1 - done / sum(steps))
    assert flops_by_stage(paper)["student"] == pytest.approx(sum(t.flops for t in tallies(paper)))


def test_the_models_of_all_runs_and_those_on_the_way_of_the_long_ones_are_asked(paper: Plan) -> None:
    assert [(tally.evaluated, tally.finetuned) for tally in tallies(paper)] == [(61 + 4 * 6,) * 2, (36, 36)]
    asked, tuned = (paper.answers, paper.runs_as("finetune"))
    assert [i.needs for i in asked] == [(i.key,) for i in tuned]
    assert {i.run.num_tokens for i in tuned} == {2384 * STEP}
    long = [r for r in paper.runs_as("student") if r.exports]
    assert [i.exports for i in long] == [(10_000, 20_000, 30_000, 40_000, 50_000)] * 4


def test_each_pass_is_charged_once(paper: Plan) -> None:
    """Of each teacher, per token that students read (500B tokens of the 9B, 100B of the 32B): 2 for each weight but
    those of the embedding, which are looked up, and 4 layers x width x context of attention."""
    total, charged = flops_by_stage(paper), charges(paper)
    nine = 2 * (9.4e9 - 151_552 * 4096) + 4 * 40 * 4096 * 4096
    larger = 2 * (32.56e9 - 151_552 * 6144) + 4 * 61 * 6144 * 4096
    assert total["capture"] == pytest.approx((nine * 59_604 + larger * 11_921) * STEP, rel=1e-3)
    assert charged.free == pytest.approx(total["student"])
    assert charged.inference == pytest.approx(total["student"] + total["capture"])
    assert charged.both is None, "what GLM-4 was trained with is not known"
    each = run_accounts(paper)
    assert sum(run.student for run in each) == pytest.approx(total["student"] + tallies(paper)[1].saved)
    assert sum(run.finetuning for run in each) == pytest.approx(total["finetuning"])
    assert sum(run.inference for run in each) > 5 * total["capture"], "nearly all students share one pass"
    assert tasks_not_priced(paper) == ["kbqa", "c3", "ceval-valid", "gsm8k"]
    reader = reading(paper)
    assert reader is not None
    assert "330M" in reader.run


def test_stages_come_to_the_whole(paper: Plan) -> None:
    """Probes' teachers among them. By hand: finetuning is 20B tokens at three forwards for each of 85 and 36 models."""
    total = flops_by_stage(paper)
    assert sum(total.values()) == pytest.approx(totals(paper)["flops"], rel=1e-9)
    assert sum(total.values()) == pytest.approx(totals(paper)["flops_todo"], rel=1e-9)
    forward = {"330M": 0.870e9, "670M": 1.430e9, "1.9B": 3.917e9, "3.8B": 7.978e9, "6.8B": 14.277e9}
    models = {"330M": 3, "670M": 3, "1.9B": 47 + 2 * 6 + 18, "3.8B": 4 + 2 * 6 + 18, "6.8B": 4}
    by_hand = sum(3 * forward[size] * models[size] for size in models) * 2384 * STEP
    assert total["finetuning"] == pytest.approx(by_hand, rel=1e-3)


def test_a_stored_pass_is_made_once_over_text_that_a_run_goes_through_twice(tmp_path: Path) -> None:
    plan = make_plan(load_study(f"{FOLDER}/s11_tokens.py", "mini"), Workspace(tmp_path))
    (kd,) = {(run.inference, run.student) for run in run_accounts(plan) if "student=w32,loss=KD" in run.label}
    artifact = next(i for i in plan.runs if "student=w32,loss=KD" in i.label)
    assert artifact.run.num_tokens == 2 * artifact.run.data.tokens
    teacher = artifact.run.teacher
    assert isinstance(teacher, Run)
    assert kd[0] == sizes(teacher)[2] * artifact.run.data.tokens


def test_bytes_of_stores_stand_beside_the_papers(paper: Plan) -> None:
    """15 TB for 100B tokens in its section 3.1; a float32 value, a 4-byte id and 24 bytes per token are ours."""
    found, inspected = stored(paper)
    assert found.tokens == teacher_work(paper)[2] - inspected.tokens
    assert inspected.tokens == 2 * S3B
    assert found.published / found.tokens * 1e11 == pytest.approx(15e12, rel=0.02)
    assert found.expected == pytest.approx(found.tokens * (24 + 37 * 8))
    assert found.at_most + inspected.at_most == sum(artifact.bytes for artifact in paper.stores)


def test_what_is_not_here_is_warned_of_and_never_run(paper: Plan) -> None:
    assert [w for w in paper.warnings if "teachers/glm-4-32b" in w]
    with pytest.raises(ConfigError, match="can be planned here, not run"):
        paper.check_here()


def test_planning_is_quick(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    began = time.process_time()
    with pytest.raises(SystemExit) as end:
        main(["plan", FOLDER, "--scale", "paper", "--json", "--workspace", str(tmp_path)])
    assert time.process_time() - began < 2
    assert end.value.code == 0
    assert json.loads(capsys.readouterr().out)["study"] == "paper-paper"


def test_mini_is_sound_and_compares_at_equal_seeds(tmp_path: Path) -> None:
    plan = make_plan(load_study(FOLDER, "mini"), Workspace(tmp_path))
    assert not plan.problems
    for study in collection(plan).studies:
        assert len(study.seeds) >= 3
        assert study.baseline or not study.cells
    first = next(s for s in collection(plan).studies if s.name == "mini-s01")
    lm, kd, control = (next(c.run for c in first.cells if c.labels["loss"] == label)
                       for label in ("LM", "KD", "LM, compute-matched"))  # fmt: skip
    assert lm.num_tokens == kd.num_tokens < control.num_tokens <= control.data.tokens


def test_rates_go_by_student_and_by_whether_a_teacher_is_used(tmp_path: Path) -> None:
    plan = make_plan(load_study(FOLDER, "mini"), Workspace(tmp_path))
    sizes_study = next(s for s in collection(plan).studies if s.name == "mini-s10")
    rates = {(c.labels["student"], c.labels["teacher"] != "none"): c.run.optimiser.lr for c in sizes_study.cells}
    assert rates["w48", False] == 8e-3
    assert rates["w48", True] == 1.6e-2
    assert rates["w96", True] == 4e-3


def test_a_scale_that_names_no_student_of_its_own_is_refused_at_once() -> None:
    """A student that `rates` did not name was trained at the rate of `optimiser`, and nobody was told."""
    with helper_modules(Path(FOLDER).resolve()):
        mini = importlib.import_module("paper.scales").SCALES["mini"]
    faulty = dataclasses.replace(mini, anchor="w65", rates={("w32", "LM"): 1e-2, ("w33", "KD"): 1e-2})
    with pytest.raises(ConfigError) as found:
        faulty.study("s", grid=Grid(()))
    for said in ("anchor: found 'w65'", "none for ('w32', 'KD'), ('w48', 'KD')", "found ('w33', 'KD'); allowed: its"):
        assert said in str(found.value)
    assert dataclasses.replace(mini, rates=1).rate(mini.run()) == 1


@pytest.mark.integration
def test_the_scale_of_a_day_has_the_runs_of_mini_at_rates_that_can_be_swept(tmp_path: Path) -> None:
    small, mini = (make_plan(load_study(FOLDER, scale), Workspace(tmp_path)) for scale in ("small", "mini"))
    assert not small.problems
    assert [a.kind for a in small.artifacts] == [a.kind for a in mini.artifacts]
    swept = make_plan(load_study(str(Path(FOLDER).parent / "paper_rates.py"), "small"), Workspace(tmp_path))
    assert not swept.problems
    assert {a.key for a in swept.artifacts if a.kind == "teacher"} < {a.key for a in small.artifacts}


@pytest.mark.integration
def test_the_scale_with_tasks_has_the_runs_of_mini_and_finetunes_each_model_that_is_asked(tmp_path: Path) -> None:
    tasks, mini = (make_plan(load_study(FOLDER, scale), Workspace(tmp_path)) for scale in ("tasks", "mini"))
    assert not tasks.problems
    students, alone = ({i.key for i in plan.artifacts if i.kind == "student"} for plan in (tasks, mini))
    assert students == alone
    asked, finetuned = (sum(i.kind == kind for i in tasks.artifacts) for kind in ("evaluate", "finetune"))
    assert asked == finetuned > len(students)  # the long runs are asked along their way, too


@pytest.mark.parametrize(
    ("number", "said"), [(12_345_678, "12.3M"), (9.99e17, "999P"), (1.8656e23, "1.87e23"), (0.5, "0.5")]
)
def test_large_numbers_are_said_as_the_field_says_them(number: float, said: str) -> None:
    assert si(number) == said
