"""The last comparison: which trials are in it, on which seeds, beside what, and what it may be compared with."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from pdstudy import KD, KLD, LM, Heldout, Slice, Tail
from pdstudy.config.run import Run
from pdstudy.core.errors import ConfigError
from pdstudy.search.final import make_final_study, select_best
from pdstudy.search.objectives import AtMost, Calibration
from pdstudy.search.search import Search
from pdstudy.search.space import Choice
from pdstudy.search.strategy import Final
from pdstudy.search.trial_results import RunResult
from pdstudy.search.trials import Trials
from pdstudy.workspace.layout import Workspace
from tests.core.test_normal import make_teacher
from tests.search.synthetic import answered, make_search, regret

TEST = Heldout(data=Slice(split="test", tokens=640))
STAR = {"objective": KD(teacher=make_teacher(), loss=KLD(), rest=Tail()), "optimiser.lr": 2e-3}


def finals(**changes: Any) -> Search:
    final = Final(controls={"LM": {"objective": LM()}, "PD*": STAR}, evaluations=(TEST,), best=2, seeds=(7, 8, 9))
    return make_search(trials=12, final=dataclasses.replace(final, **changes))


def test_the_best_trials_stand_beside_the_controls_on_fresh_seeds(tmp_path: Path) -> None:
    search = finals()
    trials = Trials(search, Workspace(tmp_path), answered)
    trials.step(1)
    found = trials.study.get_trials()
    study = make_final_study(search, found)
    assert study.problems() == []
    best = sorted(found, key=lambda t: t.values[0])[:2]
    labels = [f"trial {t.number}" for t in best]
    assert [c.labels["arm"] for c in study.cells] == [a for a in ("LM", "PD*", *labels) for _ in range(3)]
    assert {c.seed for c in study.cells} == {7, 8, 9}
    assert study.evaluations == (TEST,)
    for trial, label in zip(best, labels, strict=True):
        (run,) = {dataclasses.replace(c.run, seed=0) for c in study.cells if c.labels["arm"] == label}
        assert regret(run) == trial.values[0]
    assert {o.against for o in study.outputs if hasattr(o, "against")} == {"LM", "PD*"}
    star = next(c.run for c in study.cells if c.labels["arm"] == "PD*")
    assert star.objective == STAR["objective"]
    assert star.optimiser.lr == STAR["optimiser.lr"]


def test_equal_runs_are_one_arm(tmp_path: Path) -> None:
    search = dataclasses.replace(finals(), space={"optimiser.lr": Choice({"2": 2e-3, "4": 4e-3, "8": 8e-3})})
    trials = Trials(search, Workspace(tmp_path), lambda run: RunResult({"loss": run.optimiser.lr}))
    trials.step(1)
    assert len(trials.study.get_trials()) == 12
    assert [t.params["optimiser.lr"] for t in select_best(trials.study.get_trials(), 12)] == ["2", "4", "8"]


def test_trials_beyond_a_bound_are_in_no_comparison_however_good(tmp_path: Path) -> None:
    """Those of the smallest loss diverge from what the user allows: here, a learning rate of 4e-3 or more."""
    search = dataclasses.replace(finals(), constraints=(AtMost(Calibration(), 4e-3),))

    def read_result(run: Run) -> RunResult:
        loss = 10 - run.optimiser.lr
        return RunResult({"loss": loss, "recalibrated": loss - run.optimiser.lr})

    trials = Trials(search, Workspace(tmp_path), read_result)
    trials.step(1)
    found = trials.study.get_trials()
    within = sorted((t for t in found if t.params["optimiser.lr"] <= 4e-3), key=lambda t: t.values[0])
    assert 2 < len(within) < len(found)
    assert min(found, key=lambda t: t.values[0]) not in within
    assert [t.number for t in select_best(found, 2)] == [t.number for t in within[:2]]
    study = make_final_study(search, found)
    assert {c.labels["arm"] for c in study.cells} == {"LM", "PD*", *(f"trial {t.number}" for t in within[:2])}
    with pytest.raises(ConfigError, match="no complete trial that keeps its bounds"):
        make_final_study(search, [t for t in found if t not in within])


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    assert finals().problems() == []
    wrong = {"seeds": (0, 7), "best": 0, "controls": {}, "evaluations": (make_search().validation,)}
    for field, value in wrong.items():
        assert [p.field for p in finals(**{field: value}).problems()] == [f"final.{field}"]
    with pytest.raises(ConfigError, match="no complete trial yet"):
        make_final_study(finals(), [])
    with pytest.raises(ConfigError, match="has no final"):
        make_final_study(make_search(), [])
