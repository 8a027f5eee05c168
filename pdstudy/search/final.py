"""The last comparison of a search, an ordinary study: the best trials and the controls, on fresh seeds and on test."""

from __future__ import annotations

import dataclasses

from optuna.trial import FixedTrial, FrozenTrial, TrialState

from pdstudy.config.outputs import Compare, Cost, Curves, Output
from pdstudy.core.errors import ConfigError
from pdstudy.plan.builder import make_plan
from pdstudy.plan.plan import Plan
from pdstudy.search.search import Search
from pdstudy.search.space import suggest
from pdstudy.search.storage import read_trials
from pdstudy.study.grid import Arm, Change
from pdstudy.study.study import Study
from pdstudy.workspace.layout import Workspace


def select_best(trials: list[FrozenTrial], count: int) -> list[FrozenTrial]:
    """The best of the trials that were trained in full and keep the search's bounds, of two objectives by the first; of
    equal runs the first."""
    kept = [t for t in trials if t.state == TrialState.COMPLETE and all(v <= 0 for v in t.constraints.values())]
    done = sorted(kept, key=lambda t: (t.values[0], t.number))
    unlike: dict[tuple[str, ...], FrozenTrial] = {}
    for trial in done:
        unlike.setdefault(tuple(trial.user_attrs["runs"]), trial)
    return list(unlike.values())[:count]


def make_final_study(search: Search, trials: list[FrozenTrial]) -> Study:
    """The study that a search's `final` declares, of the trials that are best so far.

    Raises `ConfigError` where the search declares no `final`, or where no trial is complete.
    """
    final = search.final
    if final is None:
        file, line = search.where
        raise ConfigError(f"{file}:{line}: search {search.name!r} has no final: give it final=Final(...)")
    best = select_best(trials, final.best)
    if not best:
        which = "no complete trial that keeps its bounds" if search.constraints else "no complete trial"
        raise ConfigError(f"search {search.name!r} has {which} yet; `pdstudy search` makes some")
    arms = [
        Arm({"arm": label}, tuple(Change(path, value) for path, value in fields.items()))
        for label, fields in final.controls.items()
    ]
    for trial in best:
        made = search.arm("", suggest(FixedTrial(trial.params), search.space))
        arms.append(Arm({"arm": f"trial {trial.number}"}, made.changes))
    first = next(iter(final.controls))
    outputs: list[Output] = []
    for label in final.controls:
        outputs.append(Compare(title=f"Test loss against {label}", against=label))
        outputs.append(Compare(title=f"Recalibrated, against {label}", metric="recalibrated", against=label))
    outputs += [Curves(lines="arm"), Cost()]
    return dataclasses.replace(
        search.study(arms),
        name=f"{search.name}-final",
        title=f"{search.title or search.name}: fresh seeds",
        about="The best trials of the search, trained again on seeds that it has not seen, beside the controls.",
        seeds=final.seeds,
        baseline={"arm": first},
        evaluations=final.evaluations,
        outputs=tuple(outputs),
    )


def make_final_plan(search: Search, workspace: Workspace) -> Plan:
    """The plan of the last comparison. Raises `ConfigError` as `make_final_study` does, and with all problems of its
    arms."""
    plan = make_plan(make_final_study(search, read_trials(search, workspace)), workspace)
    if plan.problems:
        raise ConfigError("\n".join(map(str, plan.problems)))
    return plan
