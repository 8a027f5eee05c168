"""Parts of the command line that several commands share."""

from __future__ import annotations

import argparse
import math
import re
import shlex
import sys
from collections.abc import Callable
from typing import NoReturn, Protocol, TextIO

from pdstudy.core.validation import nearest

Runner = Callable[[argparse.Namespace], int]
"""Carries a command out; its exit code."""


class Parser(argparse.ArgumentParser):
    """A parser whose refusals are one line, with the nearest command or option."""

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        """Refuse what it does not know here, where its own options are known: the parser above knows its commands."""
        found, unknown = super().parse_known_args(args, namespace)
        options = [option for action in self._actions for option in action.option_strings]
        for word in unknown[:1]:
            near = nearest(word.partition("=")[0], options) if word.startswith("-") else ""
            self.error(f"found {word!r}, which is no argument of it" + (f" ({near})" if near else ""))
        return found, unknown

    def error(self, message: str) -> NoReturn:
        choice = re.search(r"invalid choice: '(.*)' \(choose from (.*)\)", message)
        if choice:
            near = nearest(choice[1], re.findall(r"[\w-]+", choice[2]))
            message += f" ({near})" if near else ""
        self.exit(2, f"{self.prog}: {message}; `{self.prog} --help` says what it takes\n")


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


def number_within(low: float, high: float) -> Callable[[str], float]:
    """Parser of a number between two ends, given as an option."""

    def number(text: str) -> float:
        value = float(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"found {text}; allowed: {low:g} to {high:g}")
        return value

    return number


def positive_integer(text: str) -> int:
    """Parse a count given as an option."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"found {text}; allowed: 1 or more")
    return number


def positive_number(text: str) -> float:
    """Parse an amount given as an option."""
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"found {text}; allowed: a number above 0")
    return number
