"""Checkpoints: weights, optimiser and the trainer's own few numbers, whole or absent.

A checkpoint is written to a folder whose name starts with a dot and renamed when all of it is on disk, so a folder
`step-NNNNNNNN` is whole by construction. Tensors are in torch's distributed format (DCP), which any number of ranks
can read; numbers are in trainer.json. Nothing in a step is random, so there is no generator state, and so nothing
that belongs to one rank.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from transformers import PreTrainedModel

from pdstudy.core.errors import ConfigError
from pdstudy.core.files import file_sha256, read_json, write_json
from pdstudy.models.distributed import TIMEOUT, Ranks
from pdstudy.workspace.run_dir import list_checkpoints, unguarded

KEPT = 2
"""Checkpoints of a running run that are kept besides lasting ones: one to go on from, one in case it is damaged."""


# One process without a process group is intended here.
warnings.filterwarnings("ignore", message="torch.distributed is disabled")


def step_of(path: Path) -> int:
    """The steps that were completed when the checkpoint was written."""
    return int(path.name.removeprefix("step-"))


class Checkpoints:
    """The checkpoints of one run directory, for one model and its optimiser. Every rank makes the same calls in order.

    `lasting` are steps whose checkpoints stay when newer ones come. `attempt` keeps half-written files apart from those
    of a process whose place this one has taken; `guard` (see `RunDir`) is called before a checkpoint is named.
    """

    def __init__(
        self,
        folder: Path,
        model: PreTrainedModel,
        optimiser: torch.optim.Optimizer,
        ranks: Ranks,
        lasting: Iterable[int] = (),
        attempt: int = 1,
        guard: Callable[[], None] = unguarded,
    ) -> None:
        self._folder = folder
        self._model = model
        self._optimiser = optimiser
        self._ranks = ranks
        self._lasting = frozenset(lasting)
        self._attempt = attempt
        self._guard = guard
        self._writing: tuple[Path, Future[None]] | None = None
        self._thread = ThreadPoolExecutor(1)

    def save(self, step: int, trainer: dict[str, Any], *, background: bool = False) -> None:
        """Write the checkpoint of `step` (steps completed). In the background, it is published by a later call.

        Raises `ConfigError` where this one, or the one still being written, cannot be written (a full disk).
        """
        self.finish()
        partial = self._folder / f".step-{step:08d}.{self._attempt}"
        model, optimiser = get_state_dict(self._model, self._optimiser)
        state = {"model": model, "optimiser": optimiser}
        alone = self._ranks.size == 1
        self._begin(partial, trainer)
        try:
            written: Any = Future()
            if background:
                written = dcp.async_save(state, checkpoint_id=partial, process_group=self._ranks.saves, no_dist=alone)
            else:
                dcp.save(state, checkpoint_id=partial, process_group=self._ranks.saves, no_dist=alone)
                written.set_result(None)
        except (OSError, CheckpointException) as error:
            raise self._not_written(partial, _reason(error)) from error
        self._writing = (partial, self._thread.submit(self._seal, partial, written))
        if not background:
            self.finish()

    def _begin(self, partial: Path, trainer: dict[str, Any]) -> None:
        """Make the folder and its numbers on the main rank; no rank goes on where that fails."""
        failure = None
        if self._ranks.main:
            try:
                for left in self._folder.glob(".step-*"):
                    shutil.rmtree(left, ignore_errors=True)
                write_json(partial / "trainer.json", trainer)
            except OSError as error:
                failure = _reason(error)
        failure = self._ranks.from_main(failure)
        if failure is not None:
            raise self._not_written(partial, failure)

    def _seal(self, partial: Path, written: Future[Any]) -> None:
        """Note the digests of this rank's files, once they are on disk. Runs beside the training loop."""
        written.result()
        files = [*partial.glob(f"__{self._ranks.rank}_*"), *(partial.glob(".metadata") if self._ranks.main else ())]
        write_json(self._seal_file(partial, self._ranks.rank), {file.name: file_sha256(file) for file in files})

    @staticmethod
    def _seal_file(partial: Path, rank: int) -> Path:
        return partial / f"digests-{rank}.json"

    def _is_sealed(self, partial: Path) -> bool:
        """Whether every rank has noted its digests. Files, not exchanges: ranks come here at different steps."""
        return all(self._seal_file(partial, rank).exists() for rank in range(self._ranks.size))

    def publish(self) -> None:
        """Give a checkpoint that was written in the background its name, if it is whole by now."""
        if self._writing is not None:
            partial, sealed = self._writing
            if sealed.done() and (not self._ranks.main or self._is_sealed(partial)):
                self.finish()

    def finish(self) -> None:
        """Wait for the checkpoint that is being written and give it its name. Raises `ConfigError`."""
        if self._writing is None:
            return
        partial, sealed = self._writing
        self._writing = None
        try:
            sealed.result()
            if self._ranks.main:
                self._collect_digests(partial)
                self._guard()
                path = partial.with_name(_name(partial))
                shutil.rmtree(path, ignore_errors=True)
                os.replace(partial, path)
                self._drop_old()
        except (OSError, CheckpointException) as error:
            raise self._not_written(partial, _reason(error)) from error
        gc.collect()  # a save leaves cycles, and the training loop runs without the collector

    def _collect_digests(self, partial: Path) -> None:
        """Move the digests of all ranks into trainer.json, with one of its own content."""
        deadline = time.monotonic() + TIMEOUT.total_seconds()
        while not self._is_sealed(partial):
            if time.monotonic() > deadline:
                raise OSError(f"a rank has not written its part within {TIMEOUT}")
            time.sleep(0.05)
        trainer, digests = read_json(partial / "trainer.json"), {}
        digests["trainer.json"] = _content_sha256(trainer)
        for rank in range(self._ranks.size):
            file = self._seal_file(partial, rank)
            digests |= read_json(file)
            file.unlink()
        write_json(partial / "trainer.json", {**trainer, "digests": digests})

    def _drop_old(self) -> None:
        for old in list_checkpoints(self._folder)[:-KEPT]:
            if step_of(old) not in self._lasting:
                shutil.rmtree(old)

    def settle(self) -> None:
        """At the end of a run: keep the newest checkpoint and the lasting ones."""
        self.finish()
        if self._ranks.main:
            for old in [*list_checkpoints(self._folder)[:-1], *self._folder.glob(".step-*")]:
                if old.name.startswith(".") or step_of(old) not in self._lasting:
                    shutil.rmtree(old)

    def load(self, path: Path) -> dict[str, Any]:
        """Restore weights and optimiser in place; the `trainer` that `save` wrote. Raises `ConfigError`."""
        fault = self._ranks.first(self._damage(path))
        if fault is not None:
            raise _damaged(path, fault)
        model, optimiser = get_state_dict(self._model, self._optimiser)
        state: dict[str, Any] = {"model": model, "optimiser": optimiser}
        try:
            dcp.load(state, checkpoint_id=path, process_group=self._ranks.saves, no_dist=self._ranks.size == 1)
            trainer: dict[str, Any] = read_json(path / "trainer.json")
            step = trainer["step"]
        except (CheckpointException, OSError, ValueError, TypeError, KeyError) as error:
            raise _damaged(path, _reason(error)) from error
        if step != step_of(path):
            raise _damaged(path, f"it is the checkpoint of step {step}")
        trainer.pop("digests", None)
        set_state_dict(
            self._model, self._optimiser, model_state_dict=state["model"], optim_state_dict=state["optimiser"]
        )
        return trainer

    def _damage(self, path: Path) -> str | None:
        """The first fault in this rank's share of a checkpoint's files; None where all hash to what was written."""
        try:
            trainer = read_json(path / "trainer.json") or {}
        except ConfigError as error:
            return str(error)
        digests = sorted(trainer.pop("digests", {}).items())  # an earlier version wrote none
        for name, digest in digests[self._ranks.rank :: self._ranks.size]:
            file = path / name
            if not file.exists():
                return f"{name} is missing"
            if (_content_sha256(trainer) if name == "trainer.json" else file_sha256(file)) != digest:
                return f"{name} is not what was written"
        return None

    def _not_written(self, partial: Path, reason: str) -> ConfigError:
        reason = _find_lack_of_room(self._folder) or reason
        shutil.rmtree(partial, ignore_errors=True)
        newest = max(list_checkpoints(self._folder), default=None)
        left = f"the newest whole one is {newest.name}" if newest else "there is none before it"
        return ConfigError(
            f"checkpoint {_name(partial)} cannot be written to {self._folder}: {reason}; "
            f"{left}. Make room and run again: the run goes on from there"
        )


def _content_sha256(trainer: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(trainer, sort_keys=True).encode()).hexdigest()


def _damaged(path: Path, reason: str) -> ConfigError:
    return ConfigError(f"checkpoint {path} is damaged ({reason}); delete it, and the run goes on from the one before")


def _name(partial: Path) -> str:
    """`.step-00000010.2` -> `step-00000010`."""
    return partial.name.split(".")[1]


def _reason(error: BaseException) -> str:
    """The first cause in words: DCP wraps the errors of the ranks."""
    if isinstance(error, CheckpointException) and error.failures:
        error = next(iter(error.failures.values()))[0]
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"


def _find_lack_of_room(folder: Path) -> str | None:
    """The system's words where a folder takes no more: torch's writer only says that it is at an unexpected place."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(1 << 20))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return _reason(error)
    return None
