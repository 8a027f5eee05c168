"""A search on this machine: its trials are runs of one plan after another, made by the workers that studies use."""

from __future__ import annotations

import dataclasses
from typing import Any

from pdstudy.config import Run, normal_form
from pdstudy.items import Item, Plan
from pdstudy.launch import Outcome, drive, run_plan
from pdstudy.normal import ConfigError, fingerprint
from pdstudy.plan import make_plan
from pdstudy.progress import PlainView
from pdstudy.rundir import Workspace
from pdstudy.search.declare import Search
from pdstudy.search.driver import Answer, Trials
from pdstudy.search.storage import open_study
from pdstudy.study import Study


def run_search(search: Search, workspace: Workspace, *, slots: int) -> Outcome:
    """Carry out a search until its trials are used up. Raises `ConfigError` where its space is not sound."""
    shared = _planned(search.envelope(), workspace)
    # What all trials share is made before the first: one pass of the teacher serves the whole space.
    shared = dataclasses.replace(shared, items=tuple(i for i in shared.items if i.kind != "student"))
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
        arms = [search.arm(str(a.trial.number), a.changes, a.rung) for a in active]
        return _planned(search.study(arms), workspace)

    try:
        return drive(dataclasses.replace(shared, items=()), workspace, slots=slots, view=_Lines(), more=more)
    finally:
        trials.close()


def look(search: Search, workspace: Workspace, run: Run, failed: set[str]) -> Answer | None:
    """What a run directory says of a run."""
    key = fingerprint(normal_form(run))
    if key in failed:
        return Answer(state="failed")
    result = workspace.run(run).result()
    if result is None:
        return None
    if result["state"] != "done":
        return Answer(state=result["state"])
    rows = [r for r in result["evals"] if r["eval"] == fingerprint(search.validation)]
    return Answer(rows[-1]) if rows else None


def summary(search: Search, workspace: Workspace) -> list[dict[str, Any]]:
    """Every trial as plain data, the best first (of two objectives, by the first)."""
    trials = open_study(search, workspace).get_trials(deepcopy=False)
    rows = [
        {"trial": t.number, "state": t.state.name.lower(), "values": t.values, "params": t.params, **t.user_attrs}
        for t in trials
    ]
    return sorted(rows, key=lambda r: (r["state"] != "complete", (r["values"] or [0.0])[0], r["trial"]))


def _planned(study: Study, workspace: Workspace) -> Plan:
    plan = make_plan(study, workspace)
    if plan.problems:
        raise ConfigError("\n".join(str(p) for p in plan.problems))
    return plan


class _Lines(PlainView):
    """A line per run that ended; how many there will be is not known."""

    def progress(self, slot: int, item: Item, what: str, share: float) -> None:
        return

    def end(self, slot: int, item: Item, state: str, message: str = "") -> None:
        print(f"{item.kind} {item.label}: {state}{': ' if message else ''}{message}", flush=True)
