"""Drivers that die, go on, or work beside others: what they leave, and that nothing is asked twice."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from optuna.trial import TrialState

from pdstudy.config.run import Run
from pdstudy.search import slurm_driver
from pdstudy.search.objectives import AtMost, Compute
from pdstudy.search.storage import Journal, read_trials
from pdstudy.search.strategy import TPE, Halving, Random
from pdstudy.search.trial_results import ResultReader, RunResult
from pdstudy.search.trials import Trials
from pdstudy.slurm.commands import Request
from pdstudy.slurm.reconcile import Decision
from pdstudy.slurm.scheduler import Unanswered
from pdstudy.slurm.submit import SubmitOutcome
from pdstudy.workspace.layout import Workspace
from tests.search.synthetic import answered, make_search


@pytest.mark.integration
def test_a_driver_that_was_killed_is_continued_and_nothing_is_asked_twice(tmp_path: Path) -> None:
    code = """
import os, signal, sys
from pathlib import Path
from pdstudy.workspace.layout import Workspace
from pdstudy.search import Random
from pdstudy.search.trial_results import RunResult
from pdstudy.search.trials import Trials
from tests.search.synthetic import make_search, regret
seen = 0
def look(run):
    global seen
    seen += 1
    if seen == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return RunResult({"loss": regret(run)})
Trials(make_search(trials=20), Workspace(Path(sys.argv[1])), look).step(1)
"""
    for count in (6, 12):
        killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], env={**os.environ}, check=False)
        assert killed.returncode == -signal.SIGKILL
        study = Trials(make_search(trials=20), Workspace(tmp_path), answered).study
        assert [t.state for t in study.get_trials()].count(TrialState.COMPLETE) == count
    left = study.get_trials()[-1]
    assert left.state == TrialState.RUNNING
    trials = Trials(make_search(trials=20), Workspace(tmp_path), answered)
    trials.step(1)
    done = trials.study.get_trials()
    assert [t.state for t in done] == [TrialState.COMPLETE] * 20
    assert done[left.number].params.items() >= left.params.items()
    assert len({tuple(t.params.values()) for t in done}) == 20


@pytest.mark.integration
@pytest.mark.filterwarnings("error")
def test_a_driver_may_die_at_any_entry_of_its_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next driver ends where an undisturbed one does."""
    bound = AtMost(Compute(), 1e18)
    search = make_search(trials=2, sampler=TPE(startup=1), pruner=Halving((1280,), keep=0.4), constraints=(bound,))
    write = Journal.append_logs

    def ends(folder: Path, dies_at: int = -1) -> int:
        """How many entries were written."""
        count = 0

        def dying(self: Journal, logs: list[dict[str, Any]]) -> None:
            nonlocal count
            count += 1
            if count == dies_at:
                raise KeyboardInterrupt
            write(self, logs)

        monkeypatch.setattr(Journal, "append_logs", dying)
        Trials(search, Workspace(folder), answered, claims=False).step(1)
        return count

    def seen(folder: Path) -> list[tuple[Any, ...]]:
        return [
            (t.state, t.params, t.values, t.user_attrs, t.intermediate_values, t.constraints)
            for t in read_trials(search, Workspace(folder))
        ]

    total = ends(tmp_path / "whole")
    whole = seen(tmp_path / "whole")
    assert {t[0] for t in whole} == {TrialState.COMPLETE, TrialState.PRUNED}
    for number in range(1, total + 1):
        folder = tmp_path / str(number)
        with pytest.raises(KeyboardInterrupt):
            ends(folder, number)
        ends(folder)
        assert seen(folder) == whole, number


def test_what_is_drawn_is_the_seeds(tmp_path: Path) -> None:
    drawn = []
    for folder, seed in enumerate((0, 0, 1)):
        trials = Trials(make_search(trials=2, seed=seed), Workspace(tmp_path / str(folder)), answered)
        trials.step(1)
        drawn.append([t.params for t in trials.study.get_trials()])
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.integration
def test_two_drivers_do_not_run_a_trial_twice(tmp_path: Path) -> None:
    code = """
import sys, time
from pathlib import Path
from pdstudy.core.identity import fingerprint
from pdstudy.workspace.layout import Workspace
from pdstudy.search import Random
from pdstudy.search.trial_results import RunResult
from pdstudy.search.trials import Trials
from tests.search.synthetic import make_search, regret
def look(run):
    with open(sys.argv[2], "a") as file:
        file.write(fingerprint(run) + "\\n")
    time.sleep(0.02)
    return RunResult({"loss": regret(run)})
Trials(make_search(trials=24, sampler=Random()),
       Workspace(Path(sys.argv[1])), look).step(2)
"""
    log = tmp_path / "runs.txt"
    words = [sys.executable, "-c", code, str(tmp_path), str(log)]
    drivers = [subprocess.Popen(words) for _ in range(2)]
    assert [d.wait(timeout=120) for d in drivers] == [0, 0]
    keys = log.read_text().split()
    assert len(keys) == len(set(keys)) == 24


def test_a_driver_waits_while_another_counts_and_begins(tmp_path: Path) -> None:
    """Both would count nineteen trials of twenty and begin the last one."""
    trials = Trials(make_search(trials=1), Workspace(tmp_path), lambda run: None)
    thread = threading.Thread(target=trials.step, args=(1,))
    with (trials.folder / "ask.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        thread.start()
        thread.join(0.5)
        assert thread.is_alive()
        assert trials.study.get_trials() == []
    thread.join(30)
    assert len(trials.active) == 1


@pytest.mark.parametrize("claims", [True, False])
def test_a_driver_waits_while_another_decides_on_a_rung(tmp_path: Path, claims: bool) -> None:
    search = make_search(trials=2, sampler=Random(), pruner=Halving((1280,), keep=0.5))
    done: set[int] = set()
    trials = Trials(
        search, Workspace(tmp_path), lambda run: answered(run) if run.num_tokens in done else None, claims=claims
    )
    assert len(trials.step(2)) == 2
    done.add(1280)
    thread = threading.Thread(target=trials.step, args=(2,))
    with (trials.folder / "ask.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        thread.start()
        thread.join(0.5)
        assert all(not t.intermediate_values for t in trials.study.get_trials())
    thread.join(30)
    assert all(t.intermediate_values for t in trials.study.get_trials())


def test_a_trial_in_anothers_hands_is_left_alone_and_given_back(tmp_path: Path) -> None:
    first = Trials(make_search(trials=1), Workspace(tmp_path), lambda run: None)
    assert len(first.step(1)) == 1
    second = Trials(make_search(trials=1), Workspace(tmp_path), answered)
    assert second.step(1) == []
    assert second.study.get_trials()[0].state == TrialState.RUNNING
    first.close()
    second.step(1)
    assert second.study.get_trials()[0].state == TrialState.COMPLETE


def test_a_trial_that_was_promoted_stays_it_for_the_next_driver(tmp_path: Path) -> None:
    search = make_search(trials=4, sampler=Random(), pruner=Halving((1280,), keep=0.5))

    def reaching(loss: float) -> ResultReader:
        return lambda run: RunResult({"loss": loss}) if run.num_tokens == 1280 else None

    first = Trials(search, Workspace(tmp_path), reaching(9.0))
    assert [(a.number, a.rung) for a in first.step(1)] == [(0, 1)]  # the best of one
    second = Trials(search, Workspace(tmp_path), reaching(0.0))
    assert [a.number for a in second.step(3)] == [1, 2, 3]
    first.close()
    third = Trials(search, Workspace(tmp_path), reaching(9.0))
    assert [(a.number, a.rung) for a in third.step(1)] == [(0, 1)]


def test_drivers_without_claims_watch_the_same_trials_and_tell_each_once(tmp_path: Path) -> None:
    done: set[int] = set()

    def look(run: Run) -> RunResult | None:
        return answered(run) if run.num_tokens in done else None

    search = make_search(trials=6, sampler=Random(), pruner=Halving((1280,), keep=0.5))
    local = Trials(search, Workspace(tmp_path), look)
    assert [a.number for a in local.step(1)] == [0]
    one, two = (Trials(search, Workspace(tmp_path), look, claims=False) for _ in range(2))
    assert [a.number for a in one.step(3)] == [a.number for a in two.step(3)] == [1, 2, 3]
    done.add(1280)
    assert {a.number: a.rung for a in one.step(3)}.items() >= {a.number: a.rung for a in two.active if a.rung}.items()
    assert [(a.number, a.rung) for a in two.step(3)] == [(a.number, a.rung) for a in one.active]
    done.add(6400)
    assert one.step(3) == two.step(3) == []
    assert [t.state.is_finished() for t in one.study.get_trials()] == [False, *[True] * 5]
    assert local.step(1) == []


def test_what_the_user_named_is_tried_again_by_one_submit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the first that SLURM answers."""
    asked: list[tuple[str, ...]] = []

    def submit_study(plan: Any, workspace: Workspace, request: Request, **_: Any) -> tuple[Any, SubmitOutcome]:
        asked.append(request.retry)
        if len(asked) == 1:
            raise Unanswered("later")
        return SimpleNamespace(artifacts=()), SubmitOutcome(Decision())

    monkeypatch.setattr(slurm_driver, "submit_study", submit_study)
    view: Any = SimpleNamespace(note=lambda line: None)
    driver = slurm_driver._Driver(make_search(), Workspace(tmp_path), Request(retry=("oom",), report=False), view)
    assert [driver._send([]) for _ in range(3)] == [False, True, True]
    assert asked == [("oom",), ("oom",), ()]
