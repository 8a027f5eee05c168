"""`torchrun --nproc-per-node N -m pdstudy.train JOB.json`, or `python -m pdstudy.train JOB.json` for one rank.

`pdstudy job STUDY PATTERN --out JOB.json` writes the file.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from pdstudy.core.claim import Claim
from pdstudy.core.collector import quick_imports
from pdstudy.core.errors import ConfigError
from pdstudy.core.streams import prepare_streams
from pdstudy.train.stop_signals import StopSignals
from pdstudy.train.training_job import TrainingJob
from pdstudy.workspace.run_dir import RunDir

STOPPED = 75
"""Exit code of a run that was stopped by a signal and is saved (EX_TEMPFAIL: try again)."""


def main(path: Path) -> int:
    """Carry out the job in `path`, on as many ranks as were started; the exit code. Signals stop it with all saved."""
    prepare_streams()
    main_rank = os.environ.get("RANK", "0") == "0"
    with StopSignals() as signals, contextlib.ExitStack() as held:
        try:
            job = TrainingJob.read(path)
            if main_rank and job.claim is not None:
                held.enter_context(Claim(job.claim, f"run {job.directory.name}"))
        except ConfigError as error:
            return _refused(error)
        with quick_imports():
            from pdstudy.train.run_job import run_job
        try:
            state = run_job(job, should_stop=signals.seen)
        except Exception as error:
            if main_rank and (job.directory / "config.json").exists():
                RunDir(job.directory).set_status("failed", error=str(error))
            if isinstance(error, ConfigError):
                return _refused(error)
            raise
    return STOPPED if state == "stopped" else 0


def _refused(error: ConfigError) -> int:
    print(f"pdstudy: {error}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m pdstudy.train JOB.json (`pdstudy job STUDY PATTERN --out JOB.json` writes it)")
    sys.exit(main(Path(sys.argv[1])))
