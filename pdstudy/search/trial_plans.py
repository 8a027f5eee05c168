"""Plans of a search: what its trials need, as plans of ordinary studies."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatch
from typing import TYPE_CHECKING

from pdstudy.core.errors import ConfigError
from pdstudy.plan.artifact import Artifact, RunArtifact
from pdstudy.plan.builder import make_plan
from pdstudy.plan.plan import Plan
from pdstudy.plan.record import record_path
from pdstudy.search.search import Search
from pdstudy.search.space import Changes, suggest
from pdstudy.study.grid import Arm
from pdstudy.workspace.layout import Workspace

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


RequestedTrial = tuple[int, Changes, int]
"""A trial: its number, its fields, and the rung that it is on."""


def plan_trials(search: Search, workspace: Workspace, trials: Iterable[RequestedTrial]) -> Plan:
    """The plan of some trials, with what all trials of the space share. Raises `ConfigError` with what is wrong.

    The corners of the space are planned, too, and their own runs left out: so the shared stores serve every trial,
    whichever comes first. Of a trial all rungs up to its own are in the plan, since each may go on from the one before.
    """
    arms = [arm for number, changes, rung in trials for arm in _rungs(search, number, changes, rung)]
    corners = search.envelope()
    plan = make_plan(search.study([*arms, *corners.grid.arms]), workspace)
    if plan.problems:
        raise ConfigError("\n".join(str(p) for p in plan.problems))
    theirs = {cell.name for cell in corners.cells}
    artifacts: list[Artifact] = []
    for artifact in plan.artifacts:
        if not isinstance(artifact, RunArtifact):
            artifacts.append(artifact)
            continue
        cells = tuple(cell for cell in artifact.cells if cell not in theirs)
        if artifact.role != "student" or cells or not artifact.cells:
            artifacts.append(dataclasses.replace(artifact, cells=cells))
    return dataclasses.replace(plan, study=search.study(arms), artifacts=tuple(artifacts))


def _rungs(search: Search, number: int, changes: Changes, rung: int) -> list[Arm]:
    """The runs of a trial up to a rung, the last one under the trial's number."""
    names = [f"{number}@{tokens}" for tokens in search.lengths[:rung]]
    return [search.arm(name, changes, at) for at, name in enumerate([*names, str(number)])]


def plan_requested(search: Search, workspace: Workspace, only: str | None = None) -> Plan:
    """The plan of all trials that a search has begun so far, and of its last comparison where that was begun; of the
    runs that match `only`, where given."""
    from pdstudy.search.final import make_final_plan, select_best
    from pdstudy.search.storage import read_trials

    trials = read_trials(search, workspace)
    plan = plan_trials(search, workspace, list_requested(search, trials))
    begun = search.final is not None and record_path(workspace, f"{search.name}-final").exists()
    # A record may also be that of another search of this name, before its space was changed.
    if begun and select_best(trials, 1):
        # What the search has may lack an evaluation that the comparison wants.
        final = {a.key: a for a in make_final_plan(search, workspace).artifacts}
        artifacts = [final.get(a.key, a) if a.done else a for a in plan.artifacts]
        known = {a.key for a in artifacts}
        plan = dataclasses.replace(plan, artifacts=(*artifacts, *(a for key, a in final.items() if key not in known)))
    return plan if only is None else dataclasses.replace(plan, artifacts=_matching(plan, only))


def list_requested(search: Search, trials: Sequence[FrozenTrial]) -> Iterator[RequestedTrial]:
    """The trials in the storage, on the rungs that they have reached. Left out are runs that were there before, trials
    of which no run is possible, and those whose parameters were not all drawn when their process died."""
    from optuna.trial import FixedTrial

    for trial in trials:
        if trial.user_attrs.get("reused"):
            continue
        try:
            changes = suggest(FixedTrial(trial.params), search.space)
            search.run(changes, search.seeds[0], 0)
        except (ValueError, ConfigError):
            continue
        yield trial.number, changes, trial.user_attrs.get("rung", 0)


def _matching(plan: Plan, only: str) -> tuple[Artifact, ...]:
    wanted: set[str] = set()
    for artifact in reversed(plan.artifacts):
        if artifact.key in wanted or any(fnmatch(cell, only) for cell in artifact.cells):
            wanted |= {artifact.key, *artifact.needs}
    return tuple(a for a in plan.artifacts if a.key in wanted)
