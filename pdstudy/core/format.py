"""Numbers for people: counts, bytes, hours, durations."""

from __future__ import annotations

import math


def duration(seconds: float) -> str:
    """75 -> '1m15s', 7300 -> '2h01m'."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def si(number: float) -> str:
    """12_345_678 -> '12.3M', 999_950_000 -> '1B'; from 1e18 on, where no letter is usual, 1.87e23."""
    if not math.isfinite(number):
        return f"{number:g}"
    number = float(f"{number:.3g}")  # first round: 999.95M would be 1e+03M
    if abs(number) >= 1e18:
        return f"{number:.3g}".replace("e+", "e")
    for unit, size in (("P", 1e15), ("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(number) >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.3g}"


def size(number: float) -> str:
    """Bytes for people: 1.4GB."""
    return f"{si(number).replace('B', 'G')}B" if number else "-"


def hours(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"
