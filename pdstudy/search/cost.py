"""The cost of a search: what its trials have taken of devices, and will take as far as they are asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optuna.trial import FrozenTrial

from pdstudy.config.run import Run
from pdstudy.core.files import read_json
from pdstudy.plan.account import totals
from pdstudy.plan.builder import make_plan
from pdstudy.plan.plan import Plan
from pdstudy.search.search import Search
from pdstudy.search.space import corners
from pdstudy.search.trial_plans import list_requested, plan_trials
from pdstudy.workspace.layout import Workspace


def device_hours(search: Search, workspace: Workspace, trials: Sequence[FrozenTrial]) -> float:
    """Hours of devices for the runs of trials, up to the rung that each is on.

    What finished took is measured; what did not is estimated at the rate that finished runs had, a trunk that it may go
    on from left out. A run that failed counts as it was estimated. What all trials share (corpus, teacher, logits) and
    runs that were there before the search began are not counted.
    """
    plan = plan_trials(search, workspace, list_requested(search, trials))
    runs = [r for r in plan.runs_as("student") if r.cells]
    measured = sum(_seconds(workspace, run.run) for run in runs if run.done)
    return plan.hours(sum(run.flops for run in runs if not run.done)) + measured / 3600


def _seconds(workspace: Workspace, run: Run) -> float:
    """Device-seconds of a finished run's own steps: a trunk that it took over was another run's."""
    directory = workspace.run(run)
    result, made = directory.result() or {}, read_json(directory.path / "provenance.json") or {}
    seconds = result.get("seconds", {})
    taken_over = directory.branched_at / run.num_steps
    own = seconds.get("train", 0.0) * (1 - taken_over) + seconds.get("evaluate", 0.0) + seconds.get("save", 0.0)
    return float(own * made.get("ranks", 1))


def priced(search: Search, workspace: Workspace) -> tuple[Plan, dict[str, Any]]:
    """The plan of what all trials share, and FLOPs and device-hours of trials, their evaluation included: of the
    cheapest and the dearest at the space's corners, pruned at the first rung and trained at all of them. A trunk that
    a longer run goes on from counts once."""
    shared = plan_trials(search, workspace, [])
    places = list(corners(search.space))
    rungs = range(len(search.lengths))
    arms = [search.arm(f"{i}@{rung}", changes, rung) for i, changes in enumerate(places) for rung in rungs]
    plan = make_plan(search.study(arms), workspace)
    flops = {cell: each.flops for each in plan.runs_as("student") for cell in each.cells}
    first, full = [], []
    for i in range(len(places)):
        each = [sum(flops[f"trial={i}@{rung},seed={seed}"] for seed in search.seeds) for rung in rungs]
        first.append(each[0])
        full.append(sum(each))
    trials = {"pruned_at_once": [min(first), max(first)], "trained_in_full": [min(full), max(full)]}
    return shared, {
        "trials": search.trials,
        "flops_of_a_trial": trials,
        "flops_of_all": {name: [search.trials * f for f in span] for name, span in trials.items()},
        "device_hours_of_all": {name: [plan.hours(search.trials * f) for f in span] for name, span in trials.items()},
        "shared": totals(shared),
    }
