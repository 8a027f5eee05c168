"""Finished runs as trials: a run that lies in a search's space is not trained again, and the sampler learns from it.

Points that a user would enqueue do not replace this: a run is a point of *fields*, optuna wants one of *parameters*
(sticks of a simplex, labels of choices), and that map is the work of this module.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Collection, Iterator
from typing import Any

import optuna
from optuna.trial import FixedTrial, FrozenTrial

from pdstudy.config.normal_form import normal_form
from pdstudy.config.run import KD, LM, Run
from pdstudy.core.errors import ConfigError
from pdstudy.core.identity import encode, fingerprint
from pdstudy.core.validation import problems
from pdstudy.search.search import Search
from pdstudy.search.space import Dimension, Params, combine, corners, get_field, suggest
from pdstudy.search.trial_results import ResultReader, score_runs
from pdstudy.study.grid import changed
from pdstudy.workspace.layout import Workspace
from pdstudy.workspace.run_dir import RunDir


def make_reused_trials(
    search: Search, workspace: Workspace, known: Collection[str], read_result: ResultReader
) -> Iterator[FrozenTrial]:
    """Finished runs of the workspace that lie in the space, as complete trials. `known`: keys of runs that are left
    out, since they have trials."""
    for run in _find_finished_runs(search, workspace):
        keys = make_run_keys(search, run)
        trial = None if keys[0] in known else invert_run(search, run)
        if trial is None:
            continue
        runs = [dataclasses.replace(run, seed=seed) for seed in search.seeds]
        rows = [r.row for r in map(read_result, runs) if r is not None and r.row is not None]
        if len(rows) < len(runs):
            continue
        scores = score_runs(search, runs, rows)
        if scores.finite:
            yield optuna.create_trial(
                params=trial.params, distributions=trial.distributions, values=scores.values,
                constraints=scores.excess, user_attrs={"runs": keys, "reused": True},
            )  # fmt: skip


def _find_finished_runs(search: Search, workspace: Workspace) -> Iterator[Run]:
    """Runs of the workspace that are done and of the search's first seed, in order of key."""
    for folder in sorted(workspace.root.glob("runs/*")):
        directory = RunDir(folder)
        if directory.state() != "done":
            continue
        try:
            run = directory.config()
        except ConfigError:  # its texts or its teacher are no longer where they were
            continue
        if run.seed == search.seeds[0]:
            yield run


def invert_run(search: Search, run: Run) -> FixedTrial | None:
    """The parameters with which a trial is this run but for rounding; None where it lies outside the space.

    A run without a teacher is the same whatever teacher and loss a trial names: its open numbers are the base's, its
    open choices drawn, always alike, so that none of them is blamed for what the run lacks.
    """
    if any(a != b for a, b in _pair_fixed_fields(search, run)):
        return None
    shown = run
    if isinstance(run.objective, LM) and isinstance(search.base.objective, KD):
        shown = dataclasses.replace(run, objective=dataclasses.replace(search.base.objective, alpha=0.0))
    wanted = encode(normal_form(run))
    for params in combine(_invert_dimensions(search, shown, random.Random(fingerprint(normal_form(run))))):
        trial = FixedTrial(params)
        try:
            made = search.run(suggest(trial, search.space), run.seed, len(search.lengths) - 1)
        except ConfigError:
            continue
        if _almost_equal(encode(normal_form(made)), wanted):
            return trial
    return None


def _invert_dimensions(search: Search, run: Run, generator: random.Random) -> Iterator[list[Params]]:
    """For each dimension the parameters that may stand for the run, in random order.

    Those that change the run where all else is left as it is do not stand for it. To try dimensions one by one keeps
    a space of many choices from being tried whole.
    """
    wanted = encode(normal_form(run))
    narrow = {path for dimension in search.space.items() for path in _list_paths(*dimension)}
    for path, dimension in search.space.items():
        own = _list_paths(path, dimension)
        # Fields that other dimensions set inside of those that this one sets stay as the run has them.
        others = [(p, get_field(run, p)) for p in sorted(narrow - own) if any(p.startswith(f"{o}.") for o in own)]
        possible = []
        for params in dimension.read(run, path, path):
            changes = [*suggest(FixedTrial(params), {path: dimension}), *others]
            made, wrong = changed(run, search.arm("", changes))
            if wrong or any(problems(made)) or _almost_equal(encode(normal_form(made)), wanted):
                possible.append(params)
        generator.shuffle(possible)
        yield possible


def _list_paths(path: str, dimension: Dimension) -> set[str]:
    """The fields that a dimension may set."""
    return {field for changes in corners({path: dimension}) for field, _ in changes}


def make_run_keys(search: Search, run: Run) -> list[str]:
    """The keys of a trial's runs, one per seed, given one of them."""
    return [fingerprint(normal_form(dataclasses.replace(run, seed=seed))) for seed in search.seeds]


def _pair_fixed_fields(search: Search, run: Run) -> Iterator[tuple[Any, Any]]:
    """The values in base and run of the fields that no trial changes."""
    base, made = normal_form(search.base), normal_form(run)
    searched = {path.split(".")[0] for path in search.space} | {"seed"}
    if searched & {"steps", "tokens"}:
        searched |= {"steps", "tokens"}
    for field in dataclasses.fields(Run):
        if field.name not in searched:
            yield getattr(base, field.name), getattr(made, field.name)


def _almost_equal(a: Any, b: Any) -> bool:
    """Equal plain data, floats to 1e-12: weights that were broken off a stick do not come back to the last digit."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_almost_equal(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_almost_equal, a, b))
    if isinstance(a, int | float) and isinstance(b, int | float):
        return math.isclose(a, b, rel_tol=1e-12, abs_tol=1e-12)
    return bool(a == b)
