"""Checkpoints: weights, optimiser and the trainer's own few numbers, whole or absent.

A checkpoint is written to a folder whose name starts with a dot and renamed when all of it is on disk, so a folder
`step-NNNNNNNN` is whole by construction. Tensors are in torch's distributed format (DCP), which any number of ranks
can read; numbers are in trainer.json. Nothing in a step is random, so there is no generator state, and so nothing
that belongs to one rank.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from transformers import PreTrainedModel

from pdstudy.config.normal_form import normal_form
from pdstudy.config.run import Run
from pdstudy.config.trajectory import lasting_steps, shared_steps
from pdstudy.core.errors import ConfigError
from pdstudy.core.files import read_json, write_json
from pdstudy.models.distributed import Ranks
from pdstudy.workspace.run_dir import RunDir, unguarded

KEPT = 2
"""Checkpoints of a running run that are kept besides lasting ones: one to go on from, one in case it is damaged."""


# One process without a process group is intended here.
warnings.filterwarnings("ignore", message="torch.distributed is disabled")


def step_of(path: Path) -> int:
    """The steps that were completed when the checkpoint was written."""
    return int(path.name.removeprefix("step-"))


def list_checkpoints(folder: Path) -> list[Path]:
    """The whole checkpoints in a folder, by rising step."""
    return sorted(folder.glob("step-*"))


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
        self._writing: tuple[Path, Future[Any]] | None = None

    def newest(self) -> Path | None:
        """The whole checkpoint of the latest step, if there is one: the same on all ranks."""
        found = self._ranks.from_main(str(max(list_checkpoints(self._folder), default="")))
        return Path(found) if found else None

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
            if background:
                future: Any = dcp.async_save(
                    state, checkpoint_id=partial, process_group=self._ranks.saves, no_dist=alone
                )
            else:
                dcp.save(state, checkpoint_id=partial, process_group=self._ranks.saves, no_dist=alone)
                future = Future()
                future.set_result(None)
        except (OSError, CheckpointException) as error:
            raise self._not_written(partial, _reason(error)) from error
        self._writing = (partial, future)
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

    def publish(self) -> None:
        """Give a checkpoint that was written in the background its name, if it is whole by now."""
        if self._writing is not None and self._writing[1].done():
            self.finish()

    def finish(self) -> None:
        """Wait for the checkpoint that is being written and give it its name. Raises `ConfigError`."""
        if self._writing is None:
            return
        partial, future = self._writing
        self._writing = None
        try:
            future.result()
            if self._ranks.main:
                self._guard()
                path = partial.with_name(_name(partial))
                shutil.rmtree(path, ignore_errors=True)
                os.replace(partial, path)
                self._drop_old()
        except (OSError, CheckpointException) as error:
            raise self._not_written(partial, _reason(error)) from error

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
        model, optimiser = get_state_dict(self._model, self._optimiser)
        state: dict[str, Any] = {"model": model, "optimiser": optimiser}
        try:
            dcp.load(state, checkpoint_id=path, process_group=self._ranks.saves, no_dist=self._ranks.size == 1)
            trainer: dict[str, Any] = read_json(path / "trainer.json")
            step = trainer["step"]
        except (CheckpointException, OSError, ValueError, TypeError, KeyError) as error:
            raise ConfigError(
                f"checkpoint {path} is damaged ({_reason(error)}); delete it, and the run goes on from the one before"
            ) from error
        assert step == step_of(path)
        set_state_dict(
            self._model, self._optimiser, model_state_dict=state["model"], optim_state_dict=state["optimiser"]
        )
        return trainer

    def _not_written(self, partial: Path, reason: str) -> ConfigError:
        reason = _find_lack_of_room(self._folder) or reason
        shutil.rmtree(partial, ignore_errors=True)
        newest = max(list_checkpoints(self._folder), default=None)
        left = f"the newest whole one is {newest.name}" if newest else "there is none before it"
        return ConfigError(
            f"checkpoint {_name(partial)} cannot be written to {self._folder}: {reason}; "
            f"{left}. Make room and run again: the run goes on from there"
        )


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


def starting_point(run: Run, relatives: Iterable[RunDir], limit: float = math.inf) -> tuple[RunDir, Path] | None:
    """The latest checkpoint of `relatives` whose steps `run` shares, and which is not deleted as its owner goes on.

    `limit`: steps after which the run has something of its own to write. The run itself may be among `relatives`, held
    by this process: all its checkpoints stay.
    """
    found: list[tuple[int, RunDir, Path]] = []
    for relative in relatives:
        theirs = relative.config()
        shared = shared_steps(run, theirs)
        stays = {*lasting_steps(theirs), theirs.num_steps if relative.result() else 0}
        found += [
            (step_of(path), relative, path)
            for path in list_checkpoints(relative.checkpoints)
            if (step_of(path) in stays or theirs == normal_form(run)) and step_of(path) <= min(shared, limit)
        ]
    if not found:
        return None
    _, relative, path = max(found, key=lambda item: item[0])
    return relative, path
