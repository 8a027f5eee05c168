"""Plain tables and JSON on standard output."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from pdstudy.cli.terminal import display_width, say, shortened, wrapped
from pdstudy.core.streams import printable

GAP = "  "

SHORTEST_LABEL, SHORTEST_WRAPPED = 12, 16
"""Characters below which no label is shortened, and no last column is wrapped."""


def print_json(value: Any) -> None:
    """Print plain data as JSON."""
    say(json.dumps(value, indent=1))


def print_table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: frozenset[int] = frozenset(),
    styles: Sequence[str] = (),
) -> None:
    """Print aligned columns, those in `right` flush right, each row in its style.

    On a terminal the last column is wrapped, and labels are shortened in their middle, until a row fits a line; nothing
    is cut where output is piped.
    """
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    lines = table_lines(header, rows, right=right, width=width)
    for row, style in zip(lines, ("bold", *(styles or [""] * len(rows))), strict=True):
        for line in row:
            say(line, style=style)


def table_text(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, right: frozenset[int], width: int | None
) -> str:
    """The lines of a table; `width` is what a line may take, None for any."""
    return "\n".join(line for row in table_lines(header, rows, right=right, width=width) for line in row)


def table_lines(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, right: frozenset[int], width: int | None
) -> list[list[str]]:
    """The lines of each row of a table, that of the header first."""
    lines = [[printable(entry) for entry in row] for row in (header, *rows)]
    columns = [max(display_width(line[i]) for line in lines) for i in range(len(header))]
    if width is not None:
        columns = _fitted(columns, width - len(GAP) * (len(columns) - 1), right)
    return [list(_lines(line, columns, right)) for line in lines]


def _lines(line: list[str], columns: list[int], right: frozenset[int]) -> Iterator[str]:
    """A row of the table; entries of the last column that are too wide go on below."""
    *others, last = line
    parts = [last] if len(others) in right else wrapped(last, columns[-1])
    for number, part in enumerate(parts):
        entries = [*(others if number == 0 else [""] * len(others)), part]
        short = [shortened(entry, column) for entry, column in zip(entries, columns, strict=True)]
        blanks = [" " * (column - display_width(entry)) for entry, column in zip(short, columns, strict=True)]
        yield GAP.join(b + e if i in right else e + b for i, (e, b) in enumerate(zip(short, blanks))).rstrip()


def _fitted(columns: list[int], width: int, right: frozenset[int]) -> list[int]:
    """Column widths that come to `width` at most: the last column first, then labels, the widest first; numbers, flush
    right, are never cut."""
    columns = list(columns)
    last = len(columns) - 1
    loose = [i for i in range(last) if i not in right]
    if last not in right:
        columns[last] = min(columns[last], max(width - sum(columns[:last]), SHORTEST_WRAPPED))
    while sum(columns) > width and loose:
        widest = max(loose, key=columns.__getitem__)
        if columns[widest] <= SHORTEST_LABEL:
            break
        columns[widest] -= 1
    return columns
