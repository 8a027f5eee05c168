"""The command `search`. Imports nothing heavy: `pdstudy.cli` builds its parser with this."""

from __future__ import annotations

import argparse
import contextlib
import sys

from pdstudy.arguments import Command, Where, called, positive
from pdstudy.launch import processor_cores


def add(command: Command, where: Where) -> None:
    sub = command("search", _search, "look for the best runs of a space on this machine; goes on where it was")
    sub.add_argument("--slots", type=positive, metavar="N", help="worker processes (default: the processor's cores)")
    sub.add_argument(
        "--final", action="store_true", help="train the best trials so far on fresh seeds, beside the search's controls"
    )
    sub.set_defaults(where=where)


def _search(args: argparse.Namespace) -> int:
    return _final(args) if args.final else _look(args)


def _final(args: argparse.Namespace) -> int:
    import dataclasses

    from pdstudy.launch import run_plan
    from pdstudy.loading import load_search
    from pdstudy.progress import PlainView
    from pdstudy.record import write_record
    from pdstudy.search.final import final_plan
    from pdstudy.show import print_json

    search, workspace = load_search(args.study, args.scale), args.where(args)
    plan = final_plan(search, workspace)
    write_record(plan, workspace)
    with contextlib.redirect_stdout(sys.stderr) if args.json else contextlib.nullcontext():
        outcome = run_plan(plan, workspace, slots=args.slots or processor_cores(), view=PlainView())
    if args.json:
        print_json(dataclasses.asdict(outcome))
    if outcome.stopped:
        print(f"stopped; `pdstudy search {called(args)} --final` goes on from here", file=sys.stderr)
        return 130
    there = len(plan.items) - len(plan.todo)
    print(f"{len(outcome.done)} made, {there} were there. next: pdstudy report {called(args)}", file=sys.stderr)
    return 1 if outcome.failed or outcome.blocked else 0


def _look(args: argparse.Namespace) -> int:
    from pdstudy.loading import load_search
    from pdstudy.search.local import run_search, summary
    from pdstudy.show import print_json

    search, workspace = load_search(args.study, args.scale), args.where(args)
    with contextlib.redirect_stdout(sys.stderr) if args.json else contextlib.nullcontext():
        outcome = run_search(search, workspace, slots=args.slots or processor_cores())
    found = summary(search, workspace)
    if args.json:
        print_json(found)
    else:
        for row in found[:5]:
            print(f"trial {row['trial']}: {row['state']}, {row['values']}, {row['params']}")
    if outcome.stopped:
        print(f"stopped; `pdstudy search {called(args)}` goes on from here", file=sys.stderr)
        return 130
    return 1 if outcome.failed or outcome.blocked else 0
