"""Messages, and the width of text on a terminal."""

from __future__ import annotations

import os
import sys
import unicodedata
from typing import TextIO

from pdstudy.core.streams import printable

STYLES = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33, "cyan": 36}
"""Codes of a terminal (ECMA-48, SGR)."""

STYLE_OF = {"failed": "red", "diverged": "yellow", "running": "cyan", "waiting": "", "done": "green"}
"""The style of each group of states (`pdstudy.plan.artifact_state.GROUPS`)."""


def say(text: str = "", *, file: TextIO | None = None, style: str = "") -> None:
    """Print a message at once, its control characters made visible; to standard output where no `file` is given.

    `style` is one of `STYLES`, and shows on terminals alone.
    """
    stream = file or sys.stdout
    print(styled(printable(text, keep="\n\t"), style, stream), file=stream, flush=True)


def warn(text: str) -> None:
    """Print a message to standard error."""
    say(text, file=sys.stderr, style="red" if text.startswith(("pdstudy:", "failed:")) else "")


def say_warning(text: str, *, file: TextIO | None = None) -> None:
    """Print what a user should know before going on."""
    say(f"warning: {text}", file=file, style="yellow")


def styled(text: str, style: str, stream: TextIO) -> str:
    """The text in one of `STYLES` on a terminal; as it is elsewhere, and where NO_COLOR is set (no-color.org)."""
    plain = not style or not text or not stream.isatty()
    if plain or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[{STYLES[style]}m{text}\x1b[0m"


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
