"""The driver's end of a worker: starting its process, sending it orders, listening to its events."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any

from pdstudy.core.errors import ConfigError
from pdstudy.plan.artifact import Artifact

STDERR = 2
"""File descriptor to which the output of a worker goes where it has no log."""


FAREWELL_SECONDS = 60.0
"""Seconds that a worker without further orders has to end."""


RANK_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Variables by which torch finds the other ranks of a run; a worker that is alone must not inherit them."""

PORTS = range(20_000, 32_000)
"""Ports for the rendezvous of ranks: below those that systems give to outgoing connections (32,768 on Linux)."""


class WorkerProcess:
    """One worker and the artifact that it is making: a process, or one per device where an artifact has several.

    A process sees the devices that its artifact was given and no others. The events are those of the main rank; of the
    other ranks only failures and ends that were not wanted.
    """

    def __init__(
        self,
        number: int,
        events: queue.Queue[tuple[WorkerProcess, dict[str, Any]]],
        threads: int,
        *,
        per_device: int = 1,
    ) -> None:
        self.number = number
        self.artifact: Artifact | None = None
        self.devices: tuple[str, ...] | None = None
        """Devices that its processes see; None: whatever this process sees."""
        self._events = events
        self._threads = threads
        self._per_device = per_device
        self.processes: list[subprocess.Popen[str]] = []

    @property
    def alive(self) -> bool:
        """Whether there are processes that wait for an order or carry one out."""
        return bool(self.processes) and all(process.poll() is None for process in self.processes)

    def give(self, artifact: Artifact, order: dict[str, Any], devices: tuple[str, ...] | None = None) -> None:
        """Have the artifact made on `devices` (none: the CPU)."""
        self.artifact = artifact
        if not self.alive or devices != self.devices:
            self.close()
            self.devices = devices
            self._start()
        self._send(order)

    def _send(self, message: dict[str, Any]) -> None:
        for process in self.processes:
            assert process.stdin is not None
            # A worker that dies before it reads this reports it by its end, like any that dies at work.
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(json.dumps(message) + "\n")
                process.stdin.flush()

    def _start(self) -> None:
        # One thread per worker: two busy threads on two busy cores stall each other (reports/NOTES.md).
        threads = {name: str(self._threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        # As in SLURM jobs, no module is imported from the working directory.
        environment = {**os.environ, **threads, "PYTHONSAFEPATH": "1"}
        for name in RANK_VARIABLES:
            environment.pop(name, None)
        if self.devices is not None:
            # Without the order of buses CUDA counts the fastest device first, and nvidia-smi does not.
            environment.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(self.devices)
        self.processes = []
        for rank in _ranks(len(self.devices or ())):
            self._start_process(environment | rank)

    def _start_process(self, environment: dict[str, str]) -> None:
        # Events have a channel of their own: any library may print.
        reading, writing = os.pipe()
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "pdstudy.launch.worker", str(writing), str(self._per_device)],
                stdin=subprocess.PIPE,
                stdout=STDERR,
                text=True,
                env=environment,
                pass_fds=(writing,),
                start_new_session=True,
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        self.processes.append(process)
        threading.Thread(target=self._listen, args=(process, reading, len(self.processes) == 1), daemon=True).start()

    def _listen(self, process: subprocess.Popen[str], channel: int, main: bool) -> None:
        end: dict[str, Any] = {"event": "died"}
        try:
            with os.fdopen(channel) as events:
                for line in events:
                    event = json.loads(line)
                    if process in self.processes and (main or event["event"] == "failed"):
                        self._events.put((self, event | ({} if main else {"unrecorded": True})))
        except Exception as error:  # whatever it is, the driver must not wait for this worker
            process.kill()
            end["error"] = f"sent what is no event ({error})"
        end["code"] = process.wait()
        if process in self.processes:  # else new ones have long taken its place
            self._events.put((self, end))

    def stop(self) -> None:
        """Have it save and stop at its next step boundary."""
        if self.alive:
            self._send({"stop": True})

    def close(self, *, kill: bool = False) -> None:
        """End its processes: at once, or when they have done what they are doing. No event of them comes any more."""
        processes, self.processes = self.processes, []
        for process in processes:
            assert process.stdin is not None
            if kill:
                process.kill()
            else:
                with contextlib.suppress(BrokenPipeError):  # gone, and an order that it never read still in the pipe
                    process.stdin.close()
        deadline = time.monotonic() + FAREWELL_SECONDS
        for process in processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:  # all is made by now: a library's thread holds it back
                process.kill()
                process.wait()


def _ranks(count: int) -> list[dict[str, str]]:
    """The variables of each rank, as torchrun sets them, where there are several; else those of a process alone."""
    if count < 2:
        return [{}]
    port = _unused_port()
    return [
        {
            "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count),
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        }
        for rank in range(count)
    ]  # fmt: skip


def _unused_port() -> int:
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise ConfigError(f"no port of {PORTS.start} to {PORTS.stop - 1} is unused, and the ranks of a run need one")


def explain_exit(code: int) -> str:
    """A frequent reason for an exit code of a worker."""
    if code == -signal.SIGKILL:
        return "signal 9 is often the system out of memory"
    if code in (-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGILL, -signal.SIGABRT):
        return "a crash inside a library; its last words are in the log"
    if code < 0:
        return "not by pdstudy"
    return "a library or a file of this Python ended it; its last words are above, or in the log"
