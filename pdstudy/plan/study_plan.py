"""Plans of study files, as commands name them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from pdstudy.core.errors import ConfigError
from pdstudy.core.validation import Problem
from pdstudy.plan.builder import make_plan
from pdstudy.plan.plan import Plan
from pdstudy.study.collection import Collection
from pdstudy.study.study_file import find_study, load_study
from pdstudy.workspace.layout import Workspace


def checked_plan(name: str, scale: str | None, workspace: Workspace, only: str | None = None) -> Plan:
    """The plan of a study file against a workspace, of the cells whose names match `only` where given.

    Raises `ConfigError` with all of the study's problems at once.
    """
    study = load_study(name, scale)
    plan = make_plan(dataclasses.replace(study, only=only), workspace)
    if plan.problems:
        raise ConfigError(list_problems(find_study(name), plan.problems))
    if not plan.study.cells and (only is not None or not plan.study.captures):
        names = ", ".join(c.name for c in study.cells[:3])
        raise ConfigError(f"--only {only!r} matches no run; runs are named like {names}")
    return plan


def list_problems(path: Path, problems: Sequence[Problem]) -> str:
    """One line per problem of a study file, paths from the working directory."""
    here = str(Path.cwd()) + os.sep
    lines = "\n".join(f"  {p}".replace(here, "") for p in problems)
    return f"{path} has {len(problems)} problem{'s' if len(problems) > 1 else ''}:\n{lines}"


def member_plans(plan: Plan, workspace: Workspace) -> list[Plan]:
    """The plans of a collection's studies; of another study its own."""
    if isinstance(plan.study, Collection):
        return [make_plan(study, workspace) for study in plan.study.studies]
    return [plan]
