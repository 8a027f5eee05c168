"""Numbers on axes and in captions."""

from __future__ import annotations


def si(value: float, digits: int = 3) -> str:
    """A count as researchers write it: 350K, 1.9B, 100B, 3e20 (above 1000T as a power of ten)."""
    if value == 0 or not abs(value) < float("inf"):
        return f"{value:g}"
    value = float(f"{value:.{digits}g}")  # first round, so that 999.9M is 1B
    for factor, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if factor <= abs(value) < factor * 1e3:
            return f"{value / factor:.{digits}g}{letter}"
    return f"{value:.{digits}g}".replace("e+", "e")
