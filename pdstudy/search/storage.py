"""A search's trials in optuna's storage, and its sampler. The one module that imports optuna."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial

from pdstudy.normal import ConfigError
from pdstudy.rundir import Workspace
from pdstudy.search.declare import GP, TPE, Sampler, Search


def folder(search: Search, workspace: Workspace) -> Path:
    """Claims of trials, and the journal where no other storage is named."""
    return workspace.root / "searches" / search.identity


def open_study(search: Search, workspace: Workspace) -> optuna.Study:
    """The search's optuna study, made where it is not there. Raises `ConfigError` where the storage cannot be opened.

    `optuna.load_study(study_name=search.identity, storage=...)` and `optuna-dashboard JOURNAL` open the same.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder(search, workspace).mkdir(parents=True, exist_ok=True)
    try:
        study = optuna.create_study(
            study_name=search.identity, storage=_storage(search, workspace), load_if_exists=True,
            directions=["minimize"] * len(search.objectives), sampler=Seeded(search.sampler, search.seed),
            pruner=optuna.pruners.NopPruner(),
        )  # fmt: skip
    except (ValueError, ImportError, OSError) as error:
        raise ConfigError(f"storage: found {search.storage!r}; optuna cannot open it: {error}") from error
    return study


def read_trials(search: Search, workspace: Workspace) -> list[FrozenTrial]:
    """The trials so far; none where the search was never begun. Changes nothing."""
    if search.storage is None and not _journal(search, workspace).exists():
        return []
    try:
        study = optuna.load_study(study_name=search.identity, storage=_storage(search, workspace))
    except KeyError:
        return []
    return study.get_trials(deepcopy=False)


def _journal(search: Search, workspace: Workspace) -> Path:
    return folder(search, workspace) / "journal.log"


def _storage(search: Search, workspace: Workspace) -> Any:
    if search.storage is not None:
        return search.storage
    journal = str(_journal(search, workspace))
    # An exclusively created lock file also works on network file systems.
    return JournalStorage(JournalFileBackend(journal, lock_obj=JournalFileOpenLock(journal)))


class Seeded(BaseSampler):
    """The declared sampler, seeded anew for each trial by its number: a driver that is started again does not repeat
    the numbers that it drew before, and given equal trials in the storage draws what it would have drawn."""

    def __init__(self, sampler: Sampler, seed: int) -> None:
        self._declared, self._seed = sampler, seed
        self._made: BaseSampler = RandomSampler(seed=seed)

    def before_trial(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        seed = (self._seed * 1_000_003 + trial.number) % 2**32
        if isinstance(self._declared, TPE):
            with warnings.catch_warnings():  # `group` is called experimental
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                self._made = TPESampler(n_startup_trials=self._declared.startup, multivariate=True, group=True,
                                    constant_liar=True, seed=seed)  # fmt: skip
        elif isinstance(self._declared, GP):
            self._made = GPSampler(n_startup_trials=self._declared.startup, deterministic_objective=False, seed=seed)
        else:
            self._made = RandomSampler(seed=seed)
        self._made.before_trial(study, trial)

    def infer_relative_search_space(self, *args: Any) -> Any:
        return self._made.infer_relative_search_space(*args)

    def sample_relative(self, *args: Any) -> Any:
        return self._made.sample_relative(*args)

    def sample_independent(self, *args: Any) -> Any:
        return self._made.sample_independent(*args)

    def after_trial(self, *args: Any) -> None:
        self._made.after_trial(*args)
