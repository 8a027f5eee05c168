"""From which checkpoint of another run one may start that begins like it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

from pdstudy.config import Run, normal_form
from pdstudy.course import lasting_steps, shared_steps
from pdstudy.rundir import RunDir
from pdstudy.train.checkpoint import step_of, whole


def starting_point(run: Run, relatives: Iterable[RunDir], limit: float = math.inf) -> tuple[RunDir, Path] | None:
    """The latest checkpoint among `relatives` that lies on the way of `run`, and stays where it is.

    `limit`: steps after which the run has something of its own to write. Among `relatives` may be the run itself,
    held by this process: all its checkpoints stay.
    """
    found: list[tuple[int, RunDir, Path]] = []
    for relative in relatives:
        theirs = relative.config()
        shared = shared_steps(run, theirs)
        stays = {*lasting_steps(theirs), theirs.num_steps if relative.result() else 0}
        found += [
            (step_of(path), relative, path)
            for path in whole(relative.checkpoints)
            if (step_of(path) in stays or theirs == normal_form(run)) and step_of(path) <= min(shared, limit)
        ]
    if not found:
        return None
    _, relative, path = max(found, key=lambda item: item[0])
    return relative, path
