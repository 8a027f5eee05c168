"""The driver's end of a worker: starting its process, sending it orders, listening to its events."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from typing import Any

from pdstudy.plan.artifact import Artifact

STDERR = 2
"""File descriptor to which the output of a worker goes where it has no log."""


FAREWELL_SECONDS = 60.0
"""Seconds that a worker without further orders has to end."""


class WorkerProcess:
    """One worker process and the artifact that it is making."""

    def __init__(self, number: int, events: queue.Queue[tuple[WorkerProcess, dict[str, Any]]], threads: int) -> None:
        self.number = number
        self.artifact: Artifact | None = None
        self._events = events
        self._threads = threads
        self.process: subprocess.Popen[str] | None = None

    def give(self, artifact: Artifact, task: dict[str, Any]) -> None:
        self.artifact = artifact
        if self.process is None or self.process.poll() is not None:
            self._start()
        assert self.process is not None
        assert self.process.stdin is not None
        # A worker that dies before it reads this reports it by its end, like any that dies at work.
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(task) + "\n")
            self.process.stdin.flush()

    def _start(self) -> None:
        # One thread per worker: two busy threads on two busy cores stall each other (reports/NOTES.md).
        threads = {name: str(self._threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        # Events have a channel of their own: any library may print. As in SLURM jobs, no module is imported from the
        # working directory.
        reading, writing = os.pipe()
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pdstudy.launch.worker", str(writing)],
                stdin=subprocess.PIPE,
                stdout=STDERR,
                text=True,
                env={**os.environ, **threads, "PYTHONSAFEPATH": "1"},
                pass_fds=(writing,),
                start_new_session=True,
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        threading.Thread(target=self._listen, args=(self.process, reading), daemon=True).start()

    def _listen(self, process: subprocess.Popen[str], channel: int) -> None:
        end: dict[str, Any] = {"event": "died"}
        try:
            with os.fdopen(channel) as events:
                for line in events:
                    self._events.put((self, json.loads(line)))
        except Exception as error:  # whatever it is, the driver must not wait for this worker
            process.kill()
            end["error"] = f"sent what is no event ({error})"
        end["code"] = process.wait()
        if process is self.process:  # else a new worker has long taken its place
            self._events.put((self, end))

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            assert self.process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.write('{"stop": true}\n')
                self.process.stdin.flush()

    def close(self, *, kill: bool = False) -> None:
        if self.process is None:
            return
        assert self.process.stdin is not None
        if kill:
            self.process.kill()
        else:
            with contextlib.suppress(BrokenPipeError):  # it is gone, and a task that it never read still in the pipe
                self.process.stdin.close()
        try:
            self.process.wait(FAREWELL_SECONDS)
        except subprocess.TimeoutExpired:  # all is made by now: a library's thread holds it back
            self.process.kill()
            self.process.wait()


def explain_exit(code: int) -> str:
    """A frequent reason for an exit code of a worker."""
    if code == -signal.SIGKILL:
        return "signal 9 is often the system out of memory"
    if code in (-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGILL, -signal.SIGABRT):
        return "a crash inside a library; its last words are in the log"
    if code < 0:
        return "not by pdstudy"
    return "a library or a file of this Python ended it; its last words are above, or in the log"
