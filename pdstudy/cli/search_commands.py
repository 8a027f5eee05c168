"""The command `search`. Imports nothing heavy: `pdstudy.cli.main` builds its parser with this."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pdstudy.cli.arguments import Command, Where, called, positive
from pdstudy.cli.slurm_commands import add_request, request, send
from pdstudy.core.errors import ConfigError
from pdstudy.launch.local import processor_cores
from pdstudy.workspace.layout import Workspace

if TYPE_CHECKING:
    from pdstudy.search.search import Search


TRIALS_AT_A_TIME = 8
"""On a cluster, where nothing else is asked for: more learn less from each other."""


def add(command: Command, where: Where) -> None:
    sub = command("search", _search, "look for the best runs of a space, here or on SLURM; goes on where it was")
    sub.add_argument(
        "--workers",
        type=positive,
        metavar="N",
        help="worker processes (default: the processor's cores); with --slurm trials at a time (default: 8)",
    )
    sub.add_argument(
        "--final", action="store_true", help="train the best trials so far on fresh seeds, beside the search's controls"
    )
    sub.add_argument("--slurm", action="store_true", help="carry trials out as jobs of this machine's SLURM cluster")
    add_request(sub)
    sub.set_defaults(where=where)


def _search(args: argparse.Namespace) -> int:
    if not args.slurm and (args.profile or args.set or args.retry):
        raise ConfigError("--profile, --set and --retry are for jobs of a cluster: add --slurm")
    return _final(args) if args.final else _look(args)


def _final(args: argparse.Namespace) -> int:
    import dataclasses

    from pdstudy.cli.tables import print_json
    from pdstudy.launch.local import run_plan
    from pdstudy.launch.progress import PlainView
    from pdstudy.plan.record import write_record
    from pdstudy.search.final import make_final_plan
    from pdstudy.search.search_file import load_search

    search, workspace = load_search(args.study, args.scale), args.where(args)
    if args.slurm:
        return send(args, lambda: make_final_plan(search, workspace), request(args))  # a study like any other
    plan = make_final_plan(search, workspace)
    write_record(plan, workspace)
    with contextlib.redirect_stdout(sys.stderr) if args.json else contextlib.nullcontext():
        outcome = run_plan(plan, workspace, slots=args.workers or processor_cores(), view=PlainView())
    if args.json:
        print_json(dataclasses.asdict(outcome))
    if outcome.stopped:
        print(f"stopped; `pdstudy search {called(args)} --final` goes on from here", file=sys.stderr)
        return 130
    there = len(plan.items) - len(plan.todo)
    print(f"{len(outcome.done)} made, {there} were there. next: pdstudy report {called(args)}", file=sys.stderr)
    return 1 if outcome.failed or outcome.blocked else 0


def _look(args: argparse.Namespace) -> int:
    from pdstudy.cli.tables import print_json
    from pdstudy.search.local_driver import run_search
    from pdstudy.search.progress import line, summary
    from pdstudy.search.search_file import load_search
    from pdstudy.search.slurm_driver import search_on_cluster

    search, workspace = load_search(args.study, args.scale), args.where(args)
    with contextlib.redirect_stdout(sys.stderr) if args.json else contextlib.nullcontext():
        if args.slurm:
            outcome = search_on_cluster(search, workspace, request(args), width=args.workers or TRIALS_AT_A_TIME)
        else:
            outcome = run_search(search, workspace, slots=args.workers or processor_cores())
    found = summary(search, workspace)
    if args.json:
        print_json(found)
    else:
        best = [row for row in found if row["values"] is not None][:5]
        print("\n".join(line(search, row) for row in best) or "no trial was trained in full")
    if outcome.stopped:
        how = f"{called(args)} --slurm` goes on from here, `pdstudy cancel {called(args)}` ends the jobs"
        print(
            f"stopped; `pdstudy search {how if args.slurm else f'{called(args)}` goes on from here'}", file=sys.stderr
        )
        return 130
    print(f"next: pdstudy report {called(args)}", file=sys.stderr)
    return 1 if outcome.failed or outcome.blocked else 0


def plan(args: argparse.Namespace, search: Search, workspace: Workspace) -> int:
    """`pdstudy plan` of a file that declares a search."""
    from pdstudy.cli.search_tables import print_price
    from pdstudy.cli.tables import print_json
    from pdstudy.search.cost import priced

    shared, price = priced(search, workspace)
    if args.json:
        print_json({"search": search.name, **price})
    else:
        print_price(search, shared, price)
        print(f"next: pdstudy search {called(args)}")
    return 0


def report(args: argparse.Namespace, search: Search, workspace: Workspace) -> int:
    """`pdstudy report` of a file that declares a search."""
    from pdstudy.analysis.report.search_page import build_search
    from pdstudy.cli.tables import print_json
    from pdstudy.plan.record import make_record
    from pdstudy.search.final import make_final_plan
    from pdstudy.search.search_record import make_search_record

    record = make_search_record(search, workspace)
    chosen = search.final is not None and any(t["values"] and t["within"] for t in record["trials"])
    final = make_record(make_final_plan(search, workspace)) if chosen else None
    out = args.out or Path("reports") / search.name
    text = build_search(workspace.root, record, final, out)
    if args.json:
        print_json({"page": str(out / "index.html")})
    else:
        print(f"{text}\n{out / 'index.html'}")
    return 0
