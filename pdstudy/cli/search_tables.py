"""The price of a search, printed."""

from __future__ import annotations

from typing import Any

from pdstudy.cli.plan_tables import print_items
from pdstudy.core.format import hours, si
from pdstudy.plan.plan import Plan
from pdstudy.search.search import Search


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
