"""The rows of a run as other tools take them: numbers by name at a step, in the order of steps, each once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pdstudy.core.files import read_json, read_jsonl, write_json
from pdstudy.core.run_files import whole_run_file


@dataclass(frozen=True)
class MirroredRun:
    """A run of a study: its folder, whose name is its key, its name in the study, and its labels there."""

    folder: Path
    name: str
    labels: Mapping[str, str]

    @property
    def key(self) -> str:
        return self.folder.name

    def config(self) -> dict[str, Any]:
        """Its configuration as plain data, with its labels and key; empty parts where it has not begun."""
        stored = whole_run_file(self.folder, "config.json") or {"run": {}}
        return {"key": self.key, "name": self.name, "labels": dict(self.labels), "run": stored["run"]}

    def ended(self) -> bool:
        """Whether its last row is there."""
        return (self.folder / "result.json").exists()


@dataclass(frozen=True)
class Row:
    """Numbers by name (`train/loss`, `test/accuracy`) at an optimiser step; `name` tells rows of a step apart."""

    step: int
    name: str
    values: Mapping[str, float]

    @property
    def id(self) -> str:
        return f"{self.name}@{self.step}"


@dataclass
class SentRows:
    """Rows of a run that a tracker has: training rows up to a step, and evaluations by the id of their row.

    Steps, not bytes: a run that was interrupted takes the rows after its checkpoint back, and writes the same again.
    """

    step: int = 0
    evaluations: list[str] = field(default_factory=list)

    @staticmethod
    def read(path: Path) -> SentRows:
        stored = read_json(path, "delete it, and what was mirrored") or {}
        return SentRows(**stored)

    def write(self, path: Path) -> None:
        write_json(path, vars(self))

    def add(self, rows: Iterable[Row]) -> None:
        for row in rows:
            if row.name == "train":
                self.step = max(self.step, row.step)
            else:
                self.evaluations.append(row.id)


def new_rows(run: MirroredRun, sent: SentRows) -> list[Row]:
    """The rows that were not sent, by rising step, training before evaluations.

    Those of evaluations after the last training row wait for it: no row comes behind one of a later step, but for
    evaluations of steps that were trained once more.
    """
    # In this order: evaluations of a step are written before the training row of the next.
    trained = [Row(row["step"], "train", numbers("train", row)) for row in read_jsonl(run.folder / "metrics.jsonl")]
    if not trained:
        return []
    last, known = trained[-1].step, set(sent.evaluations)
    evaluated = [row for row in _evaluations(run.folder / "evals.jsonl") if row.step <= last and row.id not in known]
    return sorted((*(row for row in trained if row.step > sent.step), *evaluated), key=lambda row: row.step)


def _evaluations(path: Path) -> Iterator[Row]:
    """Rows of evaluations, named by their split; a second evaluation of a split by its key too."""
    names: dict[str, str] = {}
    for row in read_jsonl(path):
        split, key = str(row["split"]), str(row["eval"])
        if key not in names:
            names[key] = f"{split}-{key[:8]}" if split in names.values() else split
        yield Row(row["step"], names[key], numbers(names[key], row))


def numbers(group: str, row: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a row but its step, as `group/name`."""
    return {
        f"{group}/{name}": float(value)
        for name, value in row.items()
        if name != "step" and isinstance(value, (int, float)) and not isinstance(value, bool)
    }
