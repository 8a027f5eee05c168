"""A search on this machine: its trials are runs of one plan after another, made by the workers that studies use."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

from pdstudy.items import Item, Plan
from pdstudy.launch import Outcome, drive, run_plan
from pdstudy.progress import PlainView
from pdstudy.rundir import Workspace
from pdstudy.search.answers import look
from pdstudy.search.declare import Search
from pdstudy.search.driver import Trials
from pdstudy.search.plans import trials_plan
from pdstudy.search.storage import open_study


def run_search(search: Search, workspace: Workspace, *, slots: int) -> Outcome:
    """Carry out a search until its trials are used up. Raises `ConfigError` where its space is not sound."""
    # What all trials share is made before the first: one pass of the teacher serves the whole space.
    shared = trials_plan(search, workspace, [])
    if shared.todo:
        outcome = run_plan(shared, workspace, slots=slots, view=PlainView())
        if outcome.stopped or outcome.failed or outcome.blocked:
            return outcome
    failed: set[str] = set()
    trials = Trials(search, workspace, lambda run: look(search, workspace, run, failed))

    def more(outcome: Outcome) -> Plan:
        failed.update(outcome.failed)
        active = trials.step(slots)
        if not active:
            return dataclasses.replace(shared, items=())
        return trials_plan(search, workspace, [(a.number, a.changes, a.rung) for a in active])

    try:
        outcome = drive(dataclasses.replace(shared, items=()), workspace, slots=slots, view=_Lines(), more=more)
    finally:
        trials.close()
    for words in trials.held():
        print(words, file=sys.stderr)
    return outcome


def summary(search: Search, workspace: Workspace) -> list[dict[str, Any]]:
    """Every trial as plain data, the best first (of two objectives, by the first); `beyond`: the bounds that it does
    not keep, and by how much."""
    trials = open_study(search, workspace).get_trials(deepcopy=False)
    rows = [
        {"trial": t.number, "state": t.state.name.lower(), "values": t.values, "params": t.params,
         "beyond": {name: excess for name, excess in t.constraints.items() if excess > 0}, **t.user_attrs}
        for t in trials
    ]  # fmt: skip
    return sorted(
        rows, key=lambda r: (r["state"] != "complete", sum(r["beyond"].values()), r["values"] or [], r["trial"])
    )


class _Lines(PlainView):
    """A line per run that ended; how many there will be is not known."""

    def progress(self, slot: int, item: Item, what: str, share: float) -> None:
        return

    def end(self, slot: int, item: Item, state: str, message: str = "") -> None:
        print(f"{item.kind} {item.label}: {state}{': ' if message else ''}{message}", flush=True)
