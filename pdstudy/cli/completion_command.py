"""The command `completion`: what the shell completes of pdstudy's commands, options and files."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

from pdstudy.cli.arguments import AddCommand
from pdstudy.cli.terminal import say

SHELLS = ("bash", "zsh")

FILES = ("study", "names", "input")
"""Arguments that take files, beside options whose type is a path."""


def add(command: AddCommand, make_parser: Callable[[], argparse.ArgumentParser]) -> None:
    """`make_parser` makes the whole command line."""
    sub = command("completion", _completion, "print what a shell needs to complete commands", study=False, json=False)
    sub.description = 'Commands and options at the tab key, for this shell: eval "$(pdstudy completion bash)"'
    sub.add_argument("shell", choices=SHELLS)
    sub.set_defaults(make_parser=make_parser)


def _completion(args: argparse.Namespace) -> int:
    import shtab

    parser = args.make_parser()
    for action in _actions(parser):
        if action.dest in FILES or action.type is Path:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    say(shtab.complete(parser, args.shell))
    return 0


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """The arguments of a parser and of its commands."""
    for action in parser._actions:
        yield action
        for sub in action.choices.values() if isinstance(action, argparse._SubParsersAction) else ():
            yield from _actions(sub)
