"""Side effects of a study file on the process that loads it: kept from all other code.

The modules that it imports from its folder are read anew by each load. The working directory stays, and what is printed
meanwhile goes to standard error: standard output is the command's, which may owe JSON.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType


@contextlib.contextmanager
def helper_modules(folder: Path) -> Iterator[None]:
    """Let imports find the modules of a study's folder, alone (`from lr import ...`) or by the name of a folder in it
    or of its own (`from paper.scales import ...`).

    Modules of these names that a notebook has imported are set aside meanwhile. Afterwards the path and the modules are
    as before: two studies may each have a `settings.py`, and an edited one is read by the next load.
    """
    before, path, compiles = dict(sys.modules), list(sys.path), not sys.dont_write_bytecode
    here = Path.cwd()
    names = {file.stem for file in folder.glob("*.py")} | {init.parent.name for init in folder.glob("*/__init__.py")}
    names |= {
        name.partition(".")[0] for name, module in before.items() if os.path.dirname(_file(module)) == str(folder)
    }
    names -= {*sys.stdlib_module_names, "__main__", "pdstudy"}
    hidden = {name: module for name, module in before.items() if name.partition(".")[0] in names}
    for name in hidden:
        del sys.modules[name]
    sys.path[:] = [str(folder), *path, str(folder.parent)]
    # Compiled files are told apart by their second and size alone, which an edit may leave as they are.
    sys.dont_write_bytecode = True
    importlib.invalidate_caches()
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.chdir(here)
        added = [entry for entry in sys.path if entry not in (*path, str(folder.parent))]
        for name, module in list(sys.modules.items()):
            if before.get(name) is not module and _found_in(module, [str(folder), *added], path):
                del sys.modules[name]
        sys.modules.update(hidden)
        sys.path[:] = path
        sys.dont_write_bytecode = not compiles


def _found_in(module: ModuleType, folders: list[str], others: list[str]) -> bool:
    """Whether a module was found in one of `folders`, rather than in an entry of the path within it, as those of an
    environment in a project's folder are."""
    file = Path(_file(module))
    entries = [entry for entry in (*folders, *others) if entry and file.is_relative_to(entry)]
    ours = module.__name__.partition(".")[0] == "pdstudy"
    return bool(entries) and not ours and max(entries, key=len) in folders


def _file(module: ModuleType) -> str:
    """The file of a module, or the folder that a package without one is; else nothing."""
    file = getattr(module, "__file__", None)
    return str(file or next(iter(getattr(module, "__path__", ())), ""))
