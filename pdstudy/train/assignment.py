"""A run to train, as a file: what every rank of it is told, however the ranks are started."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pdstudy.config.evaluation import Evaluation
from pdstudy.config.placement import Placement
from pdstudy.config.run import Run
from pdstudy.core.errors import ConfigError
from pdstudy.core.files import read_json, write_json
from pdstudy.core.identity import decode, encode

STOPPED = 75
"""Exit code of a run that was told to stop and is saved (EX_TEMPFAIL: try again)."""


@dataclass(frozen=True)
class Assignment:
    """What `pdstudy.train.loop.train` is given, with paths in the place of open things. On disk it is JSON."""

    run: Run
    directory: Path
    corpus: Path
    store: Path | None = None
    evaluations: tuple[Evaluation, ...] = ()
    placement: Placement = Placement()
    teacher: Path | None = None
    start: Path | None = None
    exports: tuple[int, ...] = ()

    def write(self, path: Path) -> None:
        values = {name: str(value) if isinstance(value, Path) else encode(value) for name, value in vars(self).items()}
        write_json(path, values)

    @staticmethod
    def read(path: Path) -> Assignment:
        """Raises `ConfigError` where the file is absent."""
        stored: dict[str, Any] | None = read_json(path)
        if stored is None:
            raise ConfigError(f"no assignment at {path}")
        values = {name: decode(value) for name, value in stored.items()}
        for name in ("directory", "corpus", "store", "teacher", "start"):
            values[name] = None if values[name] is None else Path(values[name])
        return Assignment(**values)


def main(path: Path) -> int:
    """Train what is assigned, on as many ranks as were started; the exit code. Signals stop it with all saved."""
    from pdstudy.corpus import open_corpus
    from pdstudy.train.loop import train
    from pdstudy.train.stop_signals import StopSignals
    from pdstudy.workspace.run_dir import RunDir

    with StopSignals() as signals:
        try:
            given = Assignment.read(path)
            state = train(
                given.run,
                RunDir(given.directory),
                corpus=open_corpus(given.corpus),
                store=given.store,
                teacher=given.teacher,
                start=given.start,
                exports=given.exports,
                evaluations=given.evaluations,
                placement=given.placement,
                should_stop=signals.seen,
            )
        except ConfigError as error:
            print(f"pdstudy: {error}", file=sys.stderr)
            return 2
    return STOPPED if state == "stopped" else 0
