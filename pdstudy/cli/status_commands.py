"""The commands `status` and `logs`. Imports nothing heavy: `pdstudy.cli.main` builds its parser with this."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from pdstudy.cli.arguments import AddCommand, positive_integer, study_call
from pdstudy.cli.tables import print_json
from pdstudy.cli.target import observed, workspace_of
from pdstudy.cli.terminal import say
from pdstudy.core.errors import ConfigError
from pdstudy.core.streams import printable
from pdstudy.plan.plan import Plan
from pdstudy.workspace.layout import Workspace

if TYPE_CHECKING:
    from pdstudy.slurm.cluster_status import ClusterStatus

WATCH_SECONDS = 15.0
"""Between two looks of `status --watch`."""

FOLLOW_SECONDS = 0.5
"""Between two looks of `logs --follow` at the log."""

STAMP = re.compile(r"^(?P<date>\d{4}-\d\d-\d\d) (?=\d\d:\d\d:\d\d )", re.MULTILINE)
"""The date at the beginning of a line of a log, before the time."""

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
"""Sequences by which libraries colour their messages."""


def add(command: AddCommand) -> None:
    sub = command("status", _status, "the state of every artifact of a study, or of a search so far; read-only")
    sub.add_argument("--watch", action="store_true", help="show it again and again; sends what a submit kept back")
    sub = command("logs", _logs, "the log of a run (or of its teacher, corpus or logits)", json=False)
    sub.add_argument("name", metavar="RUN", help="a pattern over names of runs, or: teacher, corpus, logits")
    sub.add_argument("-n", type=positive_integer, default=40, metavar="LINES", help="last lines to show (default 40)")
    sub.add_argument("-f", "--follow", action="store_true", help="go on showing lines as they come (one log)")


def _status(args: argparse.Namespace) -> int:
    if args.watch:
        return watch(args)
    plan, workspace = observed(args)
    _show(plan, workspace, as_json=args.json)
    return 0


def _show(plan: Plan, workspace: Workspace, *, as_json: bool) -> ClusterStatus | None:
    """Print the state of every artifact; returns what the cluster said of them."""
    from pdstudy.cli.slurm_tables import print_cluster
    from pdstudy.cli.status_tables import print_status
    from pdstudy.plan.artifact_state import states
    from pdstudy.plan.run_progress import run_progress
    from pdstudy.slurm.cluster_status import cluster_status

    cluster = cluster_status(plan, workspace)
    rows = cluster.rows if cluster is not None else {}
    if as_json:
        numbers = (vars(run_progress(artifact, workspace)) for artifact in plan.artifacts)
        print_json([more | row for row, more in zip(states(plan, workspace, rows), numbers, strict=True)])
        return cluster
    print_status(plan, workspace, rows)
    if cluster is not None:
        print_cluster(cluster)
    return cluster


def watch(args: argparse.Namespace) -> int:
    """Show a study until nothing of it is queued, running or kept back; send what was kept back when there is room."""
    from pdstudy.cli.slurm_tables import print_outcome
    from pdstudy.slurm.commands import top_up

    workspace = workspace_of(args)
    while True:
        plan = observed(args)[0]
        if sys.stdout.isatty():
            sys.stdout.write("\033[H\033[2J")
        cluster = _show(plan, workspace, as_json=False)
        if cluster is None or not (cluster.live or cluster.kept):
            return 0
        if cluster.kept:
            try:
                outcome = top_up(lambda: observed(args)[0], workspace, plan.study.name)
            except ConfigError as error:  # somebody else is submitting, or the controller does not answer
                say(str(error))
            else:
                if outcome is not None and outcome.sent:
                    print_outcome(plan, outcome, study_call(args))
        time.sleep(WATCH_SECONDS)


def _logs(args: argparse.Namespace) -> int:
    from pdstudy.slurm.cluster_status import job_stderr

    plan, workspace = observed(args)
    chosen = [
        a
        for a in plan.artifacts
        if a.kind == args.name or any(fnmatch(c, args.name) or c == args.name for c in a.cells)
    ]
    if not chosen:
        names = ", ".join(c.name for c in plan.study.cells[:3])
        raise ConfigError(f"no run matches {args.name!r}; runs are named like {names}, and: teacher, corpus, logits")
    if args.follow and len(chosen) > 1:
        raise ConfigError(f"-f follows one log; {args.name!r} matches {len(chosen)}")
    for artifact in chosen:
        log = artifact.log(workspace)
        say(f"== {artifact.kind} {printable(artifact.label)} ({log})")
        text = log.read_bytes() if log.exists() else b""
        lines = _without_dates(_log_text(text).splitlines()) or ["(nothing was logged)"]
        say("\n".join(lines[-args.n :]))
        if (words := job_stderr(artifact, workspace)) is not None:
            say(f"== standard error of job {words[0]}\n" + "\n".join(words[1].splitlines()[-args.n :]))
        if args.follow:
            follow(log, len(text))
    return 0


def _log_text(raw: bytes) -> str:
    """A log as text without colours; a progress bar's returns begin a line."""
    text = COLOUR.sub("", raw.decode(errors="replace")).replace("\r\n", "\n").replace("\r", "\n")
    return printable(text, keep="\n\t")


def _without_dates(lines: Sequence[str]) -> list[str]:
    """Lines of a log by the time of day, each date in a line before the first of it: a step fits 80 columns."""
    shown: list[str] = []
    last = ""
    for line in lines:
        found = STAMP.match(line)
        if found is not None and found["date"] != last:
            last = found["date"]
            shown.append(last)
        shown.append(STAMP.sub("", line))
    return shown


def follow(log: Path, position: int) -> None:
    """Print what a log has from `position` (bytes) on, until the user stops it; the log may not exist yet."""
    while True:
        if log.exists():
            with log.open("rb") as file:
                file.seek(position)
                added = file.read()
            position += len(added)
            sys.stdout.write(STAMP.sub("", _log_text(added)))
            sys.stdout.flush()
        time.sleep(FOLLOW_SECONDS)
