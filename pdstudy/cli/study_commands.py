"""The commands about studies: plan, run, status, logs, results, report, doctor, new."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import shlex
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pdstudy.cli import search_commands as search_command
from pdstudy.cli.arguments import called
from pdstudy.cli.target import seen_plan
from pdstudy.core.errors import ConfigError
from pdstudy.launch.local import processor_cores
from pdstudy.plan.builder import checked_plan, parts
from pdstudy.plan.plan import Plan
from pdstudy.search.search_file import find_search
from pdstudy.workspace.layout import Workspace

if TYPE_CHECKING:
    from pdstudy.launch.local import RunOutcome


def _workspace(args: argparse.Namespace) -> Workspace:
    return Workspace(args.workspace.resolve()) if args.workspace else Workspace.default()


def _planned(args: argparse.Namespace, only: str | None = None) -> tuple[Plan, Workspace]:
    """The checked plan of the study named on the command line. Raises `ConfigError` with all its problems at once."""
    workspace = _workspace(args)
    return checked_plan(args.study, args.scale, workspace, only), workspace


def _seen(args: argparse.Namespace, only: str | None = None) -> tuple[Plan, Workspace]:
    """`_planned`, or the plan of what a search has asked for so far: for those who look on."""
    workspace = _workspace(args)
    return seen_plan(args.study, args.scale, workspace, only), workspace


def _plan(args: argparse.Namespace) -> int:
    from pdstudy.cli.plan_tables import plan_json, print_plan
    from pdstudy.cli.tables import print_json

    search = find_search(args.study, args.scale)
    if search is not None:
        return search_command.plan(args, search, _workspace(args))
    plan, workspace = _planned(args)
    if args.json:
        print_json(plan_json(plan, workspace, why=args.explain))
    else:
        print_plan(plan, workspace, why=args.explain, call=called(args))
    return 0


def _run(args: argparse.Namespace) -> int:
    if not args.json:
        return _carry_out(args)[0]
    from pdstudy.cli.tables import print_json
    from pdstudy.launch.local import RunOutcome

    with contextlib.redirect_stdout(sys.stderr):
        code, outcome = _carry_out(args)
    print_json(dataclasses.asdict(outcome or RunOutcome()))
    return code


def _carry_out(args: argparse.Namespace) -> tuple[int, RunOutcome | None]:
    """The exit code, and the outcome where anything was to be made."""
    from pdstudy.launch.local import run_plan
    from pdstudy.launch.progress import PlainView, view
    from pdstudy.plan.record import write_record

    plan, workspace = _planned(args, args.only)
    if args.steps is not None:
        from pdstudy.launch.smoke_test import try_runs

        return try_runs(plan.study, workspace, args.steps), None
    todo = plan.todo
    if args.only is None:
        for part in parts(plan, workspace):
            write_record(part, workspace)
    if not todo:
        print(f"{plan.study.name}: all {len(plan.items)} artifacts exist in {workspace.root}; nothing to do")
        return 0, None
    slots = processor_cores() if args.workers is None else args.workers
    price = f"{plan.seconds(todo) / 3600:.2g} {plan.study.machine.unit} ({plan.rate_source})"
    print(f"{plan.study.name}: {len(todo)} of {len(plan.items)} artifacts to make, {price}, {slots} workers")
    outcome = run_plan(plan, workspace, slots=slots, view=PlainView() if args.plain or args.json else view())
    labels = {i.key: i.label for i in plan.items}
    for key, error in outcome.failed.items():
        print(f"failed: {labels[key]}: {error}", file=sys.stderr)
    for key in outcome.diverged:
        print(f"diverged: {labels[key]} ({key}); it is kept as a result", file=sys.stderr)
    if outcome.blocked:
        print(f"not started, since what they need is missing: {len(outcome.blocked)} artifacts", file=sys.stderr)
    if outcome.stopped:
        only = "" if args.only is None else f" --only {shlex.quote(args.only)}"
        print(f"stopped; `pdstudy run {called(args)}{only}` goes on from here", file=sys.stderr)
        return 130, outcome
    if outcome.failed or outcome.blocked:
        return 1, outcome
    print(f"done: {len(outcome.done)} made. next: pdstudy report {called(args)}")
    return 0, outcome


def _status(args: argparse.Namespace) -> int:
    from pdstudy.cli.watch import show, watch

    if args.watch:
        return watch(lambda: _seen(args)[0], _workspace(args), called(args))
    plan, workspace = _seen(args)
    show(plan, workspace, as_json=args.json)
    return 0


def _logs(args: argparse.Namespace) -> int:
    from pdstudy.launch.work_order import make_order
    from pdstudy.slurm.cluster_status import job_stderr

    plan, workspace = _seen(args)
    chosen = [
        i for i in plan.items if i.kind == args.cell or any(fnmatch(c, args.cell) or c == args.cell for c in i.cells)
    ]
    if not chosen:
        names = ", ".join(c.name for c in plan.study.cells[:3])
        raise ConfigError(f"no cell matches {args.cell!r}; cells are named like {names}, and: teacher, corpus, logits")
    if args.follow and len(chosen) > 1:
        raise ConfigError(f"-f follows one log; {args.cell!r} matches {len(chosen)}")
    for item in chosen:
        log = make_order(plan, item, workspace).log
        print(f"== {item.kind} {item.label} ({log})")
        text = log.read_bytes() if log.exists() else b""
        lines = text.decode(errors="replace").splitlines() or ["(nothing was logged)"]
        print("\n".join(lines[-args.n :]), flush=True)
        if (words := job_stderr(item, workspace)) is not None:
            print(f"== beside job {words[0]}\n" + "\n".join(words[1].splitlines()[-args.n :]), flush=True)
        if args.follow:
            from pdstudy.cli.watch import follow

            follow(log, len(text))
    return 0


def _results(args: argparse.Namespace) -> int:
    import pandas as pd

    from pdstudy.analysis.data.runs import answer_summary, arm_summary, load_runs

    plan, workspace = _planned(args)
    frames = [load_runs(workspace.root, plan_record(part, workspace)) for part in parts(plan, workspace)]
    frame = frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)
    if args.csv is not None:
        frame.to_csv(args.csv, index=False)
        print(f"{len(frame)} rows written to {args.csv}")
    elif args.json:
        print(frame.to_json(orient="records", indent=1, double_precision=15))
    else:
        tables = [table for f in frames for table in (arm_summary(f), answer_summary(f)) if len(table)]
        print("\n\n".join(table.to_string(index=False) for table in tables))
    return 0


def plan_record(plan: Plan, workspace: Workspace) -> dict[str, Any]:
    """The stored record where the study was run, else one made from the plan: results work on partial data."""
    from pdstudy.core.files import read_json
    from pdstudy.plan.record import make_record, record_path

    return make_record(plan) | {
        k: v for k, v in (read_json(record_path(workspace, plan.study.name)) or {}).items() if k == "first_planned"
    }


def _report(args: argparse.Namespace) -> int:
    from pdstudy.analysis.report.study_page import build, build_index
    from pdstudy.distill.store.inspection import look_into

    search = find_search(args.study, args.scale)
    if search is not None:
        return search_command.report(args, search, _workspace(args))
    plan, workspace = _planned(args)
    out = args.out or Path("reports") / plan.study.name
    members = parts(plan, workspace)
    records = [plan_record(part, workspace) for part in members]
    look_into(workspace.root / "stores" / each["store"] for record in records for each in record["captures"])
    if len(records) == 1:
        text = build(workspace.root, records[0], out)
    else:
        texts = [build(workspace.root, record, out / record["study"]) for record in records]
        text = "\n\n".join(f"{record['study']}\n{found}" for record, found in zip(records, texts, strict=True))
        build_index(plan.study.name, records, out)
    if args.json:
        from pdstudy.cli.tables import print_json

        print_json({"page": str(out / "index.html")})
    else:
        print(f"{text}\n{out / 'index.html'}")
    return 0


def _doctor(args: argparse.Namespace) -> int:
    from pdstudy.cli.doctor import examine, print_findings

    findings = examine(_workspace(args))
    if args.json:
        from pdstudy.cli.tables import print_json

        print_json(findings)
    else:
        print_findings(findings)
    return 0 if all(f["state"] != "missing" for f in findings) else 1


def _new(args: argparse.Namespace) -> int:
    from pdstudy.study.template import write_study

    print(f"wrote {write_study(args.name)}; next: pdstudy plan {args.name}")
    return 0
