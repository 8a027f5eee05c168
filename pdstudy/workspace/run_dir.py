"""Run directories. One holds all that is known of a run: nothing is read from logs or names.

config.json       the run's full configuration, its hashed form and the schema version
provenance.json   commit, versions, machine, threads, attention backend
status.json       state (queued, running, done, diverged, failed, stopped), step, speed, error
metrics.jsonl     one row per logged step
evals.jsonl       one row per held-out evaluation
sequences/        EVALUATION.npy per final evaluation: its sums by sequence (`pdstudy.evaluate.metrics.SEQUENCE`)
checkpoints/      step-NNNNNNNN folders, complete or absent, with the sha256 of their files
model/            the export: `AutoModelForCausalLM.from_pretrained` reads it; weights.json has sha256s
models/           step-NNNNNNNN folders of the same kind, for steps that other artifacts need
again/            steps that are trained once more, for what was not wanted of them then (`pdstudy.plan.replay`)
result.json       written last, atomically: its presence is what "done" (or "diverged") means
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pdstudy.config.evaluation import Evaluation
from pdstudy.config.normal_form import normal_form
from pdstudy.config.run import Run
from pdstudy.core.errors import ConfigError
from pdstudy.core.files import append_jsonl, write_bytes, write_json
from pdstudy.core.identity import SCHEMA, decode, encode, fingerprint, hashed_form
from pdstudy.core.run_files import SEQUENCES, DamagedRun, find_damage, read_run_file
from pdstudy.core.run_state import DAMAGED, missing_evaluations, run_state


def stored_form(stored: dict[str, Any]) -> Any:
    """The hashed form in a config.json, as it was when the run was made.

    Where it was not stored it is made anew, which raises `ConfigError` when texts or a teacher have been moved since.
    """
    return stored["hashed"] if "hashed" in stored else hashed_form(normal_form(decode(stored["run"])))


def list_checkpoints(folder: Path) -> list[Path]:
    """The whole checkpoints in a folder, by rising step; copies that a user put beside them are none."""
    found = {int(path.name[5:]): path for path in folder.glob("step-*") if re.fullmatch(r"step-\d{8,}", path.name)}
    return [found[step] for step in sorted(found)]


def unguarded() -> None:
    """Anyone may write."""


@dataclass(frozen=True)
class RunDir:
    """Paths and files of one run.

    `guard` is called before anything is published: it does not return to a process whose run another has taken over.
    `models` is the folder of exports of steps; None: `models` in the run's own, as always but where steps are trained
    again.
    """

    path: Path
    guard: Callable[[], None] = field(default=unguarded, compare=False, repr=False)
    models: Path | None = None

    @property
    def key(self) -> str:
        return self.path.name

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def evals_file(self) -> Path:
        return self.path / "evals.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def saved(self) -> list[int]:
        """Steps of its complete checkpoints, rising."""
        return [int(path.name.removeprefix("step-")) for path in list_checkpoints(self.checkpoints)]

    @property
    def branched_at(self) -> int:
        """Step at which it went on from another run's checkpoint; 0 where it began at the beginning."""
        step: int = (read_run_file(self.path, "provenance.json") or {}).get("branched_from", {}).get("step", 0)
        return step

    @property
    def model(self) -> Path:
        return self.path / "model"

    def export(self, step: int) -> Path:
        """Folder of the model after `step` steps (1-based)."""
        return (self.models or self.path / "models") / f"step-{step:08d}"

    def create(self, run: Run) -> None:
        """Write the configuration, or compare it with the one that is there. Raises `ConfigError` on a difference."""
        stored = read_run_file(self.path, "config.json")
        made = normal_form(run)
        if stored is None:
            write_json(self.path / "config.json", {"schema": SCHEMA, "run": encode(made), "hashed": hashed_form(made)})
        elif stored_form(stored) != hashed_form(made):
            raise ConfigError(f"{self.path} holds another run than its name says; move it away")

    def config(self) -> Run:
        stored = read_run_file(self.path, "config.json")
        if stored is None:
            raise ConfigError(f"{self.path} is not a run directory: it has no config.json")
        run = decode(stored["run"])
        assert isinstance(run, Run)
        return run

    def status(self) -> dict[str, Any]:
        """Content of status.json; "stopped" in the place of an end whose result is not there (any more)."""
        found: dict[str, Any] = read_run_file(self.path, "status.json") or {"state": "new"}
        if not (self.path / "result.json").exists():
            found["state"] = run_state(None, found)
        return found

    def state(self, evaluations: tuple[Evaluation, ...] = ()) -> str:
        """The run's state: "evaluate" where it is done but for some of `evaluations`, "damaged" where a file is."""
        if find_damage(self.path) is not None:
            return DAMAGED
        status = read_run_file(self.path, "status.json")
        return run_state(self.result(), status, [fingerprint(e) for e in evaluations])

    def check_whole(self) -> None:
        """Raise `DamagedRun` where one of its small files is damaged."""
        if (found := find_damage(self.path)) is not None:
            raise DamagedRun(found)

    def set_status(self, state: str, **fields: Any) -> None:
        self.guard()
        write_json(self.path / "status.json", {"state": state, "time": time.time(), **fields})

    def result(self) -> dict[str, Any] | None:
        """Content of result.json; None before its end. Raises `DamagedRun`."""
        return read_run_file(self.path, "result.json")

    def missing_evaluations(self, evaluations: tuple[Evaluation, ...]) -> tuple[Evaluation, ...]:
        """Evaluations that a finished run lacks at its end: another study may have wanted others."""
        missing = missing_evaluations(self.result(), [fingerprint(e) for e in evaluations])
        return tuple(e for e in evaluations if fingerprint(e) in missing)

    def append_metrics(self, row: dict[str, Any]) -> None:
        self.guard()
        append_jsonl(self.metrics_file, row)

    def keep_sequences(self, evaluation: str, table: bytes) -> None:
        """Write the file by sequence of a final evaluation, named by its key."""
        self.guard()
        write_bytes(self.path / SEQUENCES / f"{evaluation}.npy", table)

    def append_eval(self, row: dict[str, Any]) -> None:
        self.guard()
        append_jsonl(self.evals_file, row)
