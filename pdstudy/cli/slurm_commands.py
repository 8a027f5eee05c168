"""The commands `submit`, `cancel` and `gc`. Imports nothing heavy: `pdstudy.cli.main` builds its parser with this."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pdstudy.cli.arguments import Command, Where, called
from pdstudy.plan.plan import Plan
from pdstudy.workspace.layout import Workspace

if TYPE_CHECKING:
    from pdstudy.slurm.commands import Request


RETRY = ("exception", "oom", "time", "killed", "lost", "all")


Planned = Callable[[argparse.Namespace, str | None], tuple[Plan, Workspace]]


def add_submit_and_cancel(command: Command, planned: Planned, seen: Planned, where: Where) -> None:
    """`seen` gives the plan of a study, or of what a search has asked for."""
    sub = command("submit", _submit, "send all that a study lacks to SLURM and return; safe to repeat")
    sub.set_defaults(planned=planned, where=where)
    sub.add_argument("--only", metavar="PATTERN", help="only cells whose name matches, and what they need; no report")
    add_request(sub)
    sub.add_argument("--dry-run", action="store_true", help="the price, and each array's sbatch text; sends nothing")
    sub = command("cancel", _cancel, "cancel a study's queued and running jobs, or a search's")
    sub.set_defaults(planned=seen, where=where)
    sub.add_argument("--only", metavar="PATTERN", help="only cells whose name matches, and what no other cell needs")


def add_request(sub: argparse.ArgumentParser) -> None:
    """What may be asked of the cluster: `request` reads it."""
    sub.add_argument("--profile", metavar="NAME", help="a profile of pdstudy.toml (default: its `profile`)")
    sub.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="[STAGE.]FIELD=VALUE",
        help="over the profile, e.g. student.gpus=8",
    )
    sub.add_argument(
        "--retry",
        action="append",
        default=[],
        metavar="CAUSE",
        choices=RETRY,
        help=f"also send what a submit does not send again by itself, by the cause of its failure: {', '.join(RETRY)} "
        f"(oom: with twice the memory)",
    )


def request(args: argparse.Namespace, only: str | None = None) -> Request:
    from pdstudy.slurm.commands import Request

    return Request(args.profile, tuple(args.set), tuple(args.retry), only)


def add_gc(command: Command, where: Where) -> None:
    sub = command("gc", _gc, "what the workspace no longer needs: job files, old code, dead claims", study=False)
    sub.set_defaults(where=where)
    sub.add_argument("--delete", action="store_true", help="delete it (without: only list it)")


def _submit(args: argparse.Namespace) -> int:
    from pdstudy.cli.slurm_tables import print_preview
    from pdstudy.cli.tables import print_json
    from pdstudy.slurm.commands import preview

    asked = request(args, args.only)
    if args.dry_run:
        plan, workspace = args.planned(args, args.only)
        units, arrays = preview(plan, workspace, asked)
        if args.json:
            print_json([{"stage": a.stage, "elements": a.keys, "sbatch": text} for a, text in arrays])
        else:
            print_preview(plan, units, arrays)
        return 0
    return send(args, lambda: args.planned(args, args.only)[0], asked)


def send(args: argparse.Namespace, planned: Callable[[], Plan], asked: Request) -> int:
    """Send what a plan lacks, and print what was sent; the exit code."""
    from pdstudy.cli.slurm_tables import outcome_json, print_outcome
    from pdstudy.cli.tables import print_json
    from pdstudy.slurm.commands import submit_study

    plan, outcome = submit_study(planned, args.where(args), asked)
    if args.json:
        print_json(outcome_json(outcome))
    else:
        print_outcome(plan, outcome, called(args))
    return 1 if outcome.refused else 0


def _cancel(args: argparse.Namespace) -> int:
    from pdstudy.cli.tables import print_json
    from pdstudy.slurm.commands import cancel_study, drop_shared

    plan, workspace = args.planned(args, args.only)
    if args.only is not None:
        plan = drop_shared(plan, args.planned(args, None)[0])
    cancelled, others = cancel_study(plan, workspace)
    if args.json:
        print_json({"cancelled": cancelled, "sent_by_other_studies": others})
        return 0
    if not cancelled:
        print("none of these is queued or running")
        return 0
    shared = f" ({len(others)} of them sent by other studies)" if others else ""
    print(f"cancelled the jobs of {len(cancelled)} artifacts{shared}; the next submit, or search, sends them again")
    return 0


def _gc(args: argparse.Namespace) -> int:
    from pdstudy.cli.slurm_tables import print_waste
    from pdstudy.cli.tables import print_json
    from pdstudy.slurm.gc import delete_waste, find_waste

    found: list[Any] = (delete_waste if args.delete else find_waste)(args.where(args))
    if args.json:
        print_json([{"path": str(w.path), "bytes": w.bytes, "why": w.why} for w in found])
    else:
        print_waste(found, deleted=args.delete)
    return 0
