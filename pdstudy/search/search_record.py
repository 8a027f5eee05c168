"""A search as plain data, for its report: the space, every trial, what the trials cost, which fields mattered."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import optuna
from optuna.trial import FixedTrial, FrozenTrial, TrialState

from pdstudy.config.normal_form import normal_form
from pdstudy.config.run import Run
from pdstudy.core.errors import ConfigError
from pdstudy.core.identity import fingerprint
from pdstudy.plan.cost import steps_flops, training_flops
from pdstudy.search.search import Search
from pdstudy.search.space import Changes, Choice, Dimension, Level, Log, Simplex, suggest
from pdstudy.search.storage import read_trials
from pdstudy.workspace.layout import Workspace

LABELS = {"optimiser.lr": "learning rate", "objective.mix": "alpha over training"}
"""Names in figures of fields whose own names say little."""


def make_search_record(search: Search, workspace: Workspace) -> dict[str, Any]:
    """The state of a search, plain JSON. Losses in nats per token, costs in FLOPs and seconds of its runs.

    A run that several trials share is charged to the first of them, one that was there before to none.
    """
    trials = read_trials(search, workspace)
    paid = {key for t in trials if t.user_attrs.get("reused") for key in t.user_attrs["runs"]}
    return {
        "search": search.name,
        "identity": search.identity,
        "title": search.title or search.name,
        "about": search.about,
        "wanted": search.trials,
        "seeds": list(search.seeds),
        "lengths": list(search.lengths),
        "sampler": type(search.sampler).__name__,
        "pruner": dataclasses.asdict(search.pruner) if search.pruner else None,
        "validation": fingerprint(search.validation),
        "objectives": [o.label for o in search.objectives],
        "fields": list(_fields(search.space)),
        "simplexes": [{"name": name, "terms": list(s.terms)} for name, s in _simplexes(search.space)],
        "trials": [_trial(search, workspace, trial, paid) for trial in trials],
        "importances": _importances(search, trials),
    }


def _fields(space: Mapping[str, Dimension], prefix: str = "", within: str = "") -> Iterator[dict[str, Any]]:
    """One row per parameter that the storage knows, sticks of a simplex left out: its weights are columns of their
    own."""
    for path, dimension in space.items():
        name = f"{prefix}{path}"
        if isinstance(dimension, Simplex):
            continue
        label = LABELS.get(path, path.removeprefix("objective.").removeprefix("optimiser."))
        row = {"name": name, "label": label, "within": within}
        if isinstance(dimension, Choice):
            yield {**row, "kind": "choice", "levels": list(dimension.levels)}
            for label, level in dimension.levels.items():
                if isinstance(level, Level):
                    yield from _fields(level.space, f"{name}={label}/", label)
        else:
            kind = "log" if isinstance(dimension, Log) else "number"
            yield {**row, "kind": kind, "low": dimension.low, "high": dimension.high}


def _simplexes(space: Mapping[str, Dimension], prefix: str = "") -> Iterator[tuple[str, Simplex]]:
    for path, dimension in space.items():
        name = f"{prefix}{path}"
        if isinstance(dimension, Simplex):
            yield name, dimension
        elif isinstance(dimension, Choice):
            for label, level in dimension.levels.items():
                if isinstance(level, Level):
                    yield from _simplexes(level.space, f"{name}={label}/")


def simplex_names(search: Search) -> list[str]:
    """The names under which the storage has the sticks of a search's simplexes."""
    return [name for name, _ in _simplexes(search.space)]


def weights(search: Search, params: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """The weights by term of each simplex that a trial has."""
    return {
        name: simplex.weights(params, name)
        for name, simplex in _simplexes(search.space)
        if all(f"{name}/{term}" in params for term in list(simplex.terms)[:-1])
    }


def _trial(search: Search, workspace: Workspace, trial: FrozenTrial, paid: set[str]) -> dict[str, Any]:
    reused = bool(trial.user_attrs.get("reused"))
    flops = seconds = 0.0
    trained = 0
    for run in [] if reused else _runs(search, trial):
        key = fingerprint(normal_form(run))
        result = workspace.run(run).result()
        if result is None or key in paid:
            continue
        paid.add(key)
        trained += 1
        seconds += sum(result["seconds"].values())
        flops += training_flops(run) - steps_flops(run, workspace.run(run).branched_at)
    return {
        "number": trial.number,
        "state": "reused" if reused else trial.state.name.lower(),
        "within": all(excess <= 0 for excess in trial.constraints.values()),
        "reason": trial.user_attrs.get("reason", ""),
        "rung": trial.user_attrs.get("rung", 0),
        # Optuna gives a pruned trial the value that it had at its last rung.
        "values": trial.values if trial.state == TrialState.COMPLETE else None,
        "rungs": {str(tokens): value for tokens, value in sorted(trial.intermediate_values.items())},
        "params": dict(trial.params),
        "weights": weights(search, trial.params),
        "runs": list(trial.user_attrs.get("runs", ())),
        "trained": trained,
        "flops": flops,
        "full_flops": sum(map(training_flops, _whole(search, trial))),
        "seconds": seconds,
        "started": trial.datetime_start.timestamp() if trial.datetime_start else None,
        "ended": trial.datetime_complete.timestamp() if trial.datetime_complete else None,
    }


def _runs(search: Search, trial: FrozenTrial) -> Iterator[Run]:
    """The runs of a trial up to the rung that it is on, from the first rung on."""
    try:
        changes: Changes = suggest(FixedTrial(trial.params), search.space)
        for rung in range(trial.user_attrs.get("rung", 0) + 1):
            for seed in search.seeds:
                yield search.run(changes, seed, rung)
    except (ConfigError, ValueError):  # no run is possible there, or its parameters are not all drawn yet
        return


def _whole(search: Search, trial: FrozenTrial) -> list[Run]:
    """The runs of a trial at their whole length, one per seed; none where no run is possible."""
    try:
        changes = suggest(FixedTrial(trial.params), search.space)
        return [search.run(changes, seed, len(search.lengths) - 1) for seed in search.seeds]
    except (ConfigError, ValueError):
        return []


def _importances(search: Search, trials: list[FrozenTrial]) -> dict[str, float]:
    """PED-ANOVA (Watanabe et al. 2023, arXiv 2304.10255): shares of what sets the best tenth of all trials apart.

    It needs of a trial only whether it is among the best, so pruned ones count, as worse than those that went on. A
    simplex counts by its weights, not by the sticks that they were broken off.
    """
    done = [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    values = [t.values[0] for t in done if t.state == TrialState.COMPLETE]
    if len(values) < 2:
        return {}
    unit = optuna.distributions.FloatDistribution(0.0, 1.0)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seen = optuna.create_study()
    for trial in done:
        found = {f"{name}/{t}": w for name, each in weights(search, trial.params).items() for t, w in each.items()}
        sticks = tuple(f"{name}/" for name in simplex_names(search))
        params = {name: value for name, value in trial.params.items() if not name.startswith(sticks)}
        spread = {name: trial.distributions[name] for name in params} | dict.fromkeys(found, unit)
        value = trial.values[0] if trial.state == TrialState.COMPLETE else max(values) + 1
        seen.add_trial(optuna.create_trial(params=params | found, distributions=spread, value=value))
    with warnings.catch_warnings():  # small regimes of rare levels are named one by one
        warnings.simplefilter("ignore")
        return {name: float(share) for name, share in optuna.importance.get_param_importances(seen).items()}
