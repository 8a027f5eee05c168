"""The commands `plan` and `run`. Imports nothing heavy: `pdstudy.cli.main` builds its parser with this."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import shlex
import sys

from pdstudy.cli import search_commands
from pdstudy.cli.arguments import AddCommand, message_stream, positive_integer, study_call
from pdstudy.cli.machine_options import WORKERS_HELP, add_gpus, add_rules, machine_of
from pdstudy.cli.machine_tables import machine_lines
from pdstudy.cli.tables import print_json
from pdstudy.cli.target import planned, workspace_of
from pdstudy.cli.terminal import say, say_warning, warn
from pdstudy.core.streams import printable
from pdstudy.launch.local import RunOutcome
from pdstudy.plan.plan import Plan
from pdstudy.plan.study_plan import member_plans
from pdstudy.search.search_file import find_search
from pdstudy.workspace.layout import Workspace

LABELS_SHOWN = 5
"""Failed artifacts that `run` names at its end; each has had a line with its reason when it failed."""


def add_plan_and_run(command: AddCommand) -> None:
    sub = command("plan", _plan, "what a study needs, what of it exists, and what the rest will cost; changes nothing")
    sub.add_argument(
        "--explain", action="store_true", help="for each run: exists, or which fields differ from the nearest"
    )
    sub.add_argument(
        "--sd",
        type=_positive_number,
        metavar="NATS",
        help="standard deviation over seeds of differences in test loss, for the smallest difference that the study "
        "can show; default: that of finished runs of its sizes in the workspace",
    )
    add_gpus(sub)
    add_rules(sub)
    sub.set_defaults(workers=None)
    sub = command("run", _run, "make all that a study lacks on this machine; safe to repeat, goes on where it was")
    sub.add_argument("--workers", type=positive_integer, metavar="N", help=WORKERS_HELP)
    add_gpus(sub)
    add_rules(sub)
    sub.add_argument("--only", metavar="PATTERN", help="only runs whose name matches, e.g. '*loss=KD*seed=0'")
    sub.add_argument(
        "--steps", type=int, help="try it: this many steps per run, in this process, in a workspace of its own"
    )
    sub.add_argument("--plain", action="store_true", help="plain lines even on a terminal")


def _positive_number(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"found {text}; allowed: above 0")
    return number


def _plan(args: argparse.Namespace) -> int:
    from pdstudy.cli.plan_tables import plan_json, print_plan

    search = find_search(args.study, args.scale, workspace_of(args))
    if search is not None:
        return search_commands.plan(args, search, workspace_of(args))
    plan, workspace = planned(args)
    here = machine_of(args, plan.study.executions)
    if args.json:
        print_json(plan_json(plan, workspace, here, why=args.explain, sd=args.sd))
    else:
        print_plan(plan, workspace, here, why=args.explain, call=study_call(args), sd=args.sd)
    return 0


def _run(args: argparse.Namespace) -> int:
    from pdstudy.plan.record import write_record

    plan, workspace = planned(args, args.only)
    if args.steps is not None:
        return _try(args, plan, workspace)
    # A workspace that can't be written, and lacks nothing, has been read by others before.
    with contextlib.nullcontext() if plan.todo else contextlib.suppress(OSError):
        for part in member_plans(plan, workspace) if args.only is None else ():
            write_record(part, workspace)
    outcome = _make(args, plan, workspace) if plan.todo else RunOutcome()
    if args.json:
        print_json(dataclasses.asdict(outcome))
    elif not plan.todo:
        say(f"{plan.study.name}: all {len(plan.artifacts)} artifacts exist in {workspace.root}; nothing to do")
    if outcome.stopped:
        only = "" if args.only is None else f" --only {shlex.quote(args.only)}"
        warn(f"stopped; `pdstudy run {study_call(args)}{only}` goes on from here")
        return 130
    if outcome.failed or outcome.blocked:
        return 1
    if plan.todo:
        say(f"done: {len(outcome.done)} made. next: pdstudy report {study_call(args)}", file=message_stream(args))
    return 0


def _make(args: argparse.Namespace, plan: Plan, workspace: Workspace) -> RunOutcome:
    """Make what a plan lacks, and print how that goes and what did not end well."""
    from pdstudy.cli.plan_price import price_line
    from pdstudy.cli.progress import LiveView, PlainView
    from pdstudy.launch.local import run_plan

    here = machine_of(args, plan.study.executions)
    stream = message_stream(args)
    say(f"{price_line(plan, here)} ({plan.rate_source})", file=stream, style="bold")
    for line in machine_lines(plan, here):
        say(line, file=stream)
    for words in here.warnings(plan):
        say_warning(words, file=stream)
    plain = args.plain or args.json or not sys.stdout.isatty()
    view = PlainView(stream) if plain else LiveView()
    outcome = run_plan(plan, workspace, workers=here.workers, view=view, devices=here.devices)
    labels = {a.key: a.label for a in plan.artifacts}
    if outcome.failed:
        call = study_call(args)
        names = _listed([f"{a.kind} {a.label}" for a in plan.artifacts if a.key in outcome.failed])
        warn(f"failed: {names}; `pdstudy status {call}` says why, `pdstudy logs {call} NAME` shows a log")
    for key in outcome.diverged:
        warn(f"diverged: {printable(labels[key])} ({key}); it is kept as a result")
    if outcome.blocked:
        warn(f"not started, since what they need is missing: {len(outcome.blocked)} artifacts")
    return outcome


def _listed(labels: list[str]) -> str:
    more = f" and {len(labels) - LABELS_SHOWN} more" if len(labels) > LABELS_SHOWN else ""
    return ", ".join(map(printable, labels[:LABELS_SHOWN])) + more


def _try(args: argparse.Namespace, plan: Plan, workspace: Workspace) -> int:
    """Cut the runs short, in this process, to see that they work before they cost."""
    from pdstudy.launch.smoke_test import try_folder, try_runs

    if args.gpus is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = machine_of(args, ()).gpus[0].id
    tried = []
    for row in try_runs(plan.study, workspace, args.steps):
        tried.append(dataclasses.asdict(row))
        losses = ", ".join(f"{split} {loss:.3f}" for split, loss in row.losses)
        tail = f", {row.tokens_per_second:,.0f} tokens/s, loss after {args.steps} steps: {losses}" if losses else ""
        say(f"{row.kind} {printable(row.name)}: {row.state}{tail}", file=message_stream(args))
    say(
        f"tried in {try_folder(workspace).root}; nothing of it counts as a result of the study",
        file=message_stream(args),
    )
    if args.json:
        print_json(tried)
    return 0
