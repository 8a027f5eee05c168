"""Importing files that declare a search."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pdstudy.core.errors import ConfigError
from pdstudy.plan.known_models import with_known_models
from pdstudy.plan.study_plan import list_problems
from pdstudy.study.study_file import find_declared, find_study, load_declared
from pdstudy.workspace.layout import Workspace

if TYPE_CHECKING:
    from pdstudy.search.search import Search


def load_search(name: str, scale: str | None = None, workspace: Workspace | None = None) -> Search:
    """Import a file and call its `search(scale)`; for a workspace, with the identities that models have there.

    Raises `ConfigError` with all that is wrong in it.
    """
    from pdstudy.search.search import Search

    path = find_study(name)
    if not path.is_file():
        raise ConfigError(f"{path} is a folder; a search is one .py file that defines `search(scale)`")
    search = load_declared(path, scale, Search)
    wrong = search.problems()
    if wrong:
        raise ConfigError(list_problems(path, wrong))
    folder = None if workspace is None else workspace.root / "searches"
    if folder is None or not folder.is_dir():
        return search
    return with_known_models(search, lambda declared, model: (folder / declared.identity).is_dir())


def find_search(name: str, scale: str | None, workspace: Workspace) -> Search | None:
    """The search that a file declares; None where it declares none, or is a folder."""
    from pdstudy.search.search import Search

    path = find_study(name)
    # A search first: its file may well have imported a `study` from another file.
    declared = path.suffix == ".py" and find_declared(path, scale, Search) is not None
    return load_search(name, scale, workspace) if declared else None
