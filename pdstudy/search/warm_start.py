"""Finished runs as trials: what studies have trained, and what lies in a search's space, a search need not train."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Iterator
from typing import Any

from optuna.trial import FixedTrial

from pdstudy.config.normal_form import normal_form
from pdstudy.config.run import KD, LM, Run
from pdstudy.core.errors import ConfigError
from pdstudy.core.identity import encode, fingerprint
from pdstudy.core.validation import problems
from pdstudy.search.search import Search
from pdstudy.search.space import Dimension, Params, corners, field_of, suggest, together
from pdstudy.study.grid import changed
from pdstudy.workspace.layout import Workspace
from pdstudy.workspace.run_dir import RunDir


def finished_runs(search: Search, workspace: Workspace) -> Iterator[Run]:
    """Runs of the workspace that are done and of the search's first seed, in order of key."""
    for folder in sorted(workspace.root.glob("runs/*")):
        directory = RunDir(folder)
        result = directory.result()
        if result is None or result["state"] != "done":
            continue
        try:
            run = directory.config()
        except ConfigError:  # its texts or its teacher are no longer where they were
            continue
        if run.seed == search.seeds[0]:
            yield run


def trial_of(search: Search, run: Run) -> FixedTrial | None:
    """The parameters with which a trial is this run but for rounding; None where it lies outside the space.

    A run without a teacher is the same whatever is asked of one: its open numbers are the base's, its open choices
    drawn, always alike, so that none of them is blamed for what the run lacks.
    """
    if any(a != b for a, b in _untouched(search, run)):
        return None
    shown = run
    if isinstance(run.objective, LM) and isinstance(search.base.objective, KD):
        shown = dataclasses.replace(run, objective=dataclasses.replace(search.base.objective, alpha=0.0))
    wanted = encode(normal_form(run))
    for params in together(_readings(search, shown, random.Random(fingerprint(normal_form(run))))):
        trial = FixedTrial(params)
        try:
            made = search.run(suggest(trial, search.space), run.seed, len(search.lengths) - 1)
        except ConfigError:
            continue
        if _alike(encode(normal_form(made)), wanted):
            return trial
    return None


def _readings(search: Search, run: Run, drawn: random.Random) -> Iterator[list[Params]]:
    """Of each dimension what may stand for the run, in an order that is drawn.

    What changes the run where all else is left as it is does not stand for it. To look at dimensions one by one keeps
    a space of many choices from being looked at whole.
    """
    wanted = encode(normal_form(run))
    narrow = {path for dimension in search.space.items() for path in _paths(*dimension)}
    for path, dimension in search.space.items():
        own = _paths(path, dimension)
        # What others set inside of what this one sets is theirs to say.
        theirs = [(p, field_of(run, p)) for p in sorted(narrow - own) if any(p.startswith(f"{o}.") for o in own)]
        possible = []
        for params in dimension.read(run, path, path):
            changes = [*suggest(FixedTrial(params), {path: dimension}), *theirs]
            made, wrong = changed(run, search.arm("", changes))
            if wrong or any(problems(made)) or _alike(encode(normal_form(made)), wanted):
                possible.append(params)
        drawn.shuffle(possible)
        yield possible


def _paths(path: str, dimension: Dimension) -> set[str]:
    """The fields that a dimension may set."""
    return {field for changes in corners({path: dimension}) for field, _ in changes}


def keys_of(search: Search, run: Run) -> list[str]:
    """The keys of a trial's runs, one per seed, given one of them."""
    return [fingerprint(normal_form(dataclasses.replace(run, seed=seed))) for seed in search.seeds]


def _untouched(search: Search, run: Run) -> Iterator[tuple[Any, Any]]:
    """The values in base and run of the fields that no trial changes."""
    base, made = normal_form(search.base), normal_form(run)
    searched = {path.split(".")[0] for path in search.space} | {"seed"}
    if searched & {"steps", "tokens"}:
        searched |= {"steps", "tokens"}
    for field in dataclasses.fields(Run):
        if field.name not in searched:
            yield getattr(base, field.name), getattr(made, field.name)


def _alike(a: Any, b: Any) -> bool:
    """Equal plain data, floats to 1e-12: weights that were broken off a stick do not come back to the last digit."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_alike(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_alike, a, b))
    if isinstance(a, int | float) and isinstance(b, int | float):
        return math.isclose(a, b, rel_tol=1e-12, abs_tol=1e-12)
    return bool(a == b)
