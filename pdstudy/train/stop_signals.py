"""Signals as a reason to stop: noted when they come, acted on at the end of a step, passed on afterwards."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any

WATCHED = (signal.SIGTERM, signal.SIGUSR2)
"""A cluster's warnings: SIGTERM from SLURM and from users, SIGUSR2 from submitit's jobs."""


class StopSignals:
    """Notes SIGTERM and SIGUSR2 while it is open. Use in the main thread of each rank.

        with StopSignals() as signals:
            state = train(..., should_stop=signals.seen)
        if state == "stopped":
            signals.forward()

    A signal to one rank is enough: ranks agree at the end of a step. A handler may not save by itself, because a save
    needs all ranks.
    """

    def __init__(self) -> None:
        self.received: list[int] = []
        """The signals that have come, oldest first."""
        self._frame: FrameType | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        self._before = {number: signal.signal(number, self._note) for number in WATCHED}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._frame = frame
        self.received.append(number)

    def seen(self) -> bool:
        """Whether a signal has come."""
        return bool(self.received)

    def forward(self) -> None:
        """Call the handler that was there before for the signal that came (submitit's requeues the job)."""
        if self.received:
            handler = self._before[self.received[-1]]
            if callable(handler):
                handler(self.received[-1], self._frame)
