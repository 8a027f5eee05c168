"""Rows of a source that cannot be used: counted by kind, and refused or skipped as the source declares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pdstudy.core.errors import ConfigError

MOST_REFUSED = 1_000
"""Bad rows after which reading stops where none is allowed: a wrong `text_field` makes every row one."""


MOST_EXAMPLES = 3
"""Bad rows of each kind that are named."""


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used: where it is, the kind of its fault, and what is wrong with it."""

    where: str
    kind: str
    detail: str


class BadRows:
    """The bad rows of one source, which declares `on_bad_row` and `bad_row_limit` or refuses them all."""

    def __init__(self, source: object) -> None:
        self._may_skip = hasattr(source, "on_bad_row")
        self._skip = getattr(source, "on_bad_row", "refuse") == "skip"
        self._limit = getattr(source, "bad_row_limit", 0.0)
        self._found: dict[str, list[BadRow]] = {}
        self._counts: dict[str, int] = {}
        self.rows = 0
        """Rows read, bad ones included."""

    @property
    def count(self) -> int:
        return sum(self._counts.values())

    def add(self, row: BadRow) -> None:
        """Count a row. Raises `ConfigError` where so many are bad that reading on would say no more."""
        self._counts[row.kind] = self._counts.get(row.kind, 0) + 1
        examples = self._found.setdefault(row.kind, [])
        if len(examples) < MOST_EXAMPLES:
            examples.append(row)
        if not self._skip and self.count >= MOST_REFUSED:
            raise self._refusal("so far")

    def check(self) -> None:
        """Raise `ConfigError`, once all rows are read, where more are bad than the source allows."""
        if self.count and (not self._skip or self.count > self._limit * self.rows):
            raise self._refusal("in all")

    @property
    def summary(self) -> str:
        """The number of bad rows of each kind, with the first of each."""
        return ", ".join(
            f"{self._counts[kind]:,} {kind} (first {rows[0].where}: {rows[0].detail})"
            for kind, rows in self._found.items()
        )

    def describe(self) -> dict[str, Any]:
        """For a manifest: the number of bad rows of each kind, and examples."""
        return {
            kind: {"rows": self._counts[kind], "examples": [f"{row.where}: {row.detail}" for row in rows]}
            for kind, rows in self._found.items()
        }

    def _refusal(self, when: str) -> ConfigError:
        first = next(iter(self._found.values()))[0]
        counts = self.summary.replace(f" (first {first.where}: {first.detail})", "", 1)
        found = f"{first.where}: {first.detail}; bad rows {when}: {counts}, of {self.rows:,}"
        if self._skip:
            share = self.count / max(self.rows, 1)
            return ConfigError(
                f"{found}; allowed: {self._limit:.2%}, found {share:.2%}; mend them, or raise bad_row_limit"
            )
        skipping = ", or set on_bad_row='skip' to leave them out" if self._may_skip else ""
        return ConfigError(f"{found}; mend them{skipping}")
