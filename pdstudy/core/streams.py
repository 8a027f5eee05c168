"""Standard streams: characters that their encoding lacks, and characters that would drive a terminal."""

from __future__ import annotations

import io
import sys
import unicodedata


def escape_unencodable() -> None:
    """Write characters that the encoding of standard output or error lacks as escapes, where Python would raise."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def printable(text: str, *, keep: str = "") -> str:
    """The text with control characters but `keep` as escapes: a label from a file may hold what drives a terminal."""
    return "".join(c if c in keep or unicodedata.category(c) not in ("Cc", "Cs") else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
