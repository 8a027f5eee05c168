"""What the commands share in how they read and repeat a command line."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable

from pdstudy.workspace.layout import Workspace

Command = Callable[..., argparse.ArgumentParser]
"""Adds a command to the parser: name, what runs it, its help."""


Where = Callable[[argparse.Namespace], Workspace]


def called(args: argparse.Namespace) -> str:
    """How the study was named on the command line, for a shell."""
    return shlex.join([args.study] if args.scale is None else [args.study, "--scale", args.scale])


def positive(text: str) -> int:
    """A count given as an option."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"found {text}; allowed: 1 or more")
    return number
