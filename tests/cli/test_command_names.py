"""What texts and messages tell users to type exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import pdstudy
from pdstudy.cli.main import command_parser, main

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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("run mine --onyl x", "pdstudy run: found '--onyl', .* (did you mean '--only'?)"),
        ("plan mine --scael=mini", "pdstudy plan: .*'--scael=mini'.* (did you mean '--scale'?)"),
        ("pln mine", "pdstudy: .*invalid choice: 'pln'.* (did you mean 'plan'?)"),
        ("analyse fot runs.csv", "pdstudy analyse: .*invalid choice: 'fot'.* (did you mean 'fit'?)"),
        ("report mine --width nan", "pdstudy report: argument --width: found nan; allowed: 1 to 40"),
        ("report mine --font-size -1", "pdstudy report: argument --font-size: found -1; allowed: 3 to 40"),
        ("run one two", "pdstudy run: found 'two', which is no argument of it"),
    ],
)
def test_a_slip_on_the_command_line_is_one_line_with_the_nearest(
    words: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words.split())
    err = capsys.readouterr().err
    assert ended.value.code == 2
    assert re.match(re.escape(message).replace(r"\.\*", ".*"), err)
    assert err.count("\n") == 1
