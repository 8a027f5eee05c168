"""Text on a terminal: nothing that drives it, nothing that its encoding can't show, tables no wider than it is."""

from __future__ import annotations

import io
import sys
import unicodedata
from typing import TextIO

SHORTEST_COLUMN = 12
"""Characters below which no column of a table is shortened."""


def prepare_streams() -> None:
    """Show characters that the encoding of standard output or error lacks as escapes, where Python would raise."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(text: str = "", *, file: TextIO | None = None) -> None:
    """Print a message at once, its control characters made visible; to standard output where no `file` is given."""
    print(printable(text, keep="\n\t"), file=file or sys.stdout, flush=True)


def warn(text: str) -> None:
    """Print a message to standard error."""
    say(text, file=sys.stderr)


def printable(text: str, *, keep: str = "") -> str:
    """The text with control characters as escapes: an arm's label from a file may hold what would drive a terminal."""
    return "".join(c if c in keep or unicodedata.category(c) not in ("Cc", "Cs") else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def display_width(text: str) -> int:
    """Columns that a text takes on a terminal: two for wide characters, none for combining ones."""
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else not unicodedata.combining(c) for c in text)


def shortened(text: str, width: int) -> str:
    """The text without its middle where it is wider than `width`: labels differ at their ends."""
    if display_width(text) <= width:
        return text
    half = (width - 1) // 2
    head, tail = text, text
    while display_width(head) > width - 1 - half:
        head = head[:-1]
    while display_width(tail) > half:
        tail = tail[1:]
    return f"{head}~{tail}"
