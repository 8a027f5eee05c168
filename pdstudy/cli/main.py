"""The command `pdstudy`: its parser, and what becomes of an error.

Errors that a user can cause are one message and exit code 2; `--debug` shows tracebacks. Nothing heavy is imported
here: each command imports what it needs when it runs.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import Any

from pdstudy.analysis.errors import AnalysisError, describe_os_error
from pdstudy.cli import (
    completion_command,
    design,
    diff_command,
    doctor,
    inspect,
    job_command,
    mirror_command,
    new_command,
    report_commands,
    search_commands,
    slurm_commands,
    status_commands,
    study_commands,
)
from pdstudy.cli.arguments import AddCommand, Parser, Runner
from pdstudy.cli.terminal import warn
from pdstudy.core.errors import ConfigError
from pdstudy.core.streams import prepare_streams

EPILOG = """\
a first study, in five commands:
  pdstudy new my_study                 write a commented study file, studies/my_study.py
  pdstudy plan studies/my_study.py     what it needs, what exists, what the rest costs
  pdstudy run studies/my_study.py      make it, on this machine; run again to go on
  pdstudy results studies/my_study.py  the table of runs
  pdstudy report studies/my_study.py   figures, tables and one HTML page under reports/
"""


def main(argv: list[str] | None = None) -> None:
    """Carry out a command line and exit with its code."""
    prepare_streams()
    _use_one_thread()
    words = sys.argv[1:] if argv is None else argv
    args = command_parser(analyse=words[:1] == ["analyse"]).parse_args(words)
    try:
        code = args.run(args)
        sys.stdout.flush()
    except (ConfigError, AnalysisError) as error:
        if args.debug:
            raise
        warn(f"pdstudy: {error}")
        code = 2
    except BrokenPipeError:  # whoever read this has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 128 + signal.SIGPIPE
    except OSError as error:
        if args.debug:
            raise
        warn(f"pdstudy: {describe_os_error(error)}")
        code = 2
    except KeyboardInterrupt:
        warn("pdstudy: interrupted")
        code = 130
    sys.exit(code)


def _use_one_thread() -> None:
    """Let the numerical libraries use one thread in this process, where the user has not said how many.

    A command's own tensors are small: threads would cost more than they do. Workers and jobs have settings of theirs.
    """
    for library in ("OMP", "MKL", "OPENBLAS"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")


def command_parser(*, analyse: bool) -> argparse.ArgumentParser:
    """The whole command line. The options of `analyse` need pandas, and so are there only when it is called."""
    parser = Parser(
        prog="pdstudy",
        description="Studies of pre-training distillation: declare, price, run, analyse, report.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(debug=False)
    commands: argparse._SubParsersAction[Any] = parser.add_subparsers(
        title="commands", metavar="COMMAND", required=True
    )
    command = _adder(commands)
    study_commands.add_plan_and_run(command)
    design.add(command)
    job_command.add(command)
    search_commands.add(command)
    slurm_commands.add_submit_and_cancel(command)
    status_commands.add(command)
    report_commands.add(command)
    diff_command.add(command)
    mirror_command.add(command)
    inspect.add(command)
    slurm_commands.add_gc(command)
    if analyse:
        from pdstudy.analysis import cli as analysis

        analysis.add_parser(commands)
        commands.choices["analyse"].set_defaults(run=analysis.run)
    else:
        commands.add_parser("analyse", help="fit scaling laws, isoFLOP minima, allocations, comparisons to any CSV")
    doctor.add(command)
    new_command.add(command)
    completion_command.add(command, lambda: command_parser(analyse=True))
    return parser


def _adder(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> AddCommand:
    """Adds commands with the arguments that most of them share."""

    def add(name: str, run: Runner, help: str, *, study: bool = True, json: bool = True) -> argparse.ArgumentParser:
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

    return add


if __name__ == "__main__":
    main()
