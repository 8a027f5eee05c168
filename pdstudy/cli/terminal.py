"""Messages, and the width of text on a terminal."""

from __future__ import annotations

import sys
import unicodedata
from typing import TextIO

from pdstudy.core.streams import printable


def say(text: str = "", *, file: TextIO | None = None) -> None:
    """Print a message at once, its control characters made visible; to standard output where no `file` is given."""
    print(printable(text, keep="\n\t"), file=file or sys.stdout, flush=True)


def warn(text: str) -> None:
    """Print a message to standard error."""
    say(text, file=sys.stderr)


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


def wrapped(text: str, width: int) -> list[str]:
    """The text in lines of at most `width` columns, broken between words where they fit."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if display_width(longer) <= width:
            lines[-1] = longer
            continue
        lines += [word] if lines[-1] else []
        lines[-1] = word
        while display_width(lines[-1]) > width:
            count = next(n for n in range(len(lines[-1]), 0, -1) if display_width(lines[-1][:n]) <= max(width, 2))
            lines[-1:] = [lines[-1][:count], lines[-1][count:]]
    return lines
