"""Opens a tracker by its name, and says in one line what its library raises, now or later."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path

from pdstudy.core.errors import ConfigError
from pdstudy.mirror.run_rows import MirroredRun, Row
from pdstudy.mirror.trackers import TRACKERS, OpenRun, Tracker

MOST_SAID = 200
"""Characters of an error's text that are passed on: some libraries give a whole page."""


def make_tracker(name: str, project: str, folder: Path) -> Tracker:
    """A tracker of a project, with files in a folder. It and its runs raise `ConfigError` for all that goes wrong in
    them: its package is absent, its server does not answer, its settings are refused."""
    if importlib.util.find_spec(name) is None:
        raise ConfigError(f"--to {name}: its package is not installed; pip install 'pdstudy[{name}]'")
    with _one_line(name):
        return _OneLineTracker(name, TRACKERS[name](project, folder))


class _OneLineTracker:
    def __init__(self, name: str, tracker: Tracker) -> None:
        self._name, self._tracker = name, tracker

    @property
    def how_to_look(self) -> str:
        return self._tracker.how_to_look

    def open(self, run: MirroredRun, sent: int) -> OpenRun:
        with _one_line(self._name):
            return _OneLineRun(self._name, self._tracker.open(run, sent))


class _OneLineRun:
    def __init__(self, name: str, run: OpenRun) -> None:
        self._name, self._run = name, run

    def log(self, rows: Sequence[Row]) -> None:
        with _one_line(self._name):
            self._run.log(rows)

    def close(self) -> None:
        with _one_line(self._name):
            self._run.close()


@contextlib.contextmanager
def _one_line(name: str) -> Iterator[None]:
    """Turn what a tracker's library raises into a `ConfigError`, of whatever class it is: each library has its own, and
    so have those by which it reaches its server."""
    try:
        yield
    except Exception as error:
        said = " ".join(str(error).split())
        said = f"{said[:MOST_SAID]}..." if len(said) > MOST_SAID else said
        raise ConfigError(
            f"--to {name}: found {type(error).__name__}{': ' if said else ''}{said}; "
            f"see to {TRACKERS[name].SETTINGS}, then mirror again: it goes on from the rows that were sent"
        ) from error
