"""What the trials of a search have taken of devices, and will take as far as they are asked."""

from __future__ import annotations

from collections.abc import Sequence

from optuna.trial import FrozenTrial

from pdstudy.config import Run
from pdstudy.files import read_json
from pdstudy.rundir import Workspace
from pdstudy.search.declare import Search
from pdstudy.search.plans import asked, trials_plan


def device_hours(search: Search, workspace: Workspace, trials: Sequence[FrozenTrial]) -> float:
    """Hours of devices for the runs of trials, up to the rung that each is on.

    What finished took is measured; what did not is estimated at the rate that finished runs had, a trunk that it may go
    on from left out. A run that failed counts as it was estimated. What all trials share (corpus, teacher, logits) and
    runs that were there before the search began are not counted.
    """
    plan = trials_plan(search, workspace, asked(search, trials))
    runs = [i for i in plan.items if i.kind == "student" and i.cells]
    estimated = plan.seconds(i for i in runs if not i.done)
    measured = sum(_seconds(workspace, i.subject) for i in runs if i.done and isinstance(i.subject, Run))
    return (estimated + measured) / 3600


def _seconds(workspace: Workspace, run: Run) -> float:
    """Device-seconds of a finished run's own steps: a trunk that it took over was another run's."""
    directory = workspace.run(run)
    result, made = directory.result() or {}, read_json(directory.path / "provenance.json") or {}
    seconds = result.get("seconds", {})
    taken_over = directory.branched_at / run.num_steps
    own = seconds.get("train", 0.0) * (1 - taken_over) + seconds.get("evaluate", 0.0) + seconds.get("save", 0.0)
    return float(own * made.get("ranks", 1))
