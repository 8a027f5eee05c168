"""Checkpoints: weights, optimiser and the trainer's own few numbers, whole or absent.

A checkpoint is written to a folder whose name starts with a dot and renamed when all of it is on disk, so a folder
`step-NNNNNNNN` is whole by construction. Tensors are in torch's distributed format (DCP), which any number of ranks
can read; numbers are in trainer.json.
"""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from transformers import PreTrainedModel

from pdstudy.files import read_json, write_json

# One process without a process group is meant here.
warnings.filterwarnings("ignore", message="torch.distributed is disabled")


class Checkpoints:
    """The checkpoints of one run directory, for one model and its optimiser."""

    def __init__(self, folder: Path, model: PreTrainedModel, optimiser: torch.optim.Optimizer) -> None:
        self._folder = folder
        self._model = model
        self._optimiser = optimiser

    def newest(self) -> Path | None:
        """The whole checkpoint of the latest step, if there is one."""
        return max(self._folder.glob("step-*"), default=None)

    def newest_step(self) -> int | None:
        """The step of `newest`."""
        newest = self.newest()
        return int(newest.name.removeprefix("step-")) if newest else None

    def save(self, step: int, trainer: dict[str, Any]) -> Path:
        """Write the checkpoint of `step` (steps completed), then drop the older ones."""
        path = self._folder / f"step-{step:08d}"
        partial = self._folder / f".{path.name}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        model, optimiser = get_state_dict(self._model, self._optimiser)
        dcp.save({"model": model, "optimiser": optimiser}, checkpoint_id=partial, no_dist=True)
        write_json(partial / "trainer.json", trainer)
        shutil.rmtree(path, ignore_errors=True)
        os.replace(partial, path)
        for old in self._folder.iterdir():
            if old != path:
                shutil.rmtree(old)
        return path

    def load(self, path: Path) -> dict[str, Any]:
        """Restore weights and optimiser in place; what `save` was given as `trainer`."""
        model, optimiser = get_state_dict(self._model, self._optimiser)
        state: dict[str, Any] = {"model": model, "optimiser": optimiser}
        dcp.load(state, checkpoint_id=path, no_dist=True)
        set_state_dict(
            self._model, self._optimiser, model_state_dict=state["model"], optim_state_dict=state["optimiser"]
        )
        trainer: dict[str, Any] = read_json(path / "trainer.json")
        return trainer
