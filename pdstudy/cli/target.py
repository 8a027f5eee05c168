"""The workspace, and the study or search, that a command line names."""

from __future__ import annotations

import argparse
from fnmatch import fnmatch

from pdstudy.cli.progress import slow_work
from pdstudy.core.errors import ConfigError
from pdstudy.plan.artifact import RunArtifact
from pdstudy.plan.plan import Plan
from pdstudy.plan.study_plan import checked_plan
from pdstudy.search.search_file import find_search
from pdstudy.workspace.layout import Workspace


def workspace_of(args: argparse.Namespace) -> Workspace:
    """The workspace of `--workspace`, else the default. Raises `ConfigError` where a file is in its place."""
    return Workspace.at(args.workspace) if args.workspace else Workspace.default()


def planned(args: argparse.Namespace, only: str | None = None) -> tuple[Plan, Workspace]:
    """The checked plan of a study. Raises `ConfigError` with all its problems at once."""
    workspace = workspace_of(args)
    with slow_work(f"planning {args.study}"):
        return checked_plan(args.study, args.scale, workspace, only), workspace


def observed(args: argparse.Namespace, only: str | None = None) -> tuple[Plan, Workspace]:
    """`planned` for commands that look on: of a file that declares a search, the plan of its trials so far."""
    workspace = workspace_of(args)
    with slow_work(f"planning {args.study}"):
        return observed_plan(args.study, args.scale, workspace, only), workspace


def observed_plan(name: str, scale: str | None, workspace: Workspace, only: str | None = None) -> Plan:
    """The plan of a study, or of the trials that a search has so far."""
    search = find_search(name, scale, workspace)
    if search is None:
        return checked_plan(name, scale, workspace, only)
    from pdstudy.search.trial_plans import plan_requested

    return plan_requested(search, workspace, only)


def one_run(plan: Plan, pattern: str) -> RunArtifact:
    """The one run that a pattern names. Raises `ConfigError` where there is none, or more."""
    by_role = [run for run in plan.runs if run.role == pattern]
    found = by_role or [
        run for run in plan.runs if any(name == pattern or fnmatch(name, pattern) for name in (*run.cells, run.key))
    ]
    if len(found) != 1:
        names = ", ".join(run.label for run in (found or plan.runs)[:4])
        raise ConfigError(f"pattern: found {pattern!r}, which matches {len(found)} runs; allowed: one of {names}, ...")
    return found[0]
