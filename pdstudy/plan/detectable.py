"""The smallest difference that a study's seeds can show, from the scatter of finished runs of its sizes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pdstudy.config.evaluation import Heldout
from pdstudy.config.run import Run
from pdstudy.core.format import si
from pdstudy.core.identity import encode, fingerprint
from pdstudy.core.power import LEVEL, POWER, smallest_effect
from pdstudy.core.run_files import whole_run_file
from pdstudy.plan.cost import sizes
from pdstudy.study.collection import Collection
from pdstudy.study.study import Study
from pdstudy.workspace.layout import Workspace

MOST_RUNS = 2000
"""Finished runs that are looked at, newest first: a plan takes less than a second."""


@dataclass(frozen=True)
class Detectable:
    """The smallest difference that a study can show at one student size.

    `sd` is the standard deviation over seeds of paired differences in test loss (nats per token), `effect` the smallest
    difference that is shown with a chance of `POWER`, both None where no runs tell them; `comparisons` are those that
    share the level.
    """

    student: str
    seeds: int
    comparisons: int
    sd: float | None
    effect: float | None
    source: str

    def __str__(self) -> str:
        head = f"smallest difference that {self.seeds} seeds show, {self.student}"
        if self.effect is None:
            return f"{head}: not known, {self.source}"
        if math.isinf(self.effect):
            return f"{head}: none, one seed tells no difference from noise"
        over = f", over {self.comparisons} comparisons" if self.comparisons > 1 else ""
        return (
            f"{head}: {self.effect:.2g} nats per token of test loss with a chance of {POWER:.0%} at {LEVEL:.0%}{over}; "
            f"standard deviation of differences {self.sd:.2g}, {self.source}"
        )


def detectable(study: Study, workspace: Workspace, sd: float | None = None) -> list[Detectable]:
    """One entry per student size of a study with a baseline, in its order; of a collection one per size, for the study
    that compares most. `sd`: the user's own figure for all."""
    if isinstance(study, Collection):
        found = [each for member in study.studies for each in detectable(member, workspace, sd)]
        most = sorted(found, key=lambda each: -each.comparisons)
        return [next(each for each in most if each.student == size) for size in dict.fromkeys(e.student for e in found)]
    if not study.baseline:
        return []
    arms: dict[str, set[tuple[tuple[str, str], ...]]] = {}
    runs: dict[str, Run] = {}
    for cell in study.cells:
        size = fingerprint(cell.run.student)
        arms.setdefault(size, set()).add(tuple(sorted(cell.labels.items())))
        runs[size] = cell.run
    baseline = set(study.baseline.items())
    compared = sum(not baseline <= set(labels) for found in arms.values() for labels in found)
    scores = {} if sd is not None else _read_scores(study, workspace)
    made = []
    for run in runs.values():
        student = json.dumps(encode(run.student), sort_keys=True)
        measured, count = (sd, 0) if sd is not None else _spread(scores.get(student, {}))
        source = "as given" if sd is not None else f"of {count} finished runs here"
        if measured is None:
            source = "no two settings of its size have finished with two seeds here; give --sd"
        seeds = len(study.seeds)
        effect = None if measured is None else smallest_effect(measured, seeds, max(1, compared))
        name = f"{si(sizes(run)[0])} parameters"
        made.append(Detectable(name, seeds, compared, measured, effect, source))
    return made


def _read_scores(study: Study, workspace: Workspace) -> dict[str, dict[str, dict[int, float]]]:
    """Final test losses of the workspace's finished runs, by student, by setting (all but the seed), by seed."""
    wanted = {fingerprint(e) for e in study.evaluations if isinstance(e, Heldout) and e.data.split == "test"}
    found: dict[str, dict[str, dict[int, float]]] = {}
    for stored, result in _finished(workspace):
        losses = [e["loss"] for e in result["evals"] if e["eval"] in wanted]
        if losses:
            size = json.dumps(stored["student"], sort_keys=True)
            setting = json.dumps({k: v for k, v in stored.items() if k != "seed"}, sort_keys=True)
            found.setdefault(size, {}).setdefault(setting, {})[stored["seed"]] = losses[-1]
    return found


def _finished(workspace: Workspace) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Configuration and result of finished runs."""
    results = sorted((workspace.root / "runs").glob("*/result.json"), key=lambda p: p.stat().st_mtime, reverse=True)
    for path in results[:MOST_RUNS]:
        result, config = whole_run_file(path.parent, "result.json"), whole_run_file(path.parent, "config.json")
        if result and config and result["state"] == "done" and "student" in config["run"]:
            yield config["run"], result


def _spread(settings: Mapping[str, Mapping[int, float]]) -> tuple[float | None, int]:
    """Standard deviation of differences between settings at equal seeds, pooled over pairs with the setting that has
    most seeds, and the runs that tell it."""
    known = sorted((s for s in settings.values() if len(s) > 1), key=len, reverse=True)
    squares, dof, runs = 0.0, 0, 0
    for other in known[1:]:
        shared = sorted(known[0].keys() & other.keys())
        if len(shared) > 1:
            differences = [other[seed] - known[0][seed] for seed in shared]
            mean = sum(differences) / len(differences)
            squares += sum((d - mean) ** 2 for d in differences)
            dof += len(differences) - 1
            runs += len(shared)
    return (math.sqrt(squares / dof), runs + len(known[0])) if dof else (None, 0)
