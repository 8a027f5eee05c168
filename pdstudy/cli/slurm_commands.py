"""The commands `submit`, `cancel` and `gc`. Imports nothing heavy: `pdstudy.cli.main` builds its parser with this."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from pdstudy.cli.arguments import AddCommand, study_call
from pdstudy.cli.machine_options import add_rules
from pdstudy.cli.tables import print_json
from pdstudy.cli.target import observed, planned, workspace_of
from pdstudy.cli.terminal import say, warn
from pdstudy.plan.plan import Plan

if TYPE_CHECKING:
    from pdstudy.slurm.commands import Request

RETRY = ("exception", "oom", "time", "killed", "lost", "all")
"""Causes of failure that `--retry` takes."""


def add_submit_and_cancel(command: AddCommand) -> None:
    sub = command("submit", _submit, "send all that a study lacks to SLURM and return; safe to repeat")
    sub.add_argument("--only", metavar="PATTERN", help="only runs whose name matches, and what they need; no report")
    add_request(sub)
    sub.add_argument("--dry-run", action="store_true", help="the price, and each array's sbatch text; sends nothing")
    sub = command("cancel", _cancel, "cancel a study's queued and running jobs, or a search's")
    sub.add_argument("--only", metavar="PATTERN", help="only runs whose name matches, and what no other run needs")


def add_request(sub: argparse.ArgumentParser) -> None:
    """Add the options that say how jobs run; `make_request` reads them."""
    add_rules(sub)
    sub.add_argument(
        "--retry",
        action="append",
        default=[],
        metavar="CAUSE",
        choices=RETRY,
        help=f"also send what a submit does not send again by itself, by the cause of its failure: {', '.join(RETRY)} "
        f"(oom: with twice the memory)",
    )


def make_request(args: argparse.Namespace, only: str | None = None) -> Request:
    """The options of `add_request` as one object."""
    from pdstudy.slurm.commands import Request

    return Request(args.profile, tuple(args.set), tuple(args.retry), only)


def add_gc(command: AddCommand) -> None:
    sub = command("gc", _gc, "what the workspace no longer needs: job files, old code, dead claims", study=False)
    sub.add_argument("--delete", action="store_true", help="delete it (without: only list it)")


def _submit(args: argparse.Namespace) -> int:
    from pdstudy.cli.slurm_tables import print_preview
    from pdstudy.slurm.commands import preview

    request = make_request(args, args.only)
    if args.dry_run:
        plan, workspace = planned(args, args.only)
        jobs, arrays = preview(plan, workspace, request)
        if args.json:
            print_json([{"stage": a.stage, "elements": a.keys, "sbatch": text} for a, text in arrays])
        else:
            print_preview(plan, jobs, arrays)
        return 0
    return send(args, lambda: planned(args, args.only)[0], request)


def send(args: argparse.Namespace, make_plan: Callable[[], Plan], request: Request) -> int:
    """Send what a plan lacks and print what was sent; returns the exit code."""
    from pdstudy.cli.slurm_tables import outcome_json, print_outcome
    from pdstudy.slurm.commands import submit_study

    plan, outcome = submit_study(make_plan, workspace_of(args), request, note=warn)
    if args.json:
        print_json(outcome_json(outcome))
    else:
        print_outcome(plan, outcome, study_call(args))
    return 1 if outcome.refused else 0


def _cancel(args: argparse.Namespace) -> int:
    from pdstudy.slurm.commands import cancel_study, drop_shared

    plan, workspace = observed(args, args.only)
    if args.only is not None:
        plan = drop_shared(plan, observed(args)[0])
    outcome = cancel_study(plan, workspace, note=warn)
    cancelled, others = outcome.cancelled, outcome.sent_by_others
    if args.json:
        print_json({"cancelled": cancelled, "sent_by_other_studies": others, "earlier": outcome.earlier})
        return 0
    if outcome.earlier:
        say(f"cancelled {len(outcome.earlier)} jobs of an earlier declaration of {plan.study.name}")
    if cancelled:
        shared = f" ({len(others)} of them sent by other studies)" if others else ""
        say(f"cancelled the jobs of {len(cancelled)} artifacts{shared}; the next submit, or search, sends them again")
    elif not outcome.earlier:
        say("none of these is queued or running")
    return 0


def _gc(args: argparse.Namespace) -> int:
    from pdstudy.cli.slurm_tables import print_waste
    from pdstudy.slurm.gc import delete_waste, find_waste

    found = delete_waste(workspace_of(args), warn) if args.delete else find_waste(workspace_of(args))
    if args.json:
        print_json([{"path": str(w.path), "bytes": w.bytes, "why": w.why} for w in found])
    else:
        print_waste(found, deleted=args.delete)
    return 0
