"""The commands `results` and `report`. Imports nothing heavy: `pdstudy.cli.main` builds its parser with this."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pdstudy.cli import search_commands
from pdstudy.cli.arguments import AddCommand, number_within
from pdstudy.cli.progress import slow_work
from pdstudy.cli.tables import print_json
from pdstudy.cli.target import planned, workspace_of
from pdstudy.cli.terminal import say
from pdstudy.core.errors import ConfigError
from pdstudy.plan.plan import Plan
from pdstudy.plan.study_plan import member_plans
from pdstudy.search.search_file import find_search
from pdstudy.workspace.layout import Workspace

if TYPE_CHECKING:
    from pdstudy.analysis.report.report_files import FilesBeside


def add(command: AddCommand) -> None:
    sub = command("results", _results, "one row per run, failed and diverged ones included")
    sub.add_argument("--csv", type=Path, help="write the full table here")
    about = "one HTML page of a study or a search, with figures and tables; works on partial data"
    sub = command("report", _report, about, study=False)
    sub.add_argument("study", nargs="?", help="a study file, a folder of them, or the name of one in studies/")
    sub.add_argument("--scale", help="the scale to pass to study(scale); default: the study's own")
    sub.add_argument("--data", type=Path, help="make a page anew from its folder data/, without study and workspace")
    sub.add_argument(
        "--out", type=Path, help="folder to write (default: reports/NAME; with --data the folder above it)"
    )
    sub.add_argument("--format", help="files beside the page, of pdf,svg,png,pgf,csv,md,tex, or none: the page alone "
                     "(default: all but pgf)")  # fmt: skip
    sub.add_argument("--for", dest="for_paper", choices=["paper"], help="also paper.tex, which compiles and takes in "
                     "figures, tables, methods and references of a study")  # fmt: skip
    sub.add_argument("--width", type=number_within(1, 40), metavar="INCHES", help="width of figures in files")
    sub.add_argument(
        "--font-size", type=number_within(3, 40), metavar="POINTS", help="size of letters of figures in files"
    )


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
    from pdstudy.analysis.data.excerpt import Report
    from pdstudy.analysis.report.write_report import rewrite_report, write_report
    from pdstudy.distill.store.inspection import look_into

    beside = _files_beside(args)
    if (args.study is None) == (args.data is None):
        raise ConfigError("report takes a study or a search, or --data and the folder data/ of a page: one of both")
    if args.data is not None:
        out = args.out or args.data.resolve().parent
        with slow_work(f"report of {args.data}"):
            text = rewrite_report(args.data, out, beside)
        return _tell(args, text, out)
    search = find_search(args.study, args.scale, workspace_of(args))
    if search is not None:
        workspace, out = workspace_of(args), args.out or Path("reports") / search.name
        text = write_report(workspace.root, search_commands.make_report(search, workspace), out, beside)
        return _tell(args, text, out)
    plan, workspace = planned(args)
    out = args.out or Path("reports") / plan.study.name
    records = tuple(_record(part, workspace) for part in member_plans(plan, workspace))
    stores = [workspace.root / "stores" / each["store"] for record in records for each in record["captures"]]
    with slow_work(f"report of {plan.study.name}") as progress:
        progress("reading its stores", 0.0)
        look_into(stores)
        text = write_report(workspace.root, Report(plan.study.name, records), out, beside, progress)
    return _tell(args, text, out)


def _files_beside(args: argparse.Namespace) -> FilesBeside:
    from pdstudy.analysis.figures.medium import FONT, PAPER, Medium
    from pdstudy.analysis.report.report_files import FORMATS, WANTED, FilesBeside

    given = WANTED.formats if args.format is None else () if args.format == "none" else args.format.split(",")
    if wrong := [each for each in given if each not in FORMATS]:
        raise ConfigError(f"--format: found {', '.join(wrong)}; allowed: none, or some of {','.join(FORMATS)}")
    sized = args.width is not None or args.font_size is not None
    medium = Medium(args.width, args.font_size or FONT) if sized else PAPER
    if args.for_paper is None:
        return FilesBeside(tuple(given), medium)
    if args.format is not None and not {"pdf", "pgf"} & set(given):
        raise ConfigError(f"--for paper: found --format {args.format}; allowed: with pdf or pgf among them")
    formats = ("pdf",) if args.format is None else tuple(given)
    return FilesBeside(tuple(dict.fromkeys((*formats, "tex", "csv"))), medium, paper=True)


def _tell(args: argparse.Namespace, text: str, out: Path) -> int:
    if args.json:
        print_json({"page": str(out / "index.html")})
    else:
        say(f"{text}\n{out / 'index.html'}")
    return 0
