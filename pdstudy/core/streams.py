"""Standard streams: closed ones, characters that their encoding lacks, and characters that would drive a terminal."""

from __future__ import annotations

import io
import os
import re
import sys

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Unicode's control characters (Cc) and lone surrogates (Cs)."""


def prepare_streams() -> None:
    """Make standard streams usable whatever started this process.

    Closed ones, as under some schedulers and `>&-`, become the null device: their descriptors would else be given to
    the next file. Characters that the encoding of output or error lacks are written as escapes, where Python would
    raise.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(descriptor, True)
            setattr(sys, name, os.fdopen(descriptor, mode))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def printable(text: str, *, keep: str = "") -> str:
    """The text with control characters but `keep` as escapes: a label from a file may hold what drives a terminal."""
    return _CONTROL.sub(lambda found: found[0] if found[0] in keep else _escaped(found[0]), text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
