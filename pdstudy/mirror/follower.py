"""Follows the runs of a study and writes what is new of them to a tracker, each row once over any interruption."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pdstudy.mirror.run_rows import MirroredRun, SentRows, new_rows
from pdstudy.mirror.trackers import OpenRun, Tracker

LOOK_SECONDS = 5.0
"""Between two looks at the files of runs."""


class Follower:
    """Writes runs to a tracker; `notes` is the folder of what was sent, a file per run.

    A note is written after its rows: a kill between the two has them sent again, which trackers that can tell leave out
    (`pdstudy.mirror.trackers`). Two followers of one folder of notes at a time would write rows twice: hold a claim.
    """

    def __init__(self, tracker: Tracker, runs: Sequence[MirroredRun], notes: Path) -> None:
        self._tracker, self._runs, self._notes = tracker, runs, notes
        self._open: dict[str, OpenRun] = {}
        self._read: set[str] = set()
        """Runs that had ended when they were read: nothing comes of them."""

    def look(self) -> int:
        """Send what is new; the number of rows sent. Raises `ConfigError` where a file of a run is damaged."""
        return sum(self._send(run) for run in self._runs if run.key not in self._read)

    def follow(self, note: Callable[[str], None], seconds: float = LOOK_SECONDS) -> None:
        """Send what comes until every run has ended; `note` takes a line for each look that found something."""
        while True:
            ended = all(run.ended() for run in self._runs)  # before the look, which then finds their last rows
            if count := self.look():
                note(f"{count:,} rows sent")
            if ended:
                return
            time.sleep(seconds)

    def close(self) -> None:
        """Close what is open at the tracker."""
        while self._open:
            self._open.popitem()[1].close()

    def _send(self, run: MirroredRun) -> int:
        path = self._notes / f"{run.key}.json"
        sent, ended = SentRows.read(path), run.ended()
        rows = new_rows(run, sent)
        if rows:
            if run.key not in self._open:
                self._open[run.key] = self._tracker.open(run, sent.step)
            self._open[run.key].log(rows)
            sent.add(rows)
            sent.write(path)
        if ended:
            self._read.add(run.key)
            if run.key in self._open:
                self._open.pop(run.key).close()
        return len(rows)
