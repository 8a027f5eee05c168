"""The study or search that a command line names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pdstudy.plan.plan import Plan
from pdstudy.workspace.layout import Workspace

if TYPE_CHECKING:
    pass
from pdstudy.plan.builder import checked_plan
from pdstudy.search.search_file import find_search


def seen_plan(name: str, scale: str | None, workspace: Workspace, only: str | None = None) -> Plan:
    """`checked_plan` for those who look on: of a file that declares a search, the plan of what it has asked for."""
    search = find_search(name, scale)
    if search is None:
        return checked_plan(name, scale, workspace, only)
    from pdstudy.search.trial_plans import plan_requested

    return plan_requested(search, workspace, only)
