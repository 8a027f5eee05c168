"""What a search will cost, before it is carried out: what its trials share, and what a trial takes."""

from __future__ import annotations

from typing import Any

from pdstudy.items import Plan
from pdstudy.plan import make_plan
from pdstudy.pricing import si
from pdstudy.rundir import Workspace
from pdstudy.search.declare import Search
from pdstudy.search.plans import trials_plan
from pdstudy.search.space import corners
from pdstudy.show import hours, print_items


def priced(search: Search, workspace: Workspace) -> tuple[Plan, dict[str, Any]]:
    """The plan of what all trials share, and FLOPs and device-hours of trials, their evaluation included: of the
    cheapest and the dearest at the space's corners, pruned at the first rung and trained at all of them. A trunk that
    a longer run goes on from counts once."""
    shared = trials_plan(search, workspace, [])
    places = list(corners(search.space))
    rungs = range(len(search.lengths))
    arms = [search.arm(f"{i}@{rung}", changes, rung) for i, changes in enumerate(places) for rung in rungs]
    plan = make_plan(search.study(arms), workspace)
    flops = {cell: item.flops for item in plan.items if item.kind == "student" for cell in item.cells}
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
        "device_hours_of_all": {
            name: [search.trials * f / plan.rate / 3600 for f in span] for name, span in trials.items()
        },
        "shared": shared.totals(),
    }


def print_price(search: Search, shared: Plan, price: dict[str, Any]) -> None:
    print(f"search {search.name}: {search.trials} trials over {', '.join(search.space)}")
    print("shared by all of them:\n")
    print_items(shared)

    def span(ends: list[float], show: Any) -> str:
        low, high = (show(end) for end in ends)
        return low if low == high else f"{low} to {high}"

    unit, of_one, all_flops = search.machine.unit, price["flops_of_a_trial"], price["flops_of_all"]
    print(f"\na trial in full: {span(of_one['trained_in_full'], si)} FLOPs")
    for name, words in (("pruned_at_once", "all pruned at their first rung"), ("trained_in_full", "all in full")):
        if search.pruner is not None or name == "trained_in_full":
            spent = f"{span(all_flops[name], si)} FLOPs, {span(price['device_hours_of_all'][name], hours)} {unit}"
            print(f"{search.trials} trials, {words}: {spent}")
    totals = price["shared"]
    print(f"what they share, to make: {si(totals['flops_todo'])} FLOPs, {hours(totals['device_hours_todo'])} {unit}")
    print(f"at {shared.rate / 1e9:,.3g} GFLOP/s per device: {shared.rate_source}")
    for warning in shared.warnings:
        print(f"warning: {warning}")
