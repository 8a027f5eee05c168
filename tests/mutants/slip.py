"""One slip: a place in the code, the wrong text in its place, and the tests of the default suite that should notice."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Slip:
    """`old` occurs once in `file`; with `new` in its place one of `tests` should fail. `harmless` is why none does."""

    file: str
    old: str
    new: str
    tests: str
    """Files or folders of tests, separated by blanks; `-k` and `-m` expressions without blanks are allowed."""
    harmless: str = ""

    @property
    def name(self) -> str:
        return f"{self.file}: {' '.join(self.old.split())[:60]}"
