"""`status`, once or again and again, and `logs -f`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from pdstudy.cli.plan_tables import print_status
from pdstudy.cli.slurm_tables import print_outcome, some
from pdstudy.cli.tables import print_json
from pdstudy.core.errors import ConfigError
from pdstudy.plan.artifact_state import states
from pdstudy.plan.plan import Plan
from pdstudy.slurm import cluster_status as seeing
from pdstudy.slurm.commands import top_up
from pdstudy.workspace.layout import Workspace

EVERY_SECONDS = 15.0


FOLLOW_SECONDS = 0.5


def show(plan: Plan, workspace: Workspace, *, as_json: bool) -> seeing.ClusterStatus | None:
    """Print the state of every item; what the cluster said of them."""
    sight = seeing.cluster_status(plan, workspace)
    rows = sight.rows if sight is not None else {}
    if as_json:
        print_json(states(plan, workspace, rows))
        return sight
    print_status(plan, workspace, rows)
    if sight is not None and sight.kept:
        print(f"{len(sight.kept)} kept back: {sight.reason}")
    if sight is not None and sight.held:
        print(f"SLURM holds {some(sight.held)}: a node could not start it, or it started too often; "
              "`pdstudy submit`, by whoever sent it, releases it")  # fmt: skip
    if sight is not None and not sight.answered:
        print("the scheduler does not answer: what was sent is shown as the files have it")
    return sight


def watch(planned: Callable[[], Plan], workspace: Workspace, call: str) -> int:
    """Show a study until nothing of it is queued, running or kept back; send what was kept back when there is room."""
    while True:
        if sys.stdout.isatty():
            print("\033[H\033[2J", end="")
        plan = planned()
        sight = show(plan, workspace, as_json=False)
        if sight is None or not (sight.live or sight.kept):
            return 0
        if sight.kept:
            try:
                outcome = top_up(planned, workspace, plan.study.name)
            except ConfigError as error:  # somebody else is submitting, or the controller does not answer
                print(error)
            else:
                if outcome is not None and outcome.sent:
                    print_outcome(plan, outcome, call)
        sys.stdout.flush()
        time.sleep(EVERY_SECONDS)


def follow(log: Path, position: int) -> None:
    """Print what a log has from `position` (bytes) on, until the user stops it; the log may not exist yet."""
    while True:
        if log.exists():
            with log.open("rb") as file:
                file.seek(position)
                added = file.read()
            position += len(added)
            sys.stdout.write(added.decode(errors="replace"))
            sys.stdout.flush()
        time.sleep(FOLLOW_SECONDS)
