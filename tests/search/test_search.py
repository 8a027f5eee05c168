"""The driver on synthetic objectives: no trainer, everything else real."""

from __future__ import annotations

import dataclasses
import math
import statistics
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState

from pdstudy import KD, KLD, LM, Heldout, JensenShannon, RenormaliseBoth, Slice, Tail, Temperature
from pdstudy.config.normal_form import normal_form
from pdstudy.config.run import Run
from pdstudy.search.objectives import Compute, Loss
from pdstudy.search.space import Choice, Level, Log, Uniform, sticks_to_weights, suggest
from pdstudy.search.strategy import TPE, Halving, Random
from pdstudy.search.trial_results import RunResult
from pdstudy.search.trials import Trials
from pdstudy.workspace.layout import Workspace
from tests.core.test_normal import make_run, make_teacher
from tests.search.synthetic import SIMPLEX, answered, best_of, make_search, mixture, regret


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_weights_are_a_point_of_the_simplex(sticks: list[float]) -> None:
    weights = sticks_to_weights(sticks)
    assert all(0 <= w <= 1 for w in weights)
    assert abs(math.fsum(weights) - 1) <= 1e-12


def test_weights_are_uniform_on_the_simplex() -> None:
    """Dirichlet(1, 1, 1, 1): each weight has mean 1/4 and is above x with (1 - x)^3; covariances are -1/80."""
    import numpy as np

    drawn = np.array([sticks_to_weights(list(u)) for u in np.random.default_rng(0).random((20_000, 3))])
    for i in range(4):
        assert drawn[:, i].mean() == pytest.approx(0.25, abs=0.006)
        for x in (0.1, 0.5):
            assert (drawn[:, i] > x).mean() == pytest.approx((1 - x) ** 3, abs=0.015)
    off = np.cov(drawn.T)[~np.eye(4, dtype=bool)]
    assert off == pytest.approx(np.full(12, -1 / 80), abs=0.0012)


def test_a_trials_mixture_sums_to_one(tmp_path: Path) -> None:
    seen: list[float] = []

    def look(run: Run) -> RunResult:
        seen.append(math.fsum(mixture(run).values()))
        return answered(run)

    Trials(make_search(trials=30, sampler=Random()), Workspace(tmp_path), look).step(1)
    assert len(seen) == 30
    assert max(abs(s - 1) for s in seen) <= 1e-12


def test_a_corner_of_the_simplex_is_the_run_of_that_loss() -> None:
    base = make_search().base
    corners = {
        (1.0, 0.5, 0.5): LM(),
        (0.0, 1.0, 0.5): KD(teacher=make_teacher(), rest=Tail(), alpha=1.0, loss=KLD()),
        (0.0, 0.0, 0.0): KD(teacher=make_teacher(), rest=Tail(), alpha=1.0, loss=JensenShannon()),
    }
    for sticks, objective in corners.items():
        values = dict(zip(("objective/LM", "objective/KLD", "objective/ReverseKL"), sticks, strict=True))
        changes = suggest(optuna.trial.FixedTrial(values | {"optimiser.lr": base.optimiser.lr}), make_search().space)
        wanted = normal_form(dataclasses.replace(base, objective=objective))
        assert normal_form(make_search().run(changes, base.seed, 0)) == wanted


@pytest.mark.slow
def test_regret_is_a_third_of_random_searchs_at_most(tmp_path: Path) -> None:
    found: dict[str, list[float]] = {}
    for sampler in (TPE(), Random()):
        for seed in range(20):
            search = make_search(sampler=sampler, seed=seed, trials=50)
            found.setdefault(type(sampler).__name__, []).append(best_of(search, tmp_path / f"{sampler}{seed}"))
    assert statistics.median(found["TPE"]) <= statistics.median(found["Random"]) / 3


def test_trials_that_diverge_fail_or_have_no_number_do_not_stop_a_search(tmp_path: Path) -> None:
    def look(run: Run) -> RunResult:
        if run.optimiser.lr > 6e-3:
            return RunResult(state="diverged")
        if run.optimiser.lr < 1.5e-3:
            return RunResult(state="failed")
        return RunResult({"loss": math.nan if mixture(run)["LM"] > 0.4 else regret(run)})

    trials = Trials(make_search(), Workspace(tmp_path), look)
    trials.step(1)
    states = {t.user_attrs.get("reason", "done"): t.state for t in trials.study.get_trials()}
    wanted = {"diverged": TrialState.PRUNED, "no number": TrialState.PRUNED, "a run failed": TrialState.FAIL}
    assert states == wanted | {"done": TrialState.COMPLETE}
    assert len(trials.study.get_trials()) == 40
    assert trials.study.best_value < 0.2


def test_conditions_are_searched_where_they_hold(tmp_path: Path) -> None:
    tau = {"objective.temperature.tau": Log(0.5, 2.0)}
    rest = Choice({"tail": Tail(), "both": Level(RenormaliseBoth(), tau)})
    search = make_search(space={"objective": SIMPLEX, "objective.rest": rest}, trials=20)
    runs: list[Run] = []
    trials = Trials(search, Workspace(tmp_path), lambda run: runs.append(run) or answered(run))  # type: ignore[func-returns-value]
    trials.step(1)
    taus: dict[str, set[float]] = {}
    for run in runs:
        assert isinstance(run.objective, KD)
        assert isinstance(run.objective.temperature, Temperature)
        taus.setdefault(type(run.objective.rest).__name__, set()).add(run.objective.temperature.tau)
    assert taus["Tail"] == {1.0}
    assert len(taus["RenormaliseBoth"]) > 3
    assert search.problems() == []


@pytest.mark.integration
def test_rungs_compare_at_equal_tokens_and_keep_the_band(tmp_path: Path) -> None:
    lengths: dict[int, int] = {}

    def look(run: Run) -> RunResult:
        lengths[run.num_tokens] = lengths.get(run.num_tokens, 0) + 1
        return answered(run)

    def completed(band: float) -> int:
        search = make_search(pruner=Halving((1280, 3200), band=band), sampler=Random())
        trials = Trials(search, Workspace(tmp_path / str(band)), look)
        trials.step(1)
        assert len(trials.study.get_trials()) == 40
        return len(trials.study.get_trials(states=(TrialState.COMPLETE,)))

    strict = completed(0.0)
    assert strict <= 15
    assert lengths[1280] == 40 > lengths[3200] > lengths[6400]
    assert strict < completed(0.1) < completed(100.0) == 40


@pytest.mark.integration
def test_two_objectives_make_a_front(tmp_path: Path) -> None:
    base = make_run(objective=KD(teacher=make_teacher(), rest=Tail()), tokens=None, steps=10)
    space = {"objective": SIMPLEX, "steps": Choice({"5": 5, "10": 10})}
    search = make_search(objectives=(Loss(), Compute()), space=space, base=base)
    trials = Trials(search, Workspace(tmp_path), answered)
    trials.step(1)
    assert trials.study.best_trials
    refused = dataclasses.replace(search, pruner=Halving((1280,)))
    assert [p.field for p in refused.problems()] == ["pruner"]


def test_optuna_opens_the_storage_by_itself(tmp_path: Path) -> None:
    search = make_search(trials=3)
    Trials(search, Workspace(tmp_path), answered).step(1)
    journal = tmp_path / "searches" / search.identity / "journal.log"
    backend = optuna.storages.journal.JournalFileBackend(str(journal))
    found = optuna.load_study(study_name=search.identity, storage=optuna.storages.JournalStorage(backend))
    assert len(found.trials) == 3


def test_what_is_asked_is_the_identity_and_how_is_not() -> None:
    search = make_search()
    assert dataclasses.replace(search, trials=99, sampler=Random(), title="x").identity == search.identity
    other = dataclasses.replace(search, space={"optimiser.lr": Log(1e-3, 1e-2)})
    assert other.identity != search.identity


def test_the_teacher_is_asked_for_though_the_base_does_not_use_it_and_the_bases_seed_is_not() -> None:
    base = make_run(objective=KD(teacher=make_teacher(), rest=Tail(), alpha=0.0))
    space = {"objective.alpha": Uniform(0, 1)}
    other = dataclasses.replace(
        base, objective=dataclasses.replace(base.objective, teacher=dataclasses.replace(make_teacher(), seed=9))
    )
    assert normal_form(base) == normal_form(other)
    assert make_search(base=base, space=space).identity != make_search(base=other, space=space).identity
    reseeded = dataclasses.replace(base, seed=5)
    assert make_search(base=base, space=space).identity == make_search(base=reseeded, space=space).identity
    same = {"objective.alpha": Uniform(0.0, 1.0)}
    assert make_search(base=base, space=space).identity == make_search(base=base, space=same).identity


def test_problems_name_what_is_wrong() -> None:
    search = make_search(trials=0, validation=Heldout(data=Slice(split="test", tokens=640)))
    assert {p.field for p in search.problems()} == {"trials", "validation"}
    assert [p.field for p in make_search(space={"optimiser.rate": Log(1e-3, 1e-2)}).problems()] == ["optimiser.rate"]
    wrong = make_search(base=make_run(objective=KD(teacher=make_teacher()))).problems()
    assert any("ReverseKL" in str(p) for p in wrong)


@pytest.mark.integration
def test_importing_pdstudy_and_planning_do_not_import_optuna() -> None:
    modules = "pdstudy, pdstudy.cli.main, pdstudy.plan.builder, pdstudy.search.search"
    code = f"import sys, {modules}; assert 'optuna' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_third_of_five_is_two() -> None:
    """1.67, which is nearer to two than to one."""
    others = [(0.0, loss) for loss in (1.0, 3.0, 4.0, 5.0)]
    rung = Halving((1280,), keep=1 / 3)
    assert rung.goes_on((0.0, 2.0), others)
    assert not rung.goes_on((0.0, 3.5), others)


def test_a_trial_is_compared_with_the_others_and_itself_once(tmp_path: Path) -> None:
    """The worse of two, of which half goes on, is pruned; counted twice it would be the second of three."""
    reached: list[Run] = []

    def look(run: Run) -> RunResult:
        if run.num_tokens == 1280:
            reached.append(run)
        return RunResult({"loss": float(len(reached))})

    search = make_search(trials=2, sampler=Random(), pruner=Halving((1280,), keep=0.5))
    trials = Trials(search, Workspace(tmp_path), look)
    trials.step(1)
    assert [t.state for t in trials.study.get_trials()] == [TrialState.COMPLETE, TrialState.PRUNED]


def test_other_seeds_are_another_search() -> None:
    assert make_search(seeds=(0, 1)).identity != make_search(seeds=(0,)).identity
