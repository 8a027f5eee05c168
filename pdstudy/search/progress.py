"""What a search has come to, in words and as plain data."""

from __future__ import annotations

from typing import Any

from optuna.trial import FrozenTrial, TrialState

from pdstudy.search.search import Search
from pdstudy.search.search_record import simplex_names, weights
from pdstudy.search.storage import read_trials
from pdstudy.search.trials import Trials
from pdstudy.workspace.layout import Workspace


class Teller:
    """Called now and again, it says of each trial once how it ended; of those that had ended before, nothing."""

    def __init__(self, trials: Trials) -> None:
        self._trials = trials
        self._told = {trial.number for trial in self._ended()}

    def __call__(self) -> None:
        for trial in self._ended():
            if trial.number not in self._told:
                self._told.add(trial.number)
                reason = trial.user_attrs.get("reason", "")
                said = reason or ", ".join(f"{value:.5g}" for value in trial.values)
                print(f"trial {trial.number}: {trial.state.name.lower()}, {said}", flush=True)

    def _ended(self) -> list[FrozenTrial]:
        return [t for t in self._trials.study.get_trials(deepcopy=False) if t.state.is_finished()]


def summary(search: Search, workspace: Workspace) -> list[dict[str, Any]]:
    """Every trial as plain data, the best first (of two objectives, by the first).

    `values`: of trials that were trained in full; `rungs`: by tokens, what a trial had reached there; `weights`: of its
    simplexes; `beyond`: the bounds that it does not keep, and by how much.
    """
    rows = [_row(search, trial) for trial in read_trials(search, workspace)]
    return sorted(
        rows, key=lambda r: (r["state"] != "complete", sum(r["beyond"].values()), r["values"] or [], r["trial"])
    )


def _row(search: Search, trial: FrozenTrial) -> dict[str, Any]:
    told = {name: trial.user_attrs[name] for name in ("reason", "reused", "rung", "runs") if name in trial.user_attrs}
    return {
        "trial": trial.number,
        "state": trial.state.name.lower(),
        # Optuna gives a pruned trial the value that it had at its last rung.
        "values": trial.values if trial.state == TrialState.COMPLETE else None,
        "rungs": {str(tokens): value for tokens, value in sorted(trial.intermediate_values.items())},
        "weights": weights(search, trial.params),
        "params": dict(trial.params),
        "beyond": {name: excess for name, excess in trial.constraints.items() if excess > 0},
        **told,
    }


def line(search: Search, row: dict[str, Any]) -> str:
    """A trial of `summary` in a line: its value, the weights of its losses, its other fields."""
    parts = [f"{name} {weight:.3f}" for each in row["weights"].values() for name, weight in each.items()]
    sticks = tuple(f"{name}/" for name in simplex_names(search))
    rest = {name: value for name, value in row["params"].items() if not name.startswith(sticks)}
    parts += [f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in rest.items()]
    values = ", ".join(f"{value:.4f}" for value in row["values"])
    beyond = f" (beyond {'; '.join(row['beyond'])})" if row["beyond"] else ""
    return f"trial {row['trial']}{' (reused)' if row.get('reused') else ''}: {values}{beyond}: {', '.join(parts)}"
