"""The command `diff`. Imports nothing heavy: `pdstudy.cli.main` builds its parser with this."""

from __future__ import annotations

import argparse
from typing import Any

from pdstudy.cli.arguments import AddCommand
from pdstudy.cli.plan_tables import short_value
from pdstudy.cli.tables import print_json, print_table
from pdstudy.cli.target import observed_plan, one_run, workspace_of
from pdstudy.cli.terminal import say
from pdstudy.core.errors import ConfigError
from pdstudy.plan.compare_runs import (
    ComparedRun,
    Rows,
    compared_results,
    differing_fields,
    planned_run,
    stored_run,
)


def add(command: AddCommand) -> None:
    sub = command("diff", _diff, "two runs side by side: fields that differ, and results", study=False)
    sub.usage = "pdstudy diff [-h] [--scale SCALE] [--json] [--workspace WORKSPACE] [STUDY] RUN RUN"
    sub.add_argument(
        "names",
        nargs="+",
        metavar="[STUDY] RUN RUN",
        help="of a study: patterns over names of its runs, or: teacher; without a study: keys of runs, as much of them "
        "as no other has, or folders",
    )
    sub.add_argument("--scale", help="the scale to pass to study(scale); default: the study's own")


def _diff(args: argparse.Namespace) -> int:
    first, second = _runs(args)
    fields, results = differing_fields(first, second), compared_results(first, second)
    if args.json:
        print_json({
            "runs": [{"name": run.name, "folder": str(run.folder)} for run in (first, second)],
            "differs": [{"field": name, "values": [a, b]} for name, a, b in fields],
            "results": {name: [a, b] for name, a, b in results},
        })  # fmt: skip
        return 0
    if fields:
        _print(first, second, "field", fields)
    else:
        say("the same configuration: one run" if first.folder == second.folder else "the same configuration")
    say()
    _print(first, second, "result", results)
    return 0


def _runs(args: argparse.Namespace) -> tuple[ComparedRun, ComparedRun]:
    workspace = workspace_of(args)
    if len(args.names) == 2:
        first, second = (stored_run(name, workspace) for name in args.names)
    elif len(args.names) == 3:
        plan = observed_plan(args.names[0], args.scale, workspace)
        first, second = (planned_run(one_run(plan, name), workspace) for name in args.names[1:])
    else:
        raise ConfigError(f"diff: found {len(args.names)} names; allowed: RUN RUN, or STUDY RUN RUN")
    return first, second


def _print(first: ComparedRun, second: ComparedRun, title: str, rows: Rows) -> None:
    """Print values side by side; of numbers the second minus the first too."""
    numbers = title == "result"
    table = [[name, _shown(a), _shown(b), _difference(a, b) if numbers else ""] for name, a, b in rows]
    header = [title, first.name, second.name, "difference" if any(row[3] for row in table) else ""]
    print_table(header, table)


def _shown(value: Any) -> str:
    return "-" if value is None else f"{value:.5g}" if isinstance(value, float) else short_value(value)


def _difference(first: Any, second: Any) -> str:
    numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in (first, second))
    return f"{second - first:+.4g}" if numbers and first != second else ""
