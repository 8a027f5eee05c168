"""Where a figure is shown: a paper, a wide screen, a phone. Its width, its letters, how many panels stand side by side.

Figures are drawn at the size at which they are shown, so that letters are as large as they should be."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
from dataclasses import dataclass

FONT = 7.5
"""Size of letters that the style and the heights of figures are made for, in points."""

PANEL = 2.4
"""Least width of a panel with labels of its own, in inches, where letters have `FONT`."""

SHARED_PANEL = 1.6
"""Least width of a panel that shares its axes with its neighbours, in inches, where letters have `FONT`."""


@dataclass(frozen=True)
class Medium:
    """A place for figures. `width` in inches, None: each figure's own; `font` in points. On a `screen` text stays text
    and marks say what they are."""

    width: float | None = None
    font: float = FONT
    screen: bool = False

    @property
    def scale(self) -> float:
        """How much larger letters are than those that figures are made for."""
        return self.font / FONT

    def fit(self, columns: int, panel: float = PANEL) -> int:
        """How many of so many panels stand side by side."""
        return columns if self.width is None else max(1, min(columns, int(self.width / (panel * self.scale))))


PAPER = Medium()
SCREEN = Medium(10.0, 10.0, screen=True)
PHONE = Medium(3.75, 8.0, screen=True)

_CURRENT: contextvars.ContextVar[Medium] = contextvars.ContextVar("medium", default=PAPER)


def current_medium() -> Medium:
    """The medium that figures are being drawn for."""
    return _CURRENT.get()


@contextlib.contextmanager
def drawn_for(medium: Medium) -> Iterator[None]:
    """Inside this context figures are drawn for this medium."""
    token = _CURRENT.set(medium)
    try:
        yield
    finally:
        _CURRENT.reset(token)
