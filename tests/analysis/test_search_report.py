"""Reports of searches: the record of a made-up search on real machinery, what it cost, what the figures show."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pdstudy import KD, Tail
from pdstudy.analysis.data.excerpt import Report
from pdstudy.analysis.data.trials_table import Searched
from pdstudy.analysis.errors import AnalysisError
from pdstudy.analysis.figures import search_trials as figures
from pdstudy.analysis.figures.ternary import ternary
from pdstudy.analysis.report.report_files import NONE
from pdstudy.analysis.report.search_page import build_search, cost_table
from pdstudy.analysis.report.write_report import rewrite_report, write_report
from pdstudy.analysis.tables.table import TableCell
from pdstudy.config.run import Run
from pdstudy.core.files import write_json
from pdstudy.plan.cost import training_flops
from pdstudy.search.objectives import AtMost, Compute, Loss
from pdstudy.search.search import Search
from pdstudy.search.search_record import make_search_record
from pdstudy.search.space import Choice, Integer, Log
from pdstudy.search.strategy import Halving, Random
from pdstudy.search.trial_results import RunResult
from pdstudy.search.trials import Trials
from pdstudy.workspace.layout import Workspace
from tests.core.test_normal import make_run, make_teacher
from tests.search.synthetic import SIMPLEX, make_search, regret

RUNG = 1280


def rungs(**changes: Any) -> Search:
    space = {"objective": SIMPLEX, "optimiser.lr": Log(1e-3, 1e-2), "objective.rest": Choice({"tail": Tail()})}
    return make_search(**({"space": space, "trials": 24, "sampler": Random(), "pruner": Halving((RUNG,))} | changes))


def carried_out(search: Search, folder: Path) -> tuple[dict[str, Any], list[Run]]:
    """The record of a search whose runs are directories with a result, and the runs that were "trained" for it."""
    workspace, trained = Workspace(folder), []

    def look(run: Run) -> RunResult:
        directory = workspace.run(run)
        if directory.result() is None:
            directory.create(run)
            write_json(directory.path / "result.json", {"state": "done", "seconds": {"train": 2.0, "evaluate": 1.0}})
            trained.append(run)
        return RunResult({"loss": 4 + regret(run)})

    Trials(search, workspace, look).step(1)
    return make_search_record(search, workspace), trained


def numbers(searched: Searched) -> dict[str, float]:
    return {str(name).strip(): cell.number for name, cell in cost_table(searched).rows if isinstance(cell, TableCell)}  # type: ignore[misc]


def test_what_a_search_cost_is_what_its_runs_cost(tmp_path: Path) -> None:
    search = rungs()
    record, trained = carried_out(search, tmp_path)
    searched = Searched(record)
    cost = numbers(searched)
    assert cost["trials"] == 24 == cost["complete"] + cost["pruned"]
    assert cost["runs trained"] == len(trained) == 24 + cost["complete"]
    assert cost["training compute (FLOPs)"] == pytest.approx(sum(map(training_flops, trained)))
    per_token = training_flops(search.base) / search.base.num_tokens
    assert cost["training compute (FLOPs)"] == pytest.approx(
        per_token * (24 * RUNG + cost["complete"] * search.base.num_tokens)
    )
    in_full = cost["the same trials, all in full, as random search has them (FLOPs)"]
    assert in_full == pytest.approx(24 * training_flops(search.base))
    assert cost["seconds of its runs"] == 3 * len(trained)
    assert searched.scored["state"].eq("complete").all()


def test_reused_runs_and_duplicates_cost_nothing(tmp_path: Path) -> None:
    rates = Choice({"2": 2e-3, "4": 4e-3})
    search = rungs(space={"optimiser.lr": rates}, pruner=None, trials=9, base=make_run())
    workspace = Workspace(tmp_path)
    ready = search.run([("optimiser.lr", 2e-3)], 0, 0)
    workspace.run(ready).create(ready)
    write_json(workspace.run(ready).path / "result.json", {"state": "done", "seconds": {"train": 2.0}})

    def look(run: Run) -> RunResult:
        directory = workspace.run(run)
        if directory.result() is None:
            directory.create(run)
            write_json(directory.path / "result.json", {"state": "done", "seconds": {"train": 2.0}})
        return RunResult({"loss": run.optimiser.lr})

    Trials(search, workspace, look).step(1)
    cost = numbers(Searched(make_search_record(search, workspace)))
    assert cost["finished runs reused as trials"] == 1
    assert cost["runs trained"] == 1
    assert cost["answered from the workspace without training"] == 8
    assert cost["training compute (FLOPs)"] == training_flops(search.base)


def test_a_run_that_went_on_from_anothers_checkpoint_costs_what_was_left(tmp_path: Path) -> None:
    search = rungs(pruner=None, trials=1)
    record, (run,) = carried_out(search, tmp_path)
    write_json(Workspace(tmp_path).run(run).path / "provenance.json", {"branched_from": {"run": "x", "step": 4}})
    (trial,) = make_search_record(search, Workspace(tmp_path))["trials"]
    assert trial["flops"] == pytest.approx(training_flops(run) * (1 - 4 / run.num_steps))
    assert record["trials"][0]["flops"] == training_flops(run)


@pytest.mark.slow
def test_the_page_of_a_search_is_made_anew_from_its_data(tmp_path: Path) -> None:
    record, _ = carried_out(rungs(trials=8), tmp_path / "workspace")
    write_report(tmp_path / "workspace", Report("Search", (), record), tmp_path / "out", NONE)
    rewrite_report(tmp_path / "out" / "data", tmp_path / "again", NONE)
    assert (tmp_path / "again" / "index.html").read_bytes() == (tmp_path / "out" / "index.html").read_bytes()


@pytest.mark.slow
def test_the_page_has_every_figure_and_the_numbers_behind_it(tmp_path: Path) -> None:
    record, _ = carried_out(rungs(), tmp_path)
    text = build_search(tmp_path, record, None, tmp_path / "out")
    made = {path.stem.split("-", 1)[1] for path in (tmp_path / "out" / "figures").glob("*.png")}
    assert made == {"history", "mixture", "importances", "slices", "contours", "pruning"}
    contours = pd.read_csv(next((tmp_path / "out" / "figures").glob("*-contours.csv")))
    weight = contours.filter(like="objective/")
    assert weight.min().min() >= 0  # no weights that are none
    assert weight.max().max() <= 1
    best = min((t for t in record["trials"] if t["values"]), key=lambda t: t["values"][0])
    assert text.splitlines()[1].split()[0] == str(best["number"])
    page = (tmp_path / "out" / "index.html").read_text()
    assert page.count("<figure>") == 6
    assert "The search goes on" not in page
    build_search(tmp_path, record, None, tmp_path / "again")
    assert (tmp_path / "again" / "index.html").read_text() == page


@pytest.mark.integration
@pytest.mark.filterwarnings("error:constrained_layout not applied")
def test_a_search_that_has_just_begun_says_what_is_missing(tmp_path: Path) -> None:
    record, _ = carried_out(rungs(trials=1), tmp_path)
    empty = record | {"trials": [], "importances": {}, "wanted": 24}
    for state in (empty, record | {"wanted": 24}):
        build_search(tmp_path, state, None, tmp_path / "out")
        page = (tmp_path / "out" / "index.html").read_text()
        assert "The search goes on" in page
        assert "Not shown: " in page


@pytest.mark.integration
def test_weights_in_a_triangle_stand_where_they_belong(tmp_path: Path) -> None:
    record, _ = carried_out(rungs(pruner=None), tmp_path)
    searched = Searched(record)
    (simplex,) = searched.simplexes
    plot = ternary(searched, simplex)
    assert plot.data["corners"].nunique() == 4
    shares = plot.data[[f"share {i}" for i in range(3)]].to_numpy()
    assert shares.sum(axis=1) == pytest.approx(np.ones(len(shares)))
    assert (plot.data.groupby("number")["held"].sum() - 3).abs().max() < 1e-9
    # The LM run has no place among the other three.
    (lm, *others) = simplex.terms
    record["trials"][0]["weights"]["objective"] = {lm: 1.0} | dict.fromkeys(others, 0.0)
    data = ternary(Searched(record), simplex).data
    alone = data[data["number"] == 0].set_index("corners")
    assert alone.loc["/".join(others), [f"share {i}" for i in range(3)]].isna().all()
    assert alone["share 0"].dropna().eq(1).all()
    sums = searched.trials[list(simplex.columns)].sum(axis=1)
    assert sums.to_numpy() == pytest.approx(np.ones(24))
    with pytest.raises(AnalysisError, match="three terms"):
        ternary(searched, dataclasses.replace(simplex, terms=simplex.terms[:2], columns=simplex.columns[:2]))


@pytest.mark.integration
def test_what_matters_most_is_found(tmp_path: Path) -> None:
    """A loss of the rate alone: its share is the largest, those of two fields that do nothing are small."""
    space = {"optimiser.lr": Log(1e-3, 1e-2), "objective.temperature.tau": Log(0.5, 2.0), "steps": Integer(10, 10)}
    base = make_run(objective=KD(teacher=make_teacher()), tokens=None, steps=10)
    search = make_search(space=space, base=base, trials=60, sampler=Random())
    Trials(search, Workspace(tmp_path), lambda run: RunResult({"loss": abs(run.optimiser.lr - 4e-3)})).step(1)
    shares = make_search_record(search, Workspace(tmp_path))["importances"]
    assert shares["optimiser.lr"] > 0.7
    assert sum(shares.values()) == pytest.approx(1)


def test_trials_beyond_a_constraint_are_counted_and_not_shown_as_best(tmp_path: Path) -> None:
    base = make_run(objective=KD(teacher=make_teacher(), rest=Tail()), tokens=None, steps=10)
    bound = training_flops(dataclasses.replace(base, steps=6))
    space = {"objective": SIMPLEX, "steps": Integer(2, 10)}
    search = make_search(constraints=(AtMost(Compute(), bound),), space=space, base=base, trials=20, sampler=Random())
    record, _ = carried_out(search, tmp_path)
    searched = Searched(record)
    kept = searched.trials["steps"] <= 6
    assert sorted(searched.scored["number"]) == sorted(searched.trials.loc[kept, "number"])
    assert numbers(searched)["beyond a constraint"] == (~kept).sum() > 0
    # All were trained to their own ends, most of which come before the base's.
    assert numbers(searched)["share of that"] == pytest.approx(1.0)


def test_the_front_is_what_no_other_trial_beats_in_both(tmp_path: Path) -> None:
    base = make_run(objective=KD(teacher=make_teacher(), rest=Tail()), tokens=None, steps=10)
    space = {"objective": SIMPLEX, "steps": Integer(2, 10)}
    search = make_search(objectives=(Loss(), Compute()), space=space, base=base, trials=30)
    Trials(search, Workspace(tmp_path), lambda run: RunResult({"loss": regret(run)})).step(1)
    data = figures.front(Searched(make_search_record(search, Workspace(tmp_path)))).data
    for _, row in data.iterrows():
        beaten = ((data["value"] <= row["value"]) & (data["value2"] < row["value2"])) | (
            (data["value"] < row["value"]) & (data["value2"] <= row["value2"])
        )
        assert row["front"] == (not beaten.any())
