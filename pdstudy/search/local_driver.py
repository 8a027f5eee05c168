"""A search on this machine: its trials are runs of one plan after another, made by the workers that studies use."""

from __future__ import annotations

import dataclasses

from pdstudy.launch.devices import Devices, lay_out_artifact
from pdstudy.launch.local import ON_CPU, RunOutcome, drive, run_plan
from pdstudy.plan.artifact import RunArtifact
from pdstudy.plan.plan import Plan
from pdstudy.search.progress import NewlyEnded, SearchView
from pdstudy.search.search import Search
from pdstudy.search.storage import explain_lost_storage
from pdstudy.search.trial_plans import plan_trials
from pdstudy.search.trial_results import read_run_result
from pdstudy.search.trials import Trials
from pdstudy.workspace.layout import Workspace


def run_search(
    search: Search, workspace: Workspace, *, workers: int, view: SearchView, devices: Devices = ON_CPU
) -> RunOutcome:
    """Carry out a search until its trials are used up, by so many workers at a time on these devices.

    Raises `ConfigError` where its space is not sound, or texts or models that it names are not here.
    """
    # What all trials share is made before the first: one pass of the teacher serves the whole space.
    shared = plan_trials(search, workspace, [])
    dataclasses.replace(shared, study=search.envelope()).check_here()
    if shared.todo:
        outcome = run_plan(shared, workspace, workers=workers, view=view.shared, devices=devices)
        if outcome.stopped or outcome.failed or outcome.blocked:
            return outcome
    with explain_lost_storage(search):
        return _carry_out(search, workspace, shared, workers, view, devices)


def count_trials(search: Search, workers: int, devices: Devices) -> int:
    """Trials at a time: the runs that there is room for. More would be begun knowing less of the others."""
    if not devices.ids:
        return workers
    trial = RunArtifact(key=search.name, label=search.name, done=False, run=search.base, role="student")
    count = lay_out_artifact(trial, devices, search.placement).count
    return min(workers, devices.shares if count == 1 else len(devices.ids) // count)


def _carry_out(
    search: Search, workspace: Workspace, shared: Plan, workers: int, view: SearchView, devices: Devices
) -> RunOutcome:
    failed: set[str] = set()
    width = count_trials(search, workers, devices)
    trials = Trials(search, workspace, lambda run: read_run_result(search, workspace, run, failed))
    newly_ended = NewlyEnded(trials)

    def more(outcome: RunOutcome) -> Plan:
        failed.update(outcome.failed)
        active = trials.step(width)
        for trial in newly_ended():
            view.trial_ended(trial)
        if not active:
            return dataclasses.replace(shared, artifacts=())
        return plan_trials(search, workspace, [(a.number, a.changes, a.rung) for a in active])

    try:
        nothing = dataclasses.replace(shared, artifacts=())
        outcome = drive(nothing, workspace, workers=workers, view=view.runs, more=more, devices=devices)
    finally:
        trials.close()
    for words in trials.describe_held():
        view.note(words)
    return outcome
