"""A search's trials in Optuna's storage, and its sampler."""

from __future__ import annotations

import contextlib
import json
import os
import warnings
import zlib
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial
from sqlalchemy.exc import SQLAlchemyError

from pdstudy.core.errors import ConfigError
from pdstudy.search.search import Search
from pdstudy.search.strategy import GP, TPE, Sampler
from pdstudy.workspace.layout import Workspace


def search_folder(search: Search, workspace: Workspace) -> Path:
    """The folder of a search: claims of its trials, and the journal where no other storage is named."""
    return workspace.root / "searches" / search.identity


def open_study(search: Search, workspace: Workspace) -> optuna.Study:
    """The search's optuna study, made where it is not there. Raises `ConfigError` where the storage cannot be opened.

    `optuna.load_study(study_name=search.identity, storage=...)` and `optuna-dashboard JOURNAL` open the same.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    search_folder(search, workspace).mkdir(parents=True, exist_ok=True)
    with _explained(search, workspace):
        return optuna.create_study(
            study_name=search.identity, storage=_storage(search, workspace), load_if_exists=True,
            directions=["minimize"] * len(search.objectives), sampler=Seeded(search.sampler, search.seed),
            pruner=optuna.pruners.NopPruner(),
        )  # fmt: skip


def read_trials(search: Search, workspace: Workspace) -> list[FrozenTrial]:
    """The trials so far; none where the search was never begun. Changes nothing. Raises as `open_study` does."""
    if search.storage is None and not _journal(search, workspace).exists():
        return []
    with _explained(search, workspace):
        try:
            study = optuna.load_study(study_name=search.identity, storage=_storage(search, workspace))
        except KeyError:
            return []
        return study.get_trials(deepcopy=False)


@contextlib.contextmanager
def _explained(search: Search, workspace: Workspace) -> Iterator[None]:
    try:
        yield
    except ConfigError:
        raise
    except (ValueError, ImportError, OSError, SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        found = repr(search.storage) if search.storage is not None else f"none, so {_journal(search, workspace)}"
        message = str(error).splitlines()[0]
        allowed = "None (a journal in the workspace), or a URL such as sqlite:///trials.db"
        raise ConfigError(
            f"storage: found {found}, which optuna cannot open ({message}); allowed: {allowed}, "
            f"whose driver is installed and which can be reached"
        ) from error


@contextlib.contextmanager
def explain_lost_storage(search: Search) -> Iterator[None]:
    """Raise `ConfigError` where a database goes away while a search is carried out."""
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        message = str(error.__cause__ or error).splitlines()[0]
        raise ConfigError(
            f"storage {search.storage!r} could be opened, and is gone or refuses ({message}); all results are "
            f"kept: once it is back, search again"
        ) from error


def _journal(search: Search, workspace: Workspace) -> Path:
    return search_folder(search, workspace) / "journal.log"


def _storage(search: Search, workspace: Workspace) -> Any:
    if search.storage is not None:
        return search.storage
    return JournalStorage(Journal(_journal(search, workspace)))


class Journal(JournalFileBackend):
    """Optuna's journal, which survives a process or a disk that gave up in the middle of an entry.

    Such an entry has no end of line, and readers take it for one that is still being written. The next one written
    behind it would make both unreadable for good.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # An exclusively created lock file also works on network file systems.
        self.lock = JournalFileOpenLock(str(path))
        super().__init__(str(path), lock_obj=self.lock)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        entries = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with self._locked(), self.path.open("r+b") as file:
            end = file.seek(0, os.SEEK_END)
            while end > 0 and (file.seek(end - 1), file.read(1)) != (end - 1, b"\n"):
                end -= 1
            file.truncate(end)
            file.seek(end)
            file.write(entries.encode())
            file.flush()
            os.fsync(file.fileno())

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self.lock.acquire()
        try:
            yield
        finally:
            self.lock.release()

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        number = log_number_from
        try:
            for log in super().read_logs(log_number_from):
                number += 1
                yield log
        except ValueError as error:
            raise ConfigError(
                f"{self.path}:{number + 1}: no entry of a journal ({error}); move the file away: the search begins "
                f"anew, and takes over from the workspace what its trials have trained in full"
            ) from error


class Seeded(BaseSampler):
    """The declared sampler, seeded anew for each trial by its number, and for each field that is drawn by itself by its
    name: a process that is started again does not repeat the numbers that it drew before, and given equal trials in the
    storage draws what it would have drawn, also where the one before died between two fields of a trial."""

    def __init__(self, sampler: Sampler, seed: int) -> None:
        self._declared, self._seed = sampler, seed
        self._made: BaseSampler = RandomSampler(seed=seed)

    def _seeded(self, *salt: int) -> BaseSampler:
        seed = int(np.random.SeedSequence([*salt, self._seed]).generate_state(1)[0])
        if isinstance(self._declared, TPE):
            with warnings.catch_warnings():  # `group` is called experimental
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                return TPESampler(n_startup_trials=self._declared.startup, multivariate=True, group=True,
                                  constant_liar=True, seed=seed)  # fmt: skip
        if isinstance(self._declared, GP):
            return GPSampler(n_startup_trials=self._declared.startup, deterministic_objective=False, seed=seed)
        return RandomSampler(seed=seed)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self._made = self._seeded(trial.number)
        self._made.before_trial(study, trial)

    def infer_relative_search_space(self, *args: Any) -> Any:
        return self._made.infer_relative_search_space(*args)

    def sample_relative(self, *args: Any) -> Any:
        return self._made.sample_relative(*args)

    def sample_independent(self, study: optuna.Study, trial: FrozenTrial, name: str, distribution: Any) -> Any:
        sampler = self._seeded(trial.number, zlib.crc32(name.encode()))
        return sampler.sample_independent(study, trial, name, distribution)

    def after_trial(self, *args: Any) -> None:
        self._made.after_trial(*args)
