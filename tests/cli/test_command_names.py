"""What texts and messages tell users to type exists."""

from __future__ import annotations

import re
from pathlib import Path

import pdstudy
from pdstudy.cli.main import command_parser

PACKAGE = Path(pdstudy.__file__).parent
TYPED = re.compile(r"(?:`|python -m )pdstudy ([a-z]+)")


def test_commands_that_are_named_anywhere_exist() -> None:
    texts = {path: path.read_text() for path in (*PACKAGE.rglob("*.py"), *PACKAGE.parent.glob("*.md"))}
    named = {(command, path.name) for path, text in texts.items() for command in TYPED.findall(text)}
    assert len({command for command, _ in named}) >= 6
    usage = command_parser(analyse=False).format_help()
    commands = set(re.findall(r"^    ([a-z]+)\b", usage, re.MULTILINE))
    assert {"run", "plan"} <= commands
    assert sorted((command, path) for command, path in named if command not in commands) == []
