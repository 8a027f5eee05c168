"""Plain tables and JSON on standard output."""

from __future__ import annotations

import json
from typing import Any


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=1))


def print_table(header: list[str], rows: list[list[str]], *, right: set[int] = frozenset()) -> None:  # type: ignore[assignment]
    """Plain aligned columns: cheap to import, easy to pipe."""
    widths = [max(len(r[i]) for r in [header, *rows]) for i in range(len(header))]
    for row in [header, *rows]:
        cells = [c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths))]
        print("  ".join(cells).rstrip())
