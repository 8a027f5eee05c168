"""Showing a run's progress: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pdstudy.launch.local import ProgressView, RunOutcome
from pdstudy.plan.plan import Artifact, Plan

if TYPE_CHECKING:
    from rich.table import Table
from pdstudy.core.format import duration

PLAIN_EVERY_SECONDS = 15.0


@dataclass
class _Doing:
    item: Artifact
    what: str = "starting"
    share: float = 0.0


class Meter:
    """How much of a plan is done, weighted by FLOPs, and when it will be."""

    def __init__(self, plan: Plan) -> None:
        self.total = sum(self.weight(i) for i in plan.todo)
        self.items = len(plan.todo)
        self.ended = 0
        self._ended_weight = 0.0
        self._begun = time.monotonic()
        self.doing: dict[int, _Doing] = {}

    @staticmethod
    def weight(item: Artifact) -> float:
        return max(item.flops, 1e9)

    def end(self, slot: int, item: Artifact) -> None:
        self.doing.pop(slot, None)
        self.ended += 1
        self._ended_weight += self.weight(item)

    @property
    def share(self) -> float:
        part = sum(self.weight(d.item) * d.share for d in self.doing.values())
        return (self._ended_weight + part) / self.total if self.total else 1.0

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._begun

    @property
    def eta(self) -> float | None:
        """Seconds left at the pace so far; None before there is a pace."""
        share = self.share
        return self.elapsed * (1 - share) / share if share > 0.01 else None

    def summary(self) -> str:
        eta = "" if self.eta is None else f", about {duration(self.eta)} left"
        return f"{self.ended}/{self.items} items, {100 * self.share:.0f} %, {duration(self.elapsed)} so far{eta}"


class PlainView:
    """One line when an item begins or ends, and a summary now and then; what a log file wants."""

    def start(self, plan: Plan) -> None:
        self.meter = Meter(plan)
        self._last = time.monotonic()

    def begin(self, slot: int, item: Artifact) -> None:
        self.meter.doing[slot] = _Doing(item)

    def progress(self, slot: int, item: Artifact, what: str, share: float) -> None:
        self.meter.doing[slot] = _Doing(item, what, share)
        if time.monotonic() - self._last > PLAIN_EVERY_SECONDS:
            self._last = time.monotonic()
            print(f"  {self.meter.summary()}", flush=True)

    def end(self, slot: int, item: Artifact, state: str, message: str = "") -> None:
        self.meter.end(slot, item)
        tail = f": {message}" if message else ""
        print(f"[{self.meter.ended}/{self.meter.items}] {item.kind} {item.label}: {state}{tail}", flush=True)

    def note(self, text: str) -> None:
        print(f"  {text}", flush=True)

    def finish(self, outcome: RunOutcome) -> None:
        pass


class LiveView:
    """A bar for the whole and a line per slot, redrawn in place; ended items scroll by above."""

    def start(self, plan: Plan) -> None:
        from rich.console import Console
        from rich.live import Live

        self.meter = Meter(plan)
        self._console = Console(highlight=False)
        self._live = Live(console=self._console, refresh_per_second=4, get_renderable=self._render)
        self._live.start()

    def _render(self) -> Table:
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        table = Table.grid(padding=(0, 2))
        for slot, doing in sorted(self.meter.doing.items()):
            bar = ProgressBar(total=1.0, completed=doing.share, width=24)
            table.add_row(f"slot {slot}", bar, f"{doing.item.kind} {doing.item.label}", doing.what)
        table.add_row("all", ProgressBar(total=1.0, completed=self.meter.share, width=24), self.meter.summary())
        return table

    def begin(self, slot: int, item: Artifact) -> None:
        self.meter.doing[slot] = _Doing(item)

    def progress(self, slot: int, item: Artifact, what: str, share: float) -> None:
        self.meter.doing[slot] = _Doing(item, what, share)

    def end(self, slot: int, item: Artifact, state: str, message: str = "") -> None:
        self.meter.end(slot, item)
        tail = f": {message}" if message else ""
        self._console.print(f"{item.kind} {item.label}: {state}{tail}", markup=False)

    def note(self, text: str) -> None:
        self._console.print(text, markup=False)

    def finish(self, outcome: RunOutcome) -> None:
        self._live.stop()


def view() -> ProgressView:
    return LiveView() if sys.stdout.isatty() else PlainView()
