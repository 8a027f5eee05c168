"""What a search wants made, as plans of ordinary studies, and what its runs came to."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable
from fnmatch import fnmatch

from pdstudy.config import Run, normal_form
from pdstudy.items import Item, Plan
from pdstudy.normal import ConfigError, fingerprint
from pdstudy.plan import make_plan
from pdstudy.record import record_path
from pdstudy.rundir import Workspace
from pdstudy.search.declare import Search
from pdstudy.search.driver import Answer
from pdstudy.search.space import Changes
from pdstudy.study import Arm

Asked = tuple[int, Changes, int]
"""A trial: its number, its fields, and the rung that it is on."""


def trials_plan(search: Search, workspace: Workspace, trials: Iterable[Asked]) -> Plan:
    """What some trials need, what all trials of the space share included. Raises `ConfigError` with what is wrong.

    The corners of the space are planned, too, and their own runs left out: so the shared stores serve every trial,
    whichever asks first. Of a trial all rungs up to its own are in the plan, since each may go on from the one before.
    """
    arms = [arm for number, changes, rung in trials for arm in _rungs(search, number, changes, rung)]
    corners = search.envelope()
    plan = make_plan(search.study([*arms, *corners.grid.arms]), workspace)
    if plan.problems:
        raise ConfigError("\n".join(str(p) for p in plan.problems))
    theirs = {cell.name for cell in corners.cells}
    items = tuple(i for i in plan.items if i.kind != "student" or not i.cells or not theirs.issuperset(i.cells))
    return dataclasses.replace(plan, study=search.study(arms), items=items)


def _rungs(search: Search, number: int, changes: Changes, rung: int) -> list[Arm]:
    """The runs of a trial up to a rung, the last one under the trial's number."""
    names = [f"{number}@{tokens}" for tokens in search.lengths[:rung]]
    return [search.arm(name, changes, at) for at, name in enumerate([*names, str(number)])]


def asked_plan(search: Search, workspace: Workspace, only: str | None = None) -> Plan:
    """All that a search has asked for so far, for those who look on, its last comparison included where that was begun;
    of the runs that match `only`, where given."""
    from optuna.trial import FixedTrial

    from pdstudy.search.final import final_plan
    from pdstudy.search.space import suggest
    from pdstudy.search.storage import read_trials

    asked: list[Asked] = []
    for trial in read_trials(search, workspace):
        if trial.user_attrs.get("reused"):
            continue
        try:
            changes = suggest(FixedTrial(trial.params), search.space)
            search.run(changes, search.seeds[0], 0)
        except (ValueError, ConfigError):  # its driver died while it asked; or no run is possible there
            continue
        asked.append((trial.number, changes, trial.user_attrs.get("rung", 0)))
    plan = trials_plan(search, workspace, asked)
    if search.final is not None and record_path(workspace, f"{search.name}-final").exists():
        known = {item.key for item in plan.items}
        final = tuple(item for item in final_plan(search, workspace).items if item.key not in known)
        plan = dataclasses.replace(plan, items=plan.items + final)
    return plan if only is None else dataclasses.replace(plan, items=_matching(plan, only))


def _matching(plan: Plan, only: str) -> tuple[Item, ...]:
    wanted: set[str] = set()
    for item in reversed(plan.items):
        if item.key in wanted or any(fnmatch(cell, only) for cell in item.cells):
            wanted |= {item.key, *item.needs}
    return tuple(i for i in plan.items if i.key in wanted)


def look(search: Search, workspace: Workspace, run: Run, failed: Collection[str]) -> Answer | None:
    """What a run directory says of a run. `failed`: keys of runs that did not come to an end."""
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
