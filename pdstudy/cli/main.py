"""The command `pdstudy`. Errors that a user can cause are one message and exit code 2; `--debug` shows tracebacks."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pdstudy.analysis.errors import AnalysisError, describe_os_error
from pdstudy.cli import inspect as inspect_command
from pdstudy.cli import job_command
from pdstudy.cli import search_commands as search_command
from pdstudy.cli import slurm_commands as cluster
from pdstudy.cli.arguments import positive
from pdstudy.core.errors import ConfigError

if TYPE_CHECKING:
    pass
from pdstudy.cli.study_commands import (
    _doctor,
    _logs,
    _new,
    _plan,
    _planned,
    _report,
    _results,
    _run,
    _seen,
    _status,
    _workspace,
)

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
        print(f"pdstudy: {describe_os_error(error)}", file=sys.stderr)
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
        "--workers",
        type=positive,
        metavar="N",
        help="worker processes, one thread each (default: the processor's cores)",
    )
    sub.add_argument("--only", metavar="PATTERN", help="only cells whose name matches, e.g. '*loss=KD*seed=0'")
    sub.add_argument(
        "--steps", type=int, help="try it: this many steps per run, in this process, in a workspace of its own"
    )
    sub.add_argument("--plain", action="store_true", help="plain lines even on a terminal")
    job_command.add(command, _workspace)
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
        from pdstudy.analysis import cli as analysis

        analysis.add_parser(commands)
        commands.choices["analyse"].set_defaults(run=analysis.run)
    else:
        commands.add_parser("analyse", help="fit scaling laws, isoFLOP minima, allocations, comparisons to any CSV")
    command("doctor", _doctor, "what this machine has and lacks, and for what", study=False)
    sub = command("new", _new, "write a commented study file to start from", study=False, json=False)
    sub.add_argument("name", help="name of the study; the file is studies/NAME.py")
    return parser


if __name__ == "__main__":
    main()
