"""The price of a search, and its trials, in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pdstudy.cli.plan_tables import print_artifacts
from pdstudy.cli.terminal import say, say_warning
from pdstudy.core.format import device_time, si
from pdstudy.core.streams import printable
from pdstudy.plan.plan import Plan
from pdstudy.search.search import Search
from pdstudy.search.search_record import simplex_names


def print_price(search: Search, shared: Plan, price: dict[str, Any]) -> None:
    """Print what a search will cost: what its trials share, one trial, all of them."""
    say(f"search {search.name}: {search.trials} trials over {', '.join(search.space)}")
    say("shared by all of them:\n")
    print_artifacts(shared)

    def span(ends: list[float], show: Callable[[float], str]) -> str:
        low, high = (show(end) for end in ends)
        return low if low == high else f"{low} to {high}"

    def time(hours: float) -> str:
        return device_time(hours, search.machine.unit)

    of_one, all_flops = price["flops_of_a_trial"], price["flops_of_all"]
    say(f"\na trial in full: {span(of_one['trained_in_full'], si)} FLOPs")
    for name, words in (("pruned_at_once", "all pruned at their first rung"), ("trained_in_full", "all in full")):
        if search.pruner is not None or name == "trained_in_full":
            spent = f"{span(all_flops[name], si)} FLOPs, {span(price['device_hours_of_all'][name], time)}"
            say(f"{search.trials} trials, {words}: {spent}")
    totals = price["shared"]
    say(f"what they share, to make: {si(totals['flops_todo'])} FLOPs, {time(totals['device_hours_todo'])}")
    say(f"at {shared.rate / 1e9:,.3g} GFLOP/s per device: {shared.rate_source}")
    for warning in shared.warnings:
        say_warning(warning)


def trial_line(search: Search, row: dict[str, Any]) -> str:
    """A trial in a line: its value, the weights of its losses, its other fields."""
    parts = [f"{name} {weight:.3f}" for each in row["weights"].values() for name, weight in each.items()]
    sticks = tuple(f"{name}/" for name in simplex_names(search))
    rest = {name: value for name, value in row["params"].items() if not name.startswith(sticks)}
    parts += [
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {printable(str(value))}"
        for name, value in rest.items()
    ]
    values = ", ".join(f"{value:.4f}" for value in row["values"])
    beyond = f" (beyond {'; '.join(row['beyond'])})" if row["beyond"] else ""
    return f"trial {row['trial']}{' (reused)' if row.get('reused') else ''}: {values}{beyond}: {', '.join(parts)}"
