"""Results of the runs of a trial, read from run directories, and the numbers that a search makes of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pdstudy.config.normal_form import normal_form
from pdstudy.config.run import Run
from pdstudy.core.identity import fingerprint
from pdstudy.search.objectives import Quantity
from pdstudy.search.search import Search
from pdstudy.workspace.layout import Workspace


@dataclass(frozen=True)
class RunResult:
    """The result of one run: its newest row of the search's evaluation, or none where it diverged or failed."""

    row: Mapping[str, Any] | None = None
    state: str = "done"
    """done, diverged or failed."""


ResultReader = Callable[[Run], RunResult | None]
"""Reads the result of a run; None where it is not finished."""


@dataclass(frozen=True)
class TrialScores:
    """A trial in numbers: its objectives, and by constraint how far it is beyond the bound (0 or less: within)."""

    values: list[float]
    excess: dict[str, float]

    @property
    def finite(self) -> bool:
        return all(map(math.isfinite, [*self.values, *self.excess.values()]))


def read_run_result(search: Search, workspace: Workspace, run: Run, failed: Collection[str]) -> RunResult | None:
    """The result of a run as its directory has it. `failed`: keys of runs that did not come to an end."""
    key = fingerprint(normal_form(run))
    if key in failed:
        return RunResult(state="failed")
    result = workspace.run(run).result()
    if result is None:
        return None
    if result["state"] != "done":
        return RunResult(state=result["state"])
    rows = [r for r in result["evals"] if r["eval"] == fingerprint(search.validation)]
    return RunResult({**rows[-1], "train_seconds": result["seconds"]["train"]}) if rows else None


def score_runs(search: Search, runs: Sequence[Run], rows: Sequence[Mapping[str, Any]]) -> TrialScores:
    """The means over a trial's seeds, from its runs at their whole length and their rows, one per seed."""

    def mean(quantity: Quantity) -> float:
        return sum(quantity.value(run, row) for run, row in zip(runs, rows, strict=True)) / len(runs)

    excess = {c.name: mean(c.quantity) - c.bound for c in search.constraints}
    return TrialScores([mean(quantity) for quantity in search.objectives], excess)
