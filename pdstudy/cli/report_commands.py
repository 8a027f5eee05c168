"""The commands `results` and `report`. Imports nothing heavy: `pdstudy.cli.main` builds its parser with this."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pdstudy.cli import search_commands
from pdstudy.cli.arguments import AddCommand
from pdstudy.cli.progress import slow_work
from pdstudy.cli.tables import print_json
from pdstudy.cli.target import planned, workspace_of
from pdstudy.cli.terminal import say
from pdstudy.plan.plan import Plan
from pdstudy.plan.study_plan import member_plans
from pdstudy.search.search_file import find_search
from pdstudy.workspace.layout import Workspace


def add(command: AddCommand) -> None:
    sub = command("results", _results, "one row per run, failed and diverged ones included")
    sub.add_argument("--csv", type=Path, help="write the full table here")
    sub = command("report", _report, "figures, tables and one HTML page of a study or a search; works on partial data")
    sub.add_argument("--out", type=Path, help="folder to write (default: reports/NAME)")


def _results(args: argparse.Namespace) -> int:
    import pandas as pd

    from pdstudy.analysis.data.runs import answer_summary, arm_summary, load_runs

    plan, workspace = planned(args)
    with slow_work(f"reading the runs of {plan.study.name}"):
        frames = [load_runs(workspace.root, _record(part, workspace)) for part in member_plans(plan, workspace)]
    frame = frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)
    if args.csv is not None:
        frame.to_csv(args.csv, index=False)
        say(f"{len(frame)} rows written to {args.csv}")
    elif args.json:
        say(frame.to_json(orient="records", indent=1, double_precision=15))
    else:
        tables = [table for f in frames for table in (arm_summary(f), answer_summary(f)) if len(table)]
        say("\n\n".join(table.to_string(index=False) for table in tables))
    return 0


def _record(plan: Plan, workspace: Workspace) -> dict[str, Any]:
    """The study's record as of now, with when it was first planned from the stored one: results may be partial."""
    from pdstudy.core.files import read_json
    from pdstudy.plan.record import make_record, record_path

    stored = read_json(record_path(workspace, plan.study.name)) or {}
    return make_record(plan) | {key: value for key, value in stored.items() if key == "first_planned"}


def _report(args: argparse.Namespace) -> int:
    from pdstudy.analysis.report.study_page import build, build_index
    from pdstudy.distill.store.inspection import look_into

    search = find_search(args.study, args.scale, workspace_of(args))
    if search is not None:
        return search_commands.report(args, search, workspace_of(args))
    plan, workspace = planned(args)
    out = args.out or Path("reports") / plan.study.name
    records = [_record(part, workspace) for part in member_plans(plan, workspace)]
    stores = [workspace.root / "stores" / each["store"] for record in records for each in record["captures"]]
    with slow_work(f"report of {plan.study.name}") as progress:
        progress("reading its stores", 0.0)
        look_into(stores)
        texts = []
        for number, record in enumerate(records):
            progress(f"writing {record['study']}", number / len(records))
            texts.append(build(workspace.root, record, out / record["study"] if len(records) > 1 else out))
    text = texts[0]
    if len(records) > 1:
        text = "\n\n".join(f"{record['study']}\n{found}" for record, found in zip(records, texts, strict=True))
        build_index(plan.study.name, records, out)
    if args.json:
        print_json({"page": str(out / "index.html")})
    else:
        say(f"{text}\n{out / 'index.html'}")
    return 0
