"""The command `mirror`. Imports nothing heavy: `pdstudy.cli.main` builds its parser with this."""

from __future__ import annotations

import argparse

from pdstudy.cli.arguments import AddCommand, study_call
from pdstudy.cli.target import observed
from pdstudy.cli.terminal import say, warn
from pdstudy.core.claim import Claim
from pdstudy.core.errors import ConfigError
from pdstudy.mirror import TRACKERS, Follower, MirroredRun, make_tracker
from pdstudy.plan.plan import Plan
from pdstudy.search.search_file import find_search
from pdstudy.workspace.layout import Workspace


def add(command: AddCommand) -> None:
    sub = command("mirror", _mirror, "show a study's runs in TensorBoard, W&B, Trackio or MLflow too", json=False)
    sub.add_argument(
        "--to", required=True, choices=tuple(TRACKERS), help="the tool; writes here unless it is set up else"
    )
    sub.add_argument("--only", metavar="PATTERN", help="only runs whose name matches, e.g. '*loss=KD*seed=0'")
    sub.add_argument(
        "-f", "--follow", action="store_true", help="go on with rows as they come, until every run has ended"
    )


def _mirror(args: argparse.Namespace) -> int:
    plan, workspace = observed(args, args.only)
    runs = _mirrored(plan, workspace)
    begun = sum((run.folder / "metrics.jsonl").exists() for run in runs)
    if not runs or not (begun or args.follow):
        raise ConfigError(
            f"{plan.study.name} has no runs to mirror yet: found {begun} of {len(runs)} begun; "
            f"begin some: {_command_that_trains(args, workspace)}"
        )
    mirrors, project = workspace.root / "mirrors", plan.study.name
    sent = mirrors / "sent" / args.to / project
    with Claim(sent.parent / f"{project}.claim", f"the mirror of {project} in {args.to}"):
        tracker = make_tracker(args.to, project, mirrors / args.to)
        follower = Follower(tracker, runs, sent)
        try:
            count = follower.look()
            say(f"{count:,} rows of {len(runs)} runs sent; look: {tracker.how_to_look}")
            if args.follow:
                follower.follow(warn)
        finally:
            follower.close()
    return 0


def _command_that_trains(args: argparse.Namespace, workspace: Workspace) -> str:
    command = "run" if find_search(args.study, args.scale, workspace) is None else "search"
    return f"pdstudy {command} {study_call(args)}"


def _mirrored(plan: Plan, workspace: Workspace) -> list[MirroredRun]:
    """The runs of a plan, each once, by their first name; teachers and finetuning by their label."""
    labels = {cell.name: cell.labels for cell in plan.study.cells}
    found = []
    for run in plan.runs:
        name = run.cells[0] if run.cells else f"{run.role} {run.label}"
        found.append(MirroredRun(run.directory(workspace).path, name, labels.get(name, {"role": run.role})))
    return found
