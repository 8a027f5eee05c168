"""The command `search`, and `plan` and `report` of a search.

Imports nothing heavy: `pdstudy.cli.main` builds its parser with this.
"""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING

from pdstudy.cli.arguments import AddCommand, message_stream, positive_integer, study_call
from pdstudy.cli.machine_options import WORKERS_HELP, add_gpus, machine_of
from pdstudy.cli.slurm_commands import add_request, make_request, send
from pdstudy.cli.tables import print_json
from pdstudy.cli.target import workspace_of
from pdstudy.cli.terminal import say, warn
from pdstudy.core.errors import ConfigError
from pdstudy.workspace.layout import Workspace

if TYPE_CHECKING:
    from pdstudy.analysis.data.excerpt import Report
    from pdstudy.search.search import Search

TRIALS_AT_A_TIME = 8
"""Trials under way on a cluster without `--workers`: the more there are, the less each learns from others."""

BEST_SHOWN = 5


def add(command: AddCommand) -> None:
    sub = command("search", _search, "look for the best runs of a space, here or on SLURM; goes on where it was")
    sub.add_argument(
        "--workers", type=positive_integer, metavar="N", help=f"{WORKERS_HELP}; with --slurm trials (default: 8)"
    )
    add_gpus(sub)
    sub.add_argument(
        "--final", action="store_true", help="train the best trials so far on fresh seeds, beside the search's controls"
    )
    sub.add_argument("--slurm", action="store_true", help="carry trials out as jobs of this machine's SLURM cluster")
    add_request(sub)


def _search(args: argparse.Namespace) -> int:
    if (args.slurm and args.gpus) or (args.retry and not args.slurm):
        raise ConfigError("--gpus is for this machine, --retry for jobs of a cluster (--slurm)")
    return _train_final(args) if args.final else _look(args)


def _train_final(args: argparse.Namespace) -> int:
    from pdstudy.cli.progress import PlainView
    from pdstudy.launch.local import run_plan
    from pdstudy.plan.record import write_record
    from pdstudy.search.final import make_final_plan
    from pdstudy.search.search_file import load_search

    workspace = workspace_of(args)
    search = load_search(args.study, args.scale, workspace)
    if args.slurm:
        return send(args, lambda: make_final_plan(search, workspace), make_request(args))  # a study like any other
    plan = make_final_plan(search, workspace)
    write_record(plan, workspace)
    here, view = machine_of(args, search.executions), PlainView(message_stream(args))
    outcome = run_plan(plan, workspace, workers=here.workers, view=view, devices=here.devices)
    if args.json:
        print_json(dataclasses.asdict(outcome))
    if outcome.stopped:
        warn(f"stopped; `pdstudy search {study_call(args)} --final` goes on from here")
        return 130
    there = len(plan.artifacts) - len(plan.todo)
    warn(f"{len(outcome.done)} made, {there} were there. next: pdstudy report {study_call(args)}")
    return 1 if outcome.failed or outcome.blocked else 0


def _look(args: argparse.Namespace) -> int:
    from pdstudy.cli.progress import SearchLines
    from pdstudy.cli.search_tables import trial_line
    from pdstudy.search.local_driver import run_search
    from pdstudy.search.progress import summary
    from pdstudy.search.search_file import load_search
    from pdstudy.search.slurm_driver import search_on_cluster

    workspace, view = workspace_of(args), SearchLines(message_stream(args))
    search = load_search(args.study, args.scale, workspace)
    if args.slurm:
        width = args.workers or TRIALS_AT_A_TIME
        outcome = search_on_cluster(search, workspace, make_request(args), width=width, view=view)
    else:
        here = machine_of(args, search.executions)
        outcome = run_search(search, workspace, workers=here.workers, view=view, devices=here.devices)
    found = summary(search, workspace)
    if args.json:
        print_json(found)
    else:
        best = [row for row in found if row["values"] is not None][:BEST_SHOWN]
        say("\n".join(trial_line(search, row) for row in best) or "no trial was trained in full")
    if outcome.stopped:
        call = study_call(args)
        cluster = f" --slurm` goes on from here, `pdstudy cancel {call}` ends the jobs"
        warn(f"stopped; `pdstudy search {call}{cluster if args.slurm else '` goes on from here'}")
        return 130
    warn(f"next: pdstudy report {study_call(args)}")
    return 1 if outcome.failed or outcome.blocked else 0


def plan(args: argparse.Namespace, search: Search, workspace: Workspace) -> int:
    """Carry out `pdstudy plan` of a file that declares a search."""
    from pdstudy.cli.search_tables import print_price
    from pdstudy.search.cost import priced

    shared, price = priced(search, workspace)
    if args.json:
        print_json({"search": search.name, **price})
    else:
        print_price(search, shared, price)
        say(f"next: pdstudy search {study_call(args)}")
    return 0


def make_report(search: Search, workspace: Workspace) -> Report:
    """The subject of `pdstudy report` for a file that declares a search."""
    from pdstudy.analysis.data.excerpt import Report
    from pdstudy.plan.record import make_record
    from pdstudy.search.final import make_final_plan
    from pdstudy.search.search_record import make_search_record

    record = make_search_record(search, workspace)
    chosen = search.final is not None and any(t["values"] and t["within"] for t in record["trials"])
    final = (make_record(make_final_plan(search, workspace)),) if chosen else ()
    return Report(search.title or search.name, final, record)
