"""Numbers for people: counts, bytes, hours, durations."""

from __future__ import annotations

import math
from collections.abc import Sequence

HOUR, DAY, YEAR = 3600, 86_400, 31_557_600
"""Seconds; a year is 365.25 days."""


def duration(seconds: float) -> str:
    """75 -> '1 min 15 s', 7300 -> '2 h 2 min', 200_000 -> '2 d 8 h', 1e9 -> '31.7 years'."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < HOUR:
        return _two_units(whole, 60, "min", "s")
    if whole < 2 * DAY - 30:  # no 48 h 0 min
        return _two_units(round(whole / 60), 60, "h", "min")
    if whole < 100 * DAY:
        return _two_units(round(whole / HOUR), 24, "d", "h")
    return f"{whole / DAY:.0f} d" if whole < 2 * YEAR else f"{si(whole / YEAR)} years"


def _two_units(count: int, size: int, larger: str, smaller: str) -> str:
    """A count of the smaller unit, `size` of which are a larger one."""
    whole, rest = divmod(count, size)
    return f"{whole} {larger} {rest} {smaller}" if rest else f"{whole} {larger}"


def age(seconds: float) -> str:
    """75 -> '1 min', 7300 -> '2 h': the larger unit of `duration` alone, for narrow columns."""
    return " ".join(duration(seconds).split(" ")[:2])


def device_time(value: float, unit: str) -> str:
    """Hours of devices in a unit such as "core-hours": 0.2 -> '12 core-minutes', 218_639 -> '218,639 core-hours'."""
    device = unit.removesuffix("-hours")
    if value >= 1:
        return f"{hours(value)} {unit}"
    if value >= 1 / 60:
        return f"{60 * value:.2g} {device}-minutes"
    return f"{3600 * value:.2g} {device}-seconds"


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


def si_column(numbers: Sequence[float]) -> list[str]:
    """`si` of numbers that are read beside each other: all as 3.04e22 where one is beyond the letters."""
    if not any(math.isfinite(number) and abs(float(f"{number:.3g}")) >= 1e18 for number in numbers):
        return [si(number) for number in numbers]
    return [_scientific(number) if number and math.isfinite(number) else f"{number:g}" for number in numbers]


def _scientific(number: float) -> str:
    digits, exponent = f"{number:.2e}".split("e")
    return f"{digits}e{int(exponent)}"


def size(number: float) -> str:
    """Bytes for people: 1.4GB."""
    return f"{si(number).replace('B', 'G')}B" if number else "-"


def hours(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"
