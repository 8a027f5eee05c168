"""Parts of the command line that several commands share."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable
from typing import Protocol, TextIO

Runner = Callable[[argparse.Namespace], int]
"""Carries a command out; its exit code."""


class AddCommand(Protocol):
    """Adds a command to the parser; `study` and `json` say whether it takes a study, and the option `--json`."""

    def __call__(
        self, name: str, run: Runner, help: str, *, study: bool = True, json: bool = True
    ) -> argparse.ArgumentParser: ...


def study_call(args: argparse.Namespace) -> str:
    """The study as it was named on the command line, for a shell."""
    return shlex.join([args.study] if args.scale is None else [args.study, "--scale", args.scale])


def message_stream(args: argparse.Namespace) -> TextIO:
    """The stream for messages: with `--json` nothing else may stand on standard output."""
    return sys.stderr if args.json else sys.stdout


def positive_integer(text: str) -> int:
    """Parse a count given as an option."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"found {text}; allowed: 1 or more")
    return number
