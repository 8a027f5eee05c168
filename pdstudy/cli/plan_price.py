"""The first and the last line of a plan: its price, and the command that comes next."""

from __future__ import annotations

from pdstudy.cli.machine_tables import Here
from pdstudy.config.placement import Machine
from pdstudy.core.format import device_time, duration, si, size
from pdstudy.launch.schedule import wall_hours
from pdstudy.plan.account import totals
from pdstudy.plan.artifact_state import group_of
from pdstudy.plan.plan import Plan

LONG_HOURS = 48.0
"""Hours on this machine from which on a plan is work for a cluster."""


def price_line(plan: Plan, here: Here) -> str:
    """The price of what is left, in devices, FLOPs, bytes and, where the prices are those of this machine, its time."""
    found = totals(plan)
    of = f"{found['items']} artifacts ({len(plan.study.cells)} runs)"
    if not plan.todo:
        return f"{plan.study.name}: nothing to make, all {of} are there"
    price = device_time(found["device_hours_todo"], plan.study.machine.unit)
    time = f", about {duration(3600 * _hours_here(plan, here))} here on {here}" if here.prices(plan) else ""
    return (
        f"{plan.study.name}: {price} for {len(plan.todo)} of {of}: {si(found['flops_todo'])} FLOPs, "
        f"{size(found['bytes_todo'])} on disk{time}"
    )


def next_step(plan: Plan, here: Here, call: str) -> str:
    """The command that comes next; `call` is the study as it was named on the command line."""
    if not plan.todo:
        return f"pdstudy report {call}"
    price = device_time(totals(plan)["device_hours_todo"], plan.study.machine.unit)
    send = f"pdstudy submit {call} --dry-run"
    if missing := plan.study.missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        return f"{send}, on the machine that has {missing[0].found}{more}"
    if plan.study.machine.unit == Machine.unit and not here.gpus:
        return f"{send} ({price}, and no GPU here)"
    if here.prices(plan) and (hours := _hours_here(plan, here)) > LONG_HOURS:
        return f"{send} ({price} are {duration(3600 * hours)} here)"
    if plan.packages:
        return " && ".join(dict.fromkeys(each.allowed.partition(": ")[2] for each in plan.packages))
    if {group_of(artifact.state) for artifact in plan.todo} & {"failed", "running"}:
        return f"pdstudy status {call}"
    return f"pdstudy run {call}"


def _hours_here(plan: Plan, here: Here) -> float:
    return wall_hours(plan, here.devices, here.workers)
