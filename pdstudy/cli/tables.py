"""Plain tables and JSON on standard output."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from typing import Any

from pdstudy.cli.terminal import SHORTEST_COLUMN, display_width, say, shortened
from pdstudy.core.streams import printable

GAP = "  "


def print_json(value: Any) -> None:
    """Print plain data as JSON."""
    say(json.dumps(value, indent=1))


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: frozenset[int] = frozenset()) -> None:
    """Print aligned columns, those in `right` flush right.

    On a terminal the widest columns are shortened until a row fits a line; nothing is cut where output is piped.
    """
    say(
        table_text(header, rows, right=right, width=shutil.get_terminal_size().columns if sys.stdout.isatty() else None)
    )


def table_text(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, right: frozenset[int], width: int | None
) -> str:
    """The lines of a table; `width` is what a line may take, None for any."""
    lines = [[printable(entry) for entry in row] for row in (header, *rows)]
    columns = [max(display_width(line[i]) for line in lines) for i in range(len(header))]
    if width is not None:
        columns = _fitted(columns, width - len(GAP) * (len(columns) - 1), fixed=right)
    return "\n".join(GAP.join(_aligned(line, columns, right)).rstrip() for line in lines)


def _aligned(line: list[str], columns: list[int], right: frozenset[int]) -> list[str]:
    entries = [shortened(entry, column) for entry, column in zip(line, columns, strict=True)]
    blanks = [" " * (column - display_width(entry)) for entry, column in zip(entries, columns, strict=True)]
    return [b + e if i in right else e + b for i, (e, b) in enumerate(zip(entries, blanks, strict=True))]


def _fitted(columns: list[int], width: int, *, fixed: frozenset[int]) -> list[int]:
    """Column widths that come to `width` at most, the widest cut first; numbers (`fixed`) are never cut."""
    columns = list(columns)
    loose = [i for i in range(len(columns)) if i not in fixed]
    while sum(columns) > width and loose:
        widest = max(loose, key=columns.__getitem__)
        if columns[widest] <= SHORTEST_COLUMN:
            break
        columns[widest] -= 1
    return columns
