"""The command `pdstudy`. Errors that a user can cause are one message and exit code 2; `--debug` shows tracebacks."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import shlex
import signal
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.errors import AnalysisError, of_system
from pdstudy import inspect_cli as inspect_command
from pdstudy.arguments import called, positive
from pdstudy.items import Plan
from pdstudy.launch import processor_cores
from pdstudy.loading import checked_plan, found_search, seen_plan
from pdstudy.normal import ConfigError
from pdstudy.plan import parts
from pdstudy.rundir import Workspace
from pdstudy.search import cli as search_command
from pdstudy.slurm import cli as cluster

if TYPE_CHECKING:
    from pdstudy.launch import Outcome

EPILOG = """\
a first study, in five commands:
  pdstudy new my_study                 write a commented study file, studies/my_study.py
  pdstudy plan studies/my_study.py     what it needs, what exists, what the rest costs
  pdstudy run studies/my_study.py      make it, on this machine; run again to go on
  pdstudy results studies/my_study.py  the table of runs
  pdstudy report studies/my_study.py   figures, tables and one HTML page under reports/
"""


def main(argv: list[str] | None = None) -> None:
    words = sys.argv[1:] if argv is None else argv
    args = _parser(analyse=words[:1] == ["analyse"]).parse_args(words)
    try:
        code = args.run(args)
        sys.stdout.flush()
    except (ConfigError, AnalysisError) as error:
        if args.debug:
            raise
        print(f"pdstudy: {error}", file=sys.stderr)
        code = 2
    except BrokenPipeError:  # whoever read this has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 128 + signal.SIGPIPE
    except OSError as error:
        if args.debug:
            raise
        print(f"pdstudy: {of_system(error)}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print("pdstudy: interrupted", file=sys.stderr)
        code = 130
    sys.exit(code)


def _parser(*, analyse: bool) -> argparse.ArgumentParser:
    """The whole command line. The options of `analyse` need pandas, and so are there only when it is called."""
    parser = argparse.ArgumentParser(
        prog="pdstudy",
        description="Studies of pre-training distillation: declare, price, run, analyse, report.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(debug=False)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, run: Any, help: str, *, study: bool = True, json: bool = True) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help, description=help)
        sub.set_defaults(run=run)
        if study:
            sub.add_argument("study", help="a study file, a folder of them, or the name of one in studies/")
            sub.add_argument("--scale", help="the scale to pass to study(scale); default: the study's own")
        if json:
            sub.add_argument("--json", action="store_true", help="machine-readable output")
        sub.add_argument(
            "--workspace", type=Path, help="artifacts live here (default: $PDSTUDY_WORKSPACE, ./workspace)"
        )
        sub.add_argument("--debug", action="store_true", help="show tracebacks")
        return sub

    sub = command("plan", _plan, "what a study needs, what of it exists, and what the rest will cost; changes nothing")
    sub.add_argument(
        "--explain", action="store_true", help="for each run: exists, or which fields differ from the nearest"
    )
    sub = command("run", _run, "make all that a study lacks on this machine; safe to repeat, goes on where it was")
    sub.add_argument(
        "--slots",
        type=positive,
        metavar="N",
        help="worker processes, one thread each (default: the processor's cores)",
    )
    sub.add_argument("--only", metavar="PATTERN", help="only cells whose name matches, e.g. '*loss=KD*seed=0'")
    sub.add_argument(
        "--steps", type=int, help="try it: this many steps per run, in this process, in a workspace of its own"
    )
    sub.add_argument("--plain", action="store_true", help="plain lines even on a terminal")
    search_command.add(command, _workspace)
    cluster.add_submit_and_cancel(command, _planned, _seen, _workspace)
    sub = command("status", _status, "the state of every artifact of a study, or of a search so far; read-only")
    sub.add_argument("--watch", action="store_true", help="show it again and again; sends what a submit kept back")
    sub = command("logs", _logs, "the log of a cell's run (or of its teacher, corpus or logits)", json=False)
    sub.add_argument("cell", help="a pattern over cell names, or: teacher, corpus, logits")
    sub.add_argument("-n", type=positive, default=40, metavar="LINES", help="last lines to show (default 40)")
    sub.add_argument("-f", "--follow", action="store_true", help="go on showing lines as they come (one log)")
    sub = command("results", _results, "one row per cell, failed and diverged ones included")
    sub.add_argument("--csv", type=Path, help="write the full table here")
    sub = command("report", _report, "figures, tables and one HTML page of a study or a search; works on partial data")
    sub.add_argument("--out", type=Path, help="folder to write (default: reports/NAME)")
    inspect_command.add(command, _workspace)
    cluster.add_gc(command, _workspace)
    if analyse:
        from analysis import cli as analysis

        analysis.add_parser(commands)
        commands.choices["analyse"].set_defaults(run=analysis.run)
    else:
        commands.add_parser("analyse", help="fit scaling laws, isoFLOP minima, allocations, comparisons to any CSV")
    command("doctor", _doctor, "what this machine has and lacks, and for what", study=False)
    sub = command("new", _new, "write a commented study file to start from", study=False, json=False)
    sub.add_argument("name", help="name of the study; the file is studies/NAME.py")
    return parser


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
    from pdstudy.show import plan_json, print_json, print_plan

    search = found_search(args.study, args.scale)
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
    from pdstudy.launch import Outcome
    from pdstudy.show import print_json

    with contextlib.redirect_stdout(sys.stderr):
        code, outcome = _carry_out(args)
    print_json(dataclasses.asdict(outcome or Outcome()))
    return code


def _carry_out(args: argparse.Namespace) -> tuple[int, Outcome | None]:
    """The exit code, and the outcome where anything was to be made."""
    from pdstudy.launch import run_plan
    from pdstudy.progress import PlainView, view
    from pdstudy.record import write_record

    plan, workspace = _planned(args, args.only)
    if args.steps is not None:
        from pdstudy.trial import try_cells

        return try_cells(plan.study, workspace, args.steps), None
    todo = plan.todo
    if args.only is None:
        for part in parts(plan, workspace):
            write_record(part, workspace)
    if not todo:
        print(f"{plan.study.name}: all {len(plan.items)} artifacts exist in {workspace.root}; nothing to do")
        return 0, None
    slots = processor_cores() if args.slots is None else args.slots
    price = f"{plan.seconds(todo) / 3600:.2g} {plan.study.machine.unit} ({plan.rate_source})"
    print(f"{plan.study.name}: {len(todo)} of {len(plan.items)} artifacts to make, {price}, {slots} slots")
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
    from pdstudy.slurm.watch import show, watch

    if args.watch:
        return watch(lambda: _seen(args)[0], _workspace(args), called(args))
    plan, workspace = _seen(args)
    show(plan, workspace, as_json=args.json)
    return 0


def _logs(args: argparse.Namespace) -> int:
    from pdstudy.slurm.seeing import beside
    from pdstudy.stages import make_task

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
        log = make_task(plan, item, workspace).log
        print(f"== {item.kind} {item.label} ({log})")
        text = log.read_bytes() if log.exists() else b""
        lines = text.decode(errors="replace").splitlines() or ["(nothing was logged)"]
        print("\n".join(lines[-args.n :]), flush=True)
        if (words := beside(item, workspace)) is not None:
            print(f"== beside job {words[0]}\n" + "\n".join(words[1].splitlines()[-args.n :]), flush=True)
        if args.follow:
            from pdstudy.slurm.watch import follow

            follow(log, len(text))
    return 0


def _results(args: argparse.Namespace) -> int:
    import pandas as pd

    from analysis.load import answer_summary, load_runs, summary

    plan, workspace = _planned(args)
    frames = [load_runs(workspace.root, plan_record(part, workspace)) for part in parts(plan, workspace)]
    frame = frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)
    if args.csv is not None:
        frame.to_csv(args.csv, index=False)
        print(f"{len(frame)} rows written to {args.csv}")
    elif args.json:
        print(frame.to_json(orient="records", indent=1, double_precision=15))
    else:
        tables = [table for f in frames for table in (summary(f), answer_summary(f)) if len(table)]
        print("\n\n".join(table.to_string(index=False) for table in tables))
    return 0


def plan_record(plan: Plan, workspace: Workspace) -> dict[str, Any]:
    """The stored record where the study was run, else one made from the plan: results work on partial data."""
    from pdstudy.files import read_json
    from pdstudy.record import make_record, record_path

    return make_record(plan) | {
        k: v for k, v in (read_json(record_path(workspace, plan.study.name)) or {}).items() if k == "first_planned"
    }


def _report(args: argparse.Namespace) -> int:
    from analysis.report import build, build_index
    from pdstudy.inspect import look_into

    search = found_search(args.study, args.scale)
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
        from pdstudy.show import print_json

        print_json({"page": str(out / "index.html")})
    else:
        print(f"{text}\n{out / 'index.html'}")
    return 0


def _doctor(args: argparse.Namespace) -> int:
    from pdstudy.doctor import examine, print_findings

    findings = examine(_workspace(args))
    if args.json:
        from pdstudy.show import print_json

        print_json(findings)
    else:
        print_findings(findings)
    return 0 if all(f["state"] != "missing" for f in findings) else 1


def _new(args: argparse.Namespace) -> int:
    from pdstudy.template import write_study

    print(f"wrote {write_study(args.name)}; next: pdstudy plan {args.name}")
    return 0


if __name__ == "__main__":
    main()
