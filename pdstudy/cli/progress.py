"""Progress of runs and searches: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from pdstudy.cli.terminal import STYLE_OF, say, warn
from pdstudy.core.format import duration
from pdstudy.core.progress import Progress
from pdstudy.core.streams import printable
from pdstudy.launch.local import RunOutcome
from pdstudy.plan.artifact import Artifact
from pdstudy.plan.artifact_state import group_of
from pdstudy.plan.plan import Plan

if TYPE_CHECKING:
    from rich.table import Table

    from pdstudy.search.progress import EndedTrial

SUMMARY_SECONDS = 15.0
"""Between two summaries among plain lines."""

PATIENCE_SECONDS = 2.0
"""After which a command says what it is doing."""

LEAST_WEIGHT = 1e9
"""FLOPs that an artifact counts for at least: building a corpus costs none, and takes time."""


@dataclass
class _Doing:
    artifact: Artifact
    what: str = "starting"
    share: float = 0.0
    device: str = ""


@contextmanager
def slow_work(text: str) -> Iterator[Progress]:
    """Say on a terminal what is being done where it takes longer than `PATIENCE_SECONDS`.

    Yields a function that takes the step of the work and the share that is done.
    """
    ended, shown = threading.Event(), [text]

    def show() -> None:
        said = ""
        while not ended.wait(PATIENCE_SECONDS):
            if shown[0] != said:
                said = shown[0]
                warn(f"{said} ...")

    def update(step: str, share: float) -> None:
        shown[0] = f"{text}: {step}, {share:.0%}"

    if sys.stderr.isatty():
        threading.Thread(target=show, daemon=True).start()
    try:
        yield update
    finally:
        ended.set()


class Meter:
    """How much of a plan is made, weighted by FLOPs, and when the rest will be."""

    def __init__(self, plan: Plan) -> None:
        self.count = len(plan.todo)
        self.ended = 0
        self.doing: dict[int, _Doing] = {}
        self._total = sum(self.weight(i) for i in plan.todo)
        self._made = 0.0
        self._begun = time.monotonic()

    @staticmethod
    def weight(artifact: Artifact) -> float:
        return max(artifact.flops, LEAST_WEIGHT)

    def update(self, worker: int, what: str, share: float) -> None:
        """Note how far a worker has come with its artifact."""
        self.doing[worker].what, self.doing[worker].share = what, share

    def end(self, worker: int, artifact: Artifact, state: str) -> str:
        """Count an artifact by its end: what was stopped is made in part, what failed is no longer expected.

        Returns the device that it was made on.
        """
        doing = self.doing.pop(worker, _Doing(artifact))
        if state == "stopped":
            self._made += self.weight(artifact) * doing.share
            return doing.device
        self.ended += 1
        if state == "failed":
            self._total -= self.weight(artifact)
        else:
            self._made += self.weight(artifact)
        return doing.device

    @property
    def share(self) -> float:
        part = sum(self.weight(d.artifact) * d.share for d in self.doing.values())
        return min((self._made + part) / self._total, 1.0) if self._total > 0 else 0.0

    @property
    def elapsed(self) -> float:
        """Seconds since the plan was begun."""
        return time.monotonic() - self._begun

    @property
    def eta(self) -> float | None:
        """Seconds left at the pace so far; None before there is a pace."""
        share = self.share
        return self.elapsed * (1 - share) / share if share > 0.01 else None

    def summary(self) -> str:
        eta = "" if self.eta is None or self.ended == self.count else f", about {duration(self.eta)} left"
        share = int(100 * self.share)  # 100 % only where all is made
        return f"{self.ended}/{self.count} artifacts, {share} %, {duration(self.elapsed)} so far{eta}"


class PlainView:
    """One line when an artifact ends, and a summary now and then: for log files."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._reasons = _Reasons()

    def start(self, plan: Plan) -> None:
        self.meter = Meter(plan)
        self._last = time.monotonic()

    def begin(self, worker: int, artifact: Artifact, device: str = "") -> None:
        self.meter.doing[worker] = _Doing(artifact, device=device)

    def progress(self, worker: int, artifact: Artifact, what: str, share: float) -> None:
        self.meter.update(worker, what, share)
        if time.monotonic() - self._last > SUMMARY_SECONDS:
            self._last = time.monotonic()
            self.note(self.meter.summary())

    def end(self, worker: int, artifact: Artifact, state: str, message: str = "") -> None:
        device = self.meter.end(worker, artifact, state)
        line = f"[{self.meter.ended}/{self.meter.count}] {self._reasons.line(artifact, state, message, device)}"
        eta = self.meter.eta if self.meter.ended < self.meter.count else None
        left = "" if eta is None or state == "failed" else f"; about {duration(eta)} left"
        say(line + left, file=sys.stderr if state == "failed" else self._stream)

    def note(self, text: str) -> None:
        say(f"  {text}", file=self._stream)

    def finish(self, outcome: RunOutcome) -> None:
        pass


class _Reasons:
    """Lines about ends, each reason in full once: what fails for many artifacts fails for one reason."""

    def __init__(self) -> None:
        self._first: dict[str, str] = {}

    def line(self, artifact: Artifact, state: str, message: str, device: str = "") -> str:
        name = f"{artifact.kind} {printable(artifact.label)}"
        if state != "failed":
            return f"{name}: {state}{device and f' on {device}'}{message and f', {message}'}"
        first = self._first.setdefault(message, name) if message else name
        reason = f": {message}" if message and first == name else f", as {first}" if message else ""
        return f"{name}: {state}{device and f' on {device}'}{reason}"


class LiveView:
    """A bar for the whole and a line per worker, redrawn in place; artifacts that ended scroll by above."""

    def start(self, plan: Plan) -> None:
        from rich.console import Console
        from rich.live import Live

        self._reasons = _Reasons()
        self.meter = Meter(plan)
        self._console = Console(highlight=False)
        self._live = Live(console=self._console, refresh_per_second=4, get_renderable=self._render)
        self._live.start()

    def _render(self) -> Table:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        for worker, doing in sorted(self.meter.doing.items()):
            bar = ProgressBar(total=1.0, completed=doing.share, width=24)
            name = Text(f"{doing.artifact.kind} {printable(doing.artifact.label)}", overflow="ellipsis", no_wrap=True)
            table.add_row(doing.device or f"worker {worker}", bar, name, Text(doing.what))
        table.add_row("all", ProgressBar(total=1.0, completed=self.meter.share, width=24), self.meter.summary())
        return table

    def begin(self, worker: int, artifact: Artifact, device: str = "") -> None:
        self.meter.doing[worker] = _Doing(artifact, device=device)

    def progress(self, worker: int, artifact: Artifact, what: str, share: float) -> None:
        self.meter.update(worker, what, share)

    def end(self, worker: int, artifact: Artifact, state: str, message: str = "") -> None:
        device = self.meter.end(worker, artifact, state)
        line = printable(self._reasons.line(artifact, state, message, device), keep="\n")
        self._console.print(line, markup=False, style=STYLE_OF[group_of(state)] or None)

    def note(self, text: str) -> None:
        self._console.print(printable(text, keep="\n"), markup=False)

    def finish(self, outcome: RunOutcome) -> None:
        self._live.stop()


class _RunLines(PlainView):
    """A line per run that ended; how many there will be is not known."""

    def progress(self, worker: int, artifact: Artifact, what: str, share: float) -> None:
        return

    def end(self, worker: int, artifact: Artifact, state: str, message: str = "") -> None:
        line = self._reasons.line(artifact, state, message, self.meter.end(worker, artifact, state))
        say(line, file=sys.stderr if state == "failed" else self._stream)


class SearchLines:
    """A line per trial that ended, and per run of one: a `pdstudy.search.progress.SearchView`."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self.shared, self.runs = PlainView(self._stream), _RunLines(self._stream)

    def trial_ended(self, trial: EndedTrial) -> None:
        result = trial.reason or ", ".join(f"{value:.5g}" for value in trial.values)
        say(f"trial {trial.number}: {trial.state}, {result}", file=self._stream)

    def note(self, text: str) -> None:
        say(text, file=self._stream)
