"""Finished runs as trials of a search: which lie in its space, and that each is added once."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import FixedTrial, TrialState

from pdstudy import (
    KD,
    KLD,
    LM,
    Cosine,
    Renormalise,
    RenormaliseBoth,
    ReverseKL,
    Smooth,
    Tail,
    Temperature,
    TopPK,
    Weighted,
)
from pdstudy.config.normal_form import normal_form
from pdstudy.config.run import Run
from pdstudy.core.files import write_json
from pdstudy.core.identity import fingerprint
from pdstudy.search.search import Search
from pdstudy.search.space import Choice, Integer, Level, Log, Uniform, sticks_to_weights, suggest, weights_to_sticks
from pdstudy.search.strategy import Halving
from pdstudy.search.trial_results import RunResult
from pdstudy.search.trials import Trials
from pdstudy.search.warm_start import invert_run
from pdstudy.workspace.layout import Workspace
from tests.core.test_normal import make_run, make_teacher
from tests.search.synthetic import SIMPLEX, make_search

PAPER = KD(teacher=make_teacher(), truncation=TopPK(k=50))


def wide(**changes: Any) -> Search:
    """The paper's family beside a mixture, as `studies/search_mixture.py` has them."""
    families = {
        "mixture": Level(dataclasses.replace(PAPER, rest=RenormaliseBoth()), {"objective": SIMPLEX}),
        "paper": Level(PAPER, {"objective.alpha": Uniform(0.0, 1.0)}),
    }
    space = {
        "objective": Choice(families),
        "objective.temperature.tau": Log(0.5, 2.0),
        "objective.truncation": Choice({"10": TopPK(k=10), "50": TopPK(k=50)}),
        "optimiser.lr": Log(1e-3, 1e-2),
    }
    return make_search(**({"space": space, "trials": 12, "base": make_run(objective=PAPER)} | changes))


def finish(workspace: Workspace, run: Run, state: str = "done") -> str:
    """A run directory as a study leaves it, as far as a search reads it."""
    directory = workspace.run(run)
    directory.create(run)
    write_json(directory.path / "result.json", {"state": state})
    return directory.key


def score(run: Run) -> float:
    return int(fingerprint(normal_form(dataclasses.replace(run, seed=0))), 16) / 16**16


def look(run: Run) -> RunResult:
    return RunResult({"loss": score(run)})


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_weights_are_read_back_from_sticks(sticks: list[float]) -> None:
    weights = sticks_to_weights(sticks)
    assert sticks_to_weights(weights_to_sticks(weights)) == pytest.approx(weights, abs=1e-9)


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"objective.alpha": 0.9}, {"objective": "paper", "objective=paper/objective.alpha": 0.9}),
        (
            {"objective.alpha": 0.5, "objective.loss": KLD(), "objective.rest": RenormaliseBoth()},
            {"objective": "mixture", "objective=mixture/objective/LM": 0.875},
        ),
        ({"objective.truncation": TopPK(k=10)}, {"objective": "paper", "objective.truncation": "10"}),
        ({"objective.temperature": Temperature(tau=0.7)}, {"objective.temperature.tau": 0.7}),
    ],
)  # fmt: skip
def test_a_run_in_the_space_is_read_as_the_trial_that_would_make_it(
    changes: dict[str, Any], wanted: dict[str, Any]
) -> None:
    search = wide()
    run = search.run(list(changes.items()), 0, 0)
    trial = invert_run(search, run)
    assert trial is not None
    for name, value in wanted.items():
        assert trial.params[name] == (value if isinstance(value, str) else pytest.approx(value, abs=1e-12))


def test_a_run_without_a_teacher_speaks_for_no_choice_that_it_does_not_use() -> None:
    search = wide()
    told = []
    for lr in (1e-3, 2e-3, 3e-3, 4e-3, 5e-3, 6e-3, 7e-3, 8e-3):
        run = search.run([("objective", LM()), ("optimiser.lr", lr)], 0, 0)
        first, again = invert_run(search, run), invert_run(search, run)
        assert first is not None
        assert again is not None
        assert first.params == again.params
        made = search.run(suggest(FixedTrial(first.params), search.space), 0, 0)
        assert normal_form(made) == normal_form(run)
        told.append(first.params)
    for choice in ("objective", "objective.truncation"):
        assert len({params[choice] for params in told}) > 1


def test_a_space_of_many_choices_is_not_looked_at_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four to the power of eight combinations."""
    numbers = {
        "optimiser.weight_decay": (0.0, 0.05, 0.1, 0.2),
        "optimiser.clip": (0.5, 1.0, 2.0, 4.0),
        "optimiser.eps": (1e-9, 1e-8, 1e-7, 1e-6),
        "optimiser.lr": (1e-3, 2e-3, 4e-3, 8e-3),
        "objective.alpha": (0.0, 0.4, 0.6, 0.8),
        "objective.temperature": tuple(Temperature(tau=tau) for tau in (0.5, 0.7, 1.0, 1.4)),
        "objective.truncation": tuple(TopPK(k=k) for k in (5, 10, 20, 50)),
        "objective.rest": (RenormaliseBoth(), Tail(), Renormalise(), Smooth()),
    }
    search = wide(space={path: Choice({str(v): v for v in values}) for path, values in numbers.items()})
    asked = []
    monkeypatch.setattr(Search, "run", lambda self, *a, run=Search.run: asked.append(a) or run(self, *a))
    inside = [(path, values[-1]) for path, values in numbers.items() if path != "objective.rest"]
    for run in (search.run(inside, 0, 0), search.run([("objective", LM()), ("optimiser.lr", 2e-3)], 0, 0)):
        found = invert_run(search, run)
        assert found is not None
        assert normal_form(search.run(suggest(found, search.space), 0, 0)) == normal_form(run)
    assert invert_run(search, search.run([*inside, ("objective.truncation", TopPK(k=21))], 0, 0)) is None
    assert len(asked) < 20


def test_runs_outside_the_space_are_left_alone() -> None:
    search = wide()
    outside: list[dict[str, Any]] = [
        {"objective.temperature": Temperature(tau=5.0)},
        {"objective.temperature": Temperature(tau=0.7, both=True)},
        {"objective.truncation": TopPK(k=20)},
        {"objective.rest": Tail()},
        {"objective.loss": KLD()},
        {"objective.rest": RenormaliseBoth(), "objective.loss": Weighted(terms=((0.6, KLD()), (0.6, ReverseKL())))},
        {"optimiser.lr": 2e-2},
        {"optimiser.clip": 0.5},
        {"schedule": Cosine(warmup_tokens=128)},
        {"steps": None, "tokens": 1280},
        {"objective": LM(), "steps": None, "tokens": 1280},
    ]
    for changes in outside:
        assert invert_run(search, search.run(list(changes.items()), 0, 0)) is None, changes


def test_finished_runs_are_trials_once(tmp_path: Path) -> None:
    workspace, search = Workspace(tmp_path), wide()
    inside = [search.run([("objective.alpha", alpha)], 0, 0) for alpha in (0.0, 0.3, 1.0)]
    keys = [finish(workspace, run) for run in inside]
    finish(workspace, search.run([("objective.alpha", 0.4)], 0, 0), state="diverged")
    finish(workspace, search.run([("objective.alpha", 0.5)], 1, 0))
    finish(workspace, search.run([("objective.rest", Tail())], 0, 0))
    for _ in range(2):
        found = [t for t in Trials(search, workspace, look).study.get_trials() if t.user_attrs.get("reused")]
        assert sorted(t.user_attrs["runs"][0] for t in found) == sorted(keys)
        assert sorted(t.value for t in found) == sorted(map(score, inside))
        assert {t.state for t in found} == {TrialState.COMPLETE}
    trials = Trials(search, workspace, look)
    trials.step(1)
    assert len(trials.study.get_trials()) == 12 + 3
    later = search.run([("objective.alpha", 0.8)], 0, 0)
    finish(workspace, later)
    assert len(Trials(search, workspace, look).study.get_trials()) == 12 + 4


def test_a_run_between_the_steps_of_whole_numbers_is_outside(tmp_path: Path) -> None:
    workspace, base = Workspace(tmp_path), make_run(objective=PAPER, tokens=None, steps=10)
    search = wide(base=base, space={"steps": Integer(4, 10, 2)})
    for steps in (7, 8):
        finish(workspace, dataclasses.replace(base, steps=steps))
    assert [t.params for t in Trials(search, workspace, look).study.get_trials()] == [{"steps": 8}]


def test_a_trial_needs_the_runs_of_all_its_seeds(tmp_path: Path) -> None:
    workspace, search = Workspace(tmp_path), wide(seeds=(0, 3))
    run = search.run([("objective.alpha", 0.3)], 0, 0)
    finish(workspace, run)

    def there(run: Run) -> RunResult | None:
        return look(run) if workspace.run(run).result() else None

    assert Trials(search, workspace, there).study.get_trials() == []
    finish(workspace, dataclasses.replace(run, seed=3))
    (trial,) = Trials(search, workspace, there).study.get_trials()
    assert len(trial.user_attrs["runs"]) == 2


def test_what_a_killed_driver_has_finished_is_its_own_trial_and_no_second_one(tmp_path: Path) -> None:
    workspace, search = Workspace(tmp_path), wide(trials=1)
    killed = Trials(search, workspace, lambda run: None)
    (active,) = killed.step(1)
    finish(workspace, *killed.runs(active))
    killed.close()
    trials = Trials(search, workspace, look)
    trials.step(1)
    (trial,) = trials.study.get_trials()
    assert trial.state == TrialState.COMPLETE
    assert not trial.user_attrs.get("reused")


def test_a_trial_that_was_pruned_is_known_in_full_once_a_study_has_trained_it(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    search = wide(trials=8, pruner=Halving((1280,), keep=0.01))
    trials = Trials(search, workspace, look)
    trials.step(1)
    pruned = next(t for t in trials.study.get_trials() if t.state == TrialState.PRUNED)
    run = search.run(suggest(FixedTrial(pruned.params), search.space), 0, 1)
    assert finish(workspace, run) == pruned.user_attrs["runs"][0]
    found = [t for t in Trials(search, workspace, look).study.get_trials() if t.user_attrs.get("reused")]
    assert [t.value for t in found] == [score(run)]
    assert all(
        math.isclose(found[0].params[name], value) for name, value in pruned.params.items() if name.endswith("lr")
    )


def test_a_duplicate_is_answered_without_a_run(tmp_path: Path) -> None:
    """Four points, ten trials: what is asked again is looked up, and nothing is under way for it."""
    rates = Choice({"1": 1e-3, "2": 2e-3, "4": 4e-3, "8": 8e-3})
    search = wide(space={"optimiser.lr": rates}, trials=10)
    workspace, trained = Workspace(tmp_path), []

    def there(run: Run) -> RunResult | None:
        return look(run) if workspace.run(run).result() else None

    trials = Trials(search, workspace, there)
    while active := trials.step(1):
        for run in trials.runs(active[0]):
            trained.append(finish(workspace, run))
    assert len(trained) == len(set(trained)) <= 4
    states = [t.state for t in trials.study.get_trials()]
    assert states == [TrialState.COMPLETE] * 10


def test_a_whole_number_is_of_the_space_where_a_step_from_its_low_end_leads_there() -> None:
    dimension = Integer(3, 9, 2)
    read = [n for n in range(12) if list(dimension.read(SimpleNamespace(n=n), "n", "n"))]
    assert read == [3, 5, 7, 9]
    assert list(dimension.read(SimpleNamespace(n=5), "name", "n")) == [{"name": 5}]
