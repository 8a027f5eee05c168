"""Standard streams: characters that their encoding lacks, and characters that would drive a terminal."""

from __future__ import annotations

import io
import re
import sys

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Unicode's control characters (Cc) and lone surrogates (Cs)."""


def escape_unencodable() -> None:
    """Write characters that the encoding of standard output or error lacks as escapes, where Python would raise."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def printable(text: str, *, keep: str = "") -> str:
    """The text with control characters but `keep` as escapes: a label from a file may hold what drives a terminal."""
    return _CONTROL.sub(lambda found: found[0] if found[0] in keep else _escaped(found[0]), text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
