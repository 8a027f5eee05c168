"""How a search goes: trials as they end, and all of them as plain data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from optuna.trial import FrozenTrial, TrialState

from pdstudy.launch.local import ProgressView
from pdstudy.search.search import Search
from pdstudy.search.search_record import weights
from pdstudy.search.storage import read_trials
from pdstudy.search.trials import Trials
from pdstudy.workspace.layout import Workspace


@dataclass(frozen=True)
class EndedTrial:
    """How a trial ended: its state in Optuna's words, and the reason or, where it was trained in full, its values."""

    number: int
    state: str
    reason: str
    values: tuple[float, ...]


class SearchView(Protocol):
    """Shows how a search goes; `pdstudy.cli.progress` has one. `shared` shows what all trials share, `runs` theirs."""

    @property
    def shared(self) -> ProgressView: ...
    @property
    def runs(self) -> ProgressView: ...
    def trial_ended(self, trial: EndedTrial) -> None: ...
    def note(self, text: str) -> None: ...


class NewlyEnded:
    """Yields, at each call, the trials that have ended since the last one, or since this was made."""

    def __init__(self, trials: Trials) -> None:
        self._trials = trials
        self._known = {trial.number for trial in self._ended()}

    def __call__(self) -> Iterator[EndedTrial]:
        for trial in self._ended():
            if trial.number not in self._known:
                self._known.add(trial.number)
                reason = trial.user_attrs.get("reason", "")
                yield EndedTrial(trial.number, trial.state.name.lower(), reason, tuple(trial.values or ()))

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
    noted = {name: trial.user_attrs[name] for name in ("reason", "reused", "rung", "runs") if name in trial.user_attrs}
    return {
        "trial": trial.number,
        "state": trial.state.name.lower(),
        # Optuna gives a pruned trial the value that it had at its last rung.
        "values": trial.values if trial.state == TrialState.COMPLETE else None,
        "rungs": {str(tokens): value for tokens, value in sorted(trial.intermediate_values.items())},
        "weights": weights(search, trial.params),
        "params": dict(trial.params),
        "beyond": {name: excess for name, excess in trial.constraints.items() if excess > 0},
        **noted,
    }
