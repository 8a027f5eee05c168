"""`analyse COMMAND` (fit, allocate, isoflop, distil, transfer, exponents, compare): this package on a table in a file.

The caller adds the parser with `add_parser(subparsers)` and calls `run(args)`; `python -m pdstudy.analysis.cli` works
too."""

from __future__ import annotations

import argparse
import json
import sys

from pdstudy.analysis.errors import AnalysisError, describe_os_error
from pdstudy.analysis.fit_commands import run_allocate, run_fit
from pdstudy.analysis.law_commands import run_distil, run_transfer
from pdstudy.analysis.options import add_commands
from pdstudy.analysis.table_commands import run_compare, run_exponents, run_isoflop
from pdstudy.core.streams import printable

_COMMANDS = {
    "fit": run_fit,
    "allocate": run_allocate,
    "isoflop": run_isoflop,
    "distil": run_distil,
    "transfer": run_transfer,
    "exponents": run_exponents,
    "compare": run_compare,
}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `analyse` with its commands; parsed arguments go to `run`."""
    parser = subparsers.add_parser("analyse", help="fit scaling laws, isoFLOP minima, allocations, paired comparisons")
    add_commands(parser)


def run(args: argparse.Namespace) -> int:
    """Run the chosen command and return its exit status. A refusal is one line on standard error and status 2."""
    try:
        result, text = _COMMANDS[args.analysis](args)
        print(json.dumps(result, indent=2, allow_nan=False) if args.json else printable(text, keep="\n"))
        if not result.get("ok", True):
            raise AnalysisError(str(result["reason"]))
    except AnalysisError as error:
        print(f"analyse {args.analysis}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the caller ends quietly
        raise
    except OSError as error:
        print(f"analyse {args.analysis}: {describe_os_error(error)}", file=sys.stderr)
        return 2
    return 0


def main() -> int:
    """`python -m pdstudy.analysis.cli fit ...`"""
    parser = argparse.ArgumentParser(prog="analyse", description=__doc__)
    add_commands(parser)
    return run(parser.parse_args())


if __name__ == "__main__":
    raise SystemExit(main())
