"""What bounds a search: hours of devices, constraints, and a second objective; on synthetic objectives."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from pdstudy.config.data import Slice
from pdstudy.config.evaluation import Heldout
from pdstudy.config.normal_form import normal_form
from pdstudy.config.run import Run
from pdstudy.core.files import read_json, write_json
from pdstudy.core.identity import fingerprint
from pdstudy.search.cost import device_hours
from pdstudy.search.objectives import AtMost, Calibration, Compute, Loss, SecondsPerToken
from pdstudy.search.progress import summary
from pdstudy.search.search import Search
from pdstudy.search.strategy import GP, TPE, Halving, Random, Sampler
from pdstudy.search.trial_results import RunResult, read_run_result, score_runs
from pdstudy.search.trials import Trials
from pdstudy.workspace.layout import Workspace
from tests.search.synthetic import answered, make_search, mixture, regret


def hours_of_one(search: Search, folder: Path) -> float:
    """What a trial is estimated to take on the declared machine."""
    trials = Trials(dataclasses.replace(search, trials=1), Workspace(folder), lambda run: None)
    trials.step(1)
    return device_hours(search, Workspace(folder), trials.study.get_trials())


@pytest.mark.integration
def test_no_trial_is_asked_for_beyond_the_hours_of_a_budget(tmp_path: Path) -> None:
    one = hours_of_one(make_search(), tmp_path / "one")
    search = make_search(device_hours=5.5 * one)
    waiting = Trials(search, Workspace(tmp_path / "waiting"), lambda run: None)
    assert len(waiting.step(100)) == 6
    done = Trials(search, Workspace(tmp_path / "done"), answered)
    assert done.step(1) == []
    assert len(done.study.get_trials()) == 6


def test_hours_are_measured_where_a_run_is_done_and_follow_the_rungs(tmp_path: Path) -> None:
    search, workspace = make_search(trials=1, pruner=Halving((3200,))), Workspace(tmp_path)
    first = Trials(search, workspace, lambda run: None)
    (active,) = first.step(1)
    (short,) = first.runs(active)
    finish(search, workspace, short, {"train": 3000.0, "evaluate": 600.0}, ranks=2)
    assert device_hours(search, workspace, first.study.get_trials()) == pytest.approx(2.0)
    first.read_result = lambda run: read_run_result(search, workspace, run, ())
    assert [a.rung for a in first.step(1)] == [1]
    # The longer run is priced at the rate that each of the two devices of the shorter one had: half the declared one.
    whole_hours = hours_of_one(make_search(), tmp_path / "whole")
    assert device_hours(search, workspace, first.study.get_trials()) == pytest.approx(2.0 + 2 * whole_hours)
    (whole,) = first.runs(active)
    trunk = {"run": fingerprint(short), "step": whole.num_steps / 4}
    finish(search, workspace, whole, {"train": 4000.0}, ranks=1, branched_from=trunk)
    assert device_hours(search, workspace, first.study.get_trials()) == pytest.approx(2.0 + 3000 / 3600)


def finish(search: Search, workspace: Workspace, run: Run, seconds: dict[str, float], **provenance: Any) -> None:
    """What a finished run leaves behind, on a device of the declared speed."""
    directory = workspace.run(run)
    directory.create(run)
    row = {"eval": fingerprint(search.validation), "split": "validation", "loss": 1.0, "tokens": run.num_tokens}
    flops = {"student": seconds["train"] * search.machine.flops_per_second}
    write_json(directory.path / "provenance.json", provenance)
    write_json(directory.path / "result.json", {"state": "done", "evals": [row], "seconds": seconds, "flops": flops})


def data_share(run: Run) -> RunResult:
    """A loss whose optimum has little of the data's own, and a calibration that wants more of it."""
    return RunResult({"loss": regret(run), "recalibrated": regret(run) - 1 + mixture(run)["LM"]})


@pytest.mark.parametrize(("sampler", "count"), [(TPE(), 30), pytest.param(GP(), 18, marks=pytest.mark.slow)])
def test_a_bound_is_kept_and_the_best_is_one_that_keeps_it(tmp_path: Path, sampler: Sampler, count: int) -> None:
    # At least 0.4 of the data's own loss, which one point of the simplex in five has.
    search = make_search(constraints=(AtMost(Calibration(), 0.6),), sampler=sampler, trials=count)
    trials = Trials(search, Workspace(tmp_path), data_share)
    trials.step(1)
    found = trials.study.get_trials(states=(TrialState.COMPLETE,))
    assert len(found) == count
    shares = [1 - 0.6 - next(iter(t.constraints.values())) for t in found]
    assert all(0 <= share <= 1 for share in shares)
    kept = [share >= 0.4 for share in shares]
    assert sum(kept[10:]) >= 0.5 * (count - 10)
    best = summary(search, Workspace(tmp_path))
    assert [r["trial"] for r in best[: sum(kept)]] == [
        t.number for t in sorted((t for t, k in zip(found, kept, strict=True) if k), key=lambda t: t.values[0])
    ]
    assert best[0]["trial"] == trials.study.best_trial.number
    assert best[0]["beyond"] == {}
    assert list(best[-1]["beyond"]) == ["Calibration(measure='gap') at most 0.6"]


def test_compute_is_that_of_the_whole_run_whatever_rung_it_ends_at(tmp_path: Path) -> None:
    search = make_search(pruner=Halving((1280,)), trials=6, sampler=Random())
    whole = Compute().value(search.base, {})
    search = dataclasses.replace(search, constraints=(AtMost(Compute(), whole / 2),))
    trials = Trials(search, Workspace(tmp_path), answered)
    trials.step(1)
    ends = {t.state: t.constraints for t in trials.study.get_trials()}
    assert set(ends) == {TrialState.COMPLETE, TrialState.PRUNED}
    assert {v for constraints in ends.values() for v in constraints.values()} == {whole / 2}


@pytest.mark.integration
def test_trials_beyond_a_bound_do_not_raise_the_cut_for_those_that_keep_it(tmp_path: Path) -> None:
    """The better the loss, the worse the calibration: as the teacher's share grows."""

    def read_run_result(run: Run) -> RunResult:
        share = mixture(run)["LM"]
        return RunResult({"loss": 1 + share, "recalibrated": 2 * share})

    bound, rung = AtMost(Calibration(), 0.7), Halving((1280,), keep=0.25)  # at least 0.3 of the data's own loss
    trials = Trials(
        make_search(constraints=(bound,), pruner=rung, sampler=Random()), Workspace(tmp_path), read_run_result
    )
    trials.step(1)
    best = trials.study.best_trial
    assert all(excess <= 0 for excess in best.constraints.values())
    ended = [t for t in trials.study.get_trials() if 1280 in t.intermediate_values]
    kept = [t for t in ended if t.intermediate_values[1280] >= 1.3]
    assert len(kept) > 5
    assert best.number == min(kept, key=lambda t: t.intermediate_values[1280]).number
    beyond = [t for t in ended if t.intermediate_values[1280] < 1.3 and t.number > 5]
    assert {t.state for t in beyond} == {TrialState.PRUNED}


def test_a_constraint_that_is_no_number_prunes(tmp_path: Path) -> None:
    search = make_search(constraints=(AtMost(Calibration("ece"), 0.1),), trials=3)
    trials = Trials(search, Workspace(tmp_path), lambda run: RunResult({"loss": 1.0, "ece": math.nan}))
    trials.step(1)
    assert [t.user_attrs["reason"] for t in trials.study.get_trials()] == ["no number"] * 3


def test_calibration_as_a_second_objective_makes_a_front(tmp_path: Path) -> None:
    search = make_search(objectives=(Loss(), Calibration()), trials=30)
    trials = Trials(search, Workspace(tmp_path), data_share)
    trials.step(1)
    front = sorted(t.values for t in trials.study.best_trials)
    assert len(front) > 2
    assert [gap for _, gap in front] == sorted((gap for _, gap in front), reverse=True)


def test_time_per_token_is_read_from_the_run(tmp_path: Path) -> None:
    search, workspace = make_search(), Workspace(tmp_path)
    finish(search, workspace, search.base, {"train": 64.0})
    answer = read_run_result(search, workspace, search.base, ())
    assert answer is not None
    assert answer.row is not None
    assert SecondsPerToken().value(search.base, answer.row) == pytest.approx(64 / search.base.num_tokens)
    assert read_run_result(search, workspace, search.base, {fingerprint(normal_form(search.base))}) == RunResult(
        state="failed"
    )


def test_what_is_wrong_is_said_at_declaration() -> None:
    def fields(**changes: Any) -> list[str]:
        return [p.field for p in make_search(**changes).problems()]

    assert fields(device_hours=0.0) == ["device_hours"]
    assert fields(objectives=(Loss("accuracy"),)) == ["objectives[0].column"]
    assert fields(objectives=(Loss(), Calibration("slope"))) == ["objectives[1].measure"]
    assert fields(objectives=(Loss(), "compute")) == ["objectives[1]"]
    assert fields(objectives=(Loss(), Loss())) == ["objectives"]
    assert fields(constraints=(Compute(),)) == ["constraints[0]"]
    assert fields(constraints=(AtMost(Compute(), math.nan),)) == ["constraints[0].bound"]
    context = make_search().base.view.context
    short = Heldout(data=Slice(split="validation", tokens=context))
    assert fields(validation=short, objectives=(Loss("recalibrated"),)) == ["validation.data.tokens"]
    assert fields(validation=short, objectives=(Loss(), Calibration("ece"))) == []
    assert fields(constraints=(AtMost(SecondsPerToken(), 1e-3),), device_hours=2) == []


def test_constraints_are_part_of_what_is_asked_and_a_budget_is_not() -> None:
    search = make_search()
    assert dataclasses.replace(search, device_hours=1.0).identity == search.identity
    bounded = dataclasses.replace(search, constraints=(AtMost(Compute(), 1e12),))
    assert bounded.identity != search.identity


def test_what_saving_took_is_paid_for(tmp_path: Path) -> None:
    search, workspace = make_search(trials=1), Workspace(tmp_path)
    trials = Trials(search, workspace, lambda run: None)
    (active,) = trials.step(1)
    (run,) = trials.runs(active)
    finish(search, workspace, run, {"train": 3000.0, "evaluate": 240.0, "save": 360.0})
    assert device_hours(search, workspace, trials.study.get_trials()) == pytest.approx(1.0)


def test_rows_of_other_evaluations_are_not_taken(tmp_path: Path) -> None:
    """A later row of a test split, which a study has asked for: nothing of a search sees it."""
    search, workspace = make_search(), Workspace(tmp_path)
    finish(search, workspace, search.base, {"train": 64.0})
    path = workspace.run(search.base).path / "result.json"
    result = read_json(path)
    assert result is not None
    other = Heldout(data=Slice(split="test", tokens=640))
    unlike = {"eval": fingerprint(other), "split": "test", "loss": 0.5, "tokens": search.base.num_tokens}
    write_json(path, result | {"evals": [*result["evals"], unlike]})
    found = read_run_result(search, workspace, search.base, ())
    assert found is not None
    assert found.row is not None
    assert (found.row["loss"], found.row["eval"]) == (1.0, fingerprint(search.validation))
    write_json(path, result | {"evals": [unlike]})
    assert read_run_result(search, workspace, search.base, ()) is None


def test_scores_are_means_over_seeds() -> None:
    bound = AtMost(Calibration(), 0.25)
    search = make_search(seeds=(0, 1), constraints=(bound,))
    rows = [{"loss": 1.0, "recalibrated": 0.5}, {"loss": 3.0, "recalibrated": 2.0}]
    scores = score_runs(search, [search.run([], seed, 0) for seed in search.seeds], rows)
    assert scores.values == [2.0]
    assert scores.excess == {bound.name: 0.5}  # gaps of 0.5 and 1.0
