"""Storages that are broken, out of reach, or in another's hands."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import pytest
from optuna.trial import TrialState

from pdstudy.config.run import Run
from pdstudy.core.errors import ConfigError
from pdstudy.core.files import read_json, write_json
from pdstudy.search import storage
from pdstudy.search.search import Search
from pdstudy.search.storage import Journal, explain_lost_storage, open_study, read_trials
from pdstudy.search.trial_results import RunResult
from pdstudy.search.trials import Trials
from pdstudy.workspace.layout import Workspace
from tests.search.synthetic import answered, make_search


def begun(search: Search, folder: Path) -> Path:
    """The journal of a search that has come to its end."""
    Trials(search, Workspace(folder), answered).step(1)
    return folder / "searches" / search.identity / "journal.log"


@pytest.mark.parametrize("kept", [1.0, 0.99, 0.5, 0.0])
def test_an_entry_that_was_cut_short_costs_nothing_but_itself(tmp_path: Path, kept: float) -> None:
    search = make_search(trials=4)
    journal = begun(search, tmp_path)
    whole = journal.read_bytes()
    # What a disk leaves that was full, or lost its power.
    journal.write_bytes(whole[: int(kept * len(whole))] + b'{"op_code":4,"worker' + bytes(9000))
    there = read_trials(search, Workspace(tmp_path))
    trials = Trials(search, Workspace(tmp_path), answered)
    trials.step(1)
    found = trials.study.get_trials()
    assert [t.state for t in found] == [TrialState.COMPLETE] * 4
    assert [t.params for t in there if t.state == TrialState.COMPLETE] == [
        found[t.number].params for t in there if t.state == TrialState.COMPLETE
    ]
    assert len(read_trials(search, Workspace(tmp_path))) == 4


def test_a_journal_that_is_broken_inside_is_named_with_its_line(tmp_path: Path) -> None:
    search = make_search(trials=2)
    journal = begun(search, tmp_path)
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join([*lines[:3], lines[3][:9] + "\n", *lines[4:]]))
    for reads in (open_study, read_trials):
        with pytest.raises(ConfigError, match=r"journal\.log:4: no entry of a journal .* move the file away"):
            reads(search, Workspace(tmp_path))


@pytest.mark.parametrize("url", ["sqlite:////nowhere/trials.db", "unknown://", "trials.db", ""])
def test_a_storage_that_cannot_be_opened_is_named(tmp_path: Path, url: str) -> None:
    search = make_search(storage=url)
    for reads in (open_study, read_trials):
        with pytest.raises(ConfigError, match=r"storage: found .*; allowed: None"):
            reads(search, Workspace(tmp_path))


@pytest.mark.integration
def test_a_database_is_a_storage(tmp_path: Path) -> None:
    search = make_search(storage=f"sqlite:///{tmp_path}/trials.db", trials=3)
    assert read_trials(search, Workspace(tmp_path)) == []
    Trials(search, Workspace(tmp_path), answered).step(1)
    assert len(read_trials(search, Workspace(tmp_path))) == 3


@pytest.mark.integration
def test_a_database_that_goes_away_is_said_and_the_search_goes_on_once_it_is_back(tmp_path: Path) -> None:
    database, away = tmp_path / "trials.db", tmp_path / "away.db"
    search = make_search(storage=f"sqlite:///{database}", trials=3)
    trials = Trials(search, Workspace(tmp_path), lambda run: None)
    trials.step(1)

    def look(run: Run) -> RunResult:
        if not away.exists():
            database.rename(away)
            database.mkdir()
        return answered(run)

    trials.read_result = look
    with (
        pytest.raises(ConfigError, match=r"storage 'sqlite:.* is gone or refuses .*search again"),
        explain_lost_storage(search),
    ):
        trials.step(1)
    trials.close()
    database.rmdir()
    away.rename(database)
    Trials(search, Workspace(tmp_path), answered).step(1)
    assert [t.state for t in read_trials(search, Workspace(tmp_path))] == [TrialState.COMPLETE] * 3


def test_who_holds_a_trial_of_another_host_is_said(tmp_path: Path) -> None:
    search = make_search(trials=1)
    first = Trials(search, Workspace(tmp_path), lambda run: None)
    first.step(1)
    assert list(first.describe_held()) == []
    claim = first.folder / "claims" / "0"
    write_json(claim, {**read_json(claim), "host": "elsewhere", "pid": 7})
    second = Trials(dataclasses.replace(search), Workspace(tmp_path), answered)
    assert second.step(1) == []
    (words,) = second.describe_held()
    assert "trial 0 is in the hands of process 7 on elsewhere" in words
    assert str(claim) in words


def test_an_entry_is_safe_before_who_wrote_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search, synced = make_search(trials=1), []
    journal = begun(search, tmp_path)
    before = journal.read_bytes()
    monkeypatch.setattr(storage.os, "fsync", lambda file: synced.append(journal.read_bytes()))
    Journal(journal).append_logs([{"op_code": 1}])
    assert synced == [before + b'{"op_code":1}\n']


def test_writers_of_a_journal_wait_for_each_other(tmp_path: Path) -> None:
    journal = begun(make_search(trials=1), tmp_path)
    before = journal.read_bytes()
    one, other = Journal(journal), Journal(journal)
    assert one.lock.acquire()
    thread = threading.Thread(target=other.append_logs, args=([{"op_code": 1}],))
    thread.start()
    thread.join(0.5)
    assert journal.read_bytes() == before
    one.lock.release()
    thread.join(30)
    assert journal.read_bytes() == before + b'{"op_code":1}\n'
