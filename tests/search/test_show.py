"""What is said of trials: as they end, in a line, as plain data."""

from __future__ import annotations

from pathlib import Path

import pytest

from pdstudy.cli.progress import SearchLines
from pdstudy.cli.search_tables import trial_line
from pdstudy.config.run import Run
from pdstudy.search.progress import NewlyEnded, summary
from pdstudy.search.strategy import Halving, Random
from pdstudy.search.trial_results import RunResult
from pdstudy.search.trials import Trials
from pdstudy.workspace.layout import Workspace
from tests.search.synthetic import answered, make_search, mixture


def test_a_trial_is_shown_with_its_weights_and_a_pruned_one_with_what_it_reached(tmp_path: Path) -> None:
    search = make_search(trials=8, sampler=Random(), pruner=Halving((1280,), keep=0.3))
    Trials(search, Workspace(tmp_path), lambda run: RunResult({"loss": 4 + mixture(run)["LM"]})).step(1)
    rows = summary(search, Workspace(tmp_path))
    assert {r["state"] for r in rows} == {"complete", "pruned"}
    for row in rows:
        assert sum(row["weights"]["objective"].values()) == pytest.approx(1)
        assert row["rungs"]["1280"] == pytest.approx(4 + row["weights"]["objective"]["LM"])
        assert row["values"] == ([row["rungs"]["1280"]] if row["state"] == "complete" else None)
    best = rows[0]
    assert best["values"] == min(r["values"] for r in rows if r["values"])
    said = trial_line(search, best)
    weights = ", ".join(f"{name} {weight:.3f}" for name, weight in best["weights"]["objective"].items())
    assert said == (
        f"trial {best['trial']}: {best['values'][0]:.4f}: {weights}, optimiser.lr {best['params']['optimiser.lr']:.4g}"
    )


def test_each_end_is_told_once_and_old_ones_not_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def look(run: Run) -> RunResult:
        return RunResult(state="diverged") if mixture(run)["LM"] > 0.25 else answered(run)

    old = make_search(trials=3, sampler=Random())
    Trials(old, Workspace(tmp_path), look).step(1)
    trials = Trials(make_search(trials=12, sampler=Random()), Workspace(tmp_path), look)
    newly_ended = NewlyEnded(trials)
    view = SearchLines()

    def tell() -> None:
        for trial in newly_ended():
            view.trial_ended(trial)

    tell()
    assert capsys.readouterr().out == ""
    trials.step(1)
    tell()
    tell()
    told = capsys.readouterr().out.splitlines()
    assert [words.split(":")[0] for words in told] == [f"trial {n}" for n in range(3, 12)]
    ends = {t.number: t.state.name for t in trials.study.get_trials()}
    for words in told:
        number = int(words.split(":")[0].split()[1])
        assert words.endswith("pruned, diverged") == (ends[number] == "PRUNED")
