"""Two runs side by side: the fields of their configurations that differ, and what came of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pdstudy.core.errors import ConfigError
from pdstudy.core.identity import differences, hashed_form
from pdstudy.core.run_files import read_run_file
from pdstudy.plan.artifact import RunArtifact
from pdstudy.workspace.layout import Workspace
from pdstudy.workspace.run_dir import RunDir, stored_form

METRICS = ("loss", "accuracy", "accuracy_top5", "ece", "bits_per_byte")
"""Columns of a final evaluation that are compared; loss in nats per token."""

CIRCUMSTANCES = ("commit", "dirty", "host", "device", "ranks", "threads", "attention")
"""Fields of a run's provenance that are compared."""


@dataclass(frozen=True)
class ComparedRun:
    """A run as it is compared: its name, the folder that it has or will have, and its hashed configuration."""

    name: str
    folder: Path
    form: Any


Rows = list[tuple[str, Any, Any]]
"""A name with the value of each of two runs."""


def planned_run(run: RunArtifact, workspace: Workspace) -> ComparedRun:
    """A run of a plan, begun or not."""
    return ComparedRun(run.label, run.directory(workspace).path, hashed_form(run.run))


def stored_run(name: str, workspace: Workspace) -> ComparedRun:
    """A run of the workspace by its folder or its key, or as much of that as no other has.

    Raises `ConfigError` where there is none, or more.
    """
    folder = Path(name)
    if not (folder / "config.json").is_file():
        stored = (path.parent.name for path in (workspace.root / "runs").glob("*/config.json"))
        keys = sorted(key for key in stored if key.startswith(name))
        if len(keys) != 1:
            found = f"{len(keys)} runs, {', '.join(keys[:4])}, begin so" if keys else "no run begins so"
            raise ConfigError(
                f"run: found {name!r}, and {found} in {workspace.root / 'runs'}; allowed: a run's folder, its key or "
                f"the beginning of that, or after a study the name of a run: pdstudy diff STUDY RUN RUN"
            )
        folder = workspace.root / "runs" / keys[0]
    config = read_run_file(folder, "config.json")
    assert config is not None
    return ComparedRun(folder.name, folder, stored_form(config))


def differing_fields(first: ComparedRun, second: ComparedRun) -> Rows:
    """The fields in which two configurations differ, dotted; "(absent)" where one lacks a field."""
    return differences(first.form, second.form)


def compared_results(first: ComparedRun, second: ComparedRun) -> Rows:
    """The results of two runs, and where they were made, as far as that differs; None where one has nothing yet."""
    one, two = (_results(run.folder) for run in (first, second))
    rows = [(name, one.get(name), two.get(name)) for name in dict.fromkeys((*one, *two))]
    found = [read_run_file(run.folder, "provenance.json") or {} for run in (first, second)]
    made = [(name, found[0].get(name), found[1].get(name)) for name in CIRCUMSTANCES]
    return rows + [(name, a, b) for name, a, b in made if a != b]


def _results(folder: Path) -> dict[str, Any]:
    status, result = RunDir(folder).status(), read_run_file(folder, "result.json")
    found: dict[str, Any] = {"state": status["state"]}
    if result is None:
        return {**found, **{name: status[name] for name in ("step", "steps") if name in status}}
    found |= {"steps": result.get("steps"), "tokens": result.get("tokens"), "train loss": result.get("train_loss")}
    for row in result["evals"]:
        if row.get("final", True):
            for metric in METRICS:
                if metric in row:
                    found.setdefault(f"{row['split']} {metric.replace('_', ' ')}", row[metric])
    measured: Mapping[str, Any] = {
        "student FLOPs": result["flops"].get("student"),
        "training seconds": result["seconds"].get("train"),
        "tokens/s": result.get("tokens_per_second"),
    }
    return {**found, **measured}
