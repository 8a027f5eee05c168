"""Progress of long work: a callback that whoever starts the work may pass in."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, float], None]
"""Called with the step of the work in words and the share of the whole that is done, 0 to 1."""


def no_progress(step: str, share: float) -> None:
    """Report nothing."""
