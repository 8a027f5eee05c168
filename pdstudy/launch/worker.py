"""A worker process: imports torch once, then carries out one order after another.

Orders arrive as JSON lines on standard input, events leave as JSON lines on the descriptor that the command line gives.
All output of an order goes to its own log. A closed input (the driver is gone) or a `stop` line ends the current order
at its next step boundary, with all saved.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from pdstudy.config.placement import TRAINING
from pdstudy.core.claim import Claimed
from pdstudy.core.errors import ConfigError
from pdstudy.core.run_files import DamagedRun
from pdstudy.core.streams import escape_unencodable
from pdstudy.launch.stages import perform
from pdstudy.launch.work_order import WorkOrder
from pdstudy.workspace.failure import clear_failure, write_failure
from pdstudy.workspace.run_dir import RunDir


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the driver decides
    escape_unencodable()
    channel = int(sys.argv[1])
    os.set_inheritable(channel, False)
    events = os.fdopen(channel, "w", buffering=1)
    incoming = os.fdopen(os.dup(0))
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)  # who asks a question in the midst of work gets no answer, and no order
    orders: queue.Queue[dict[str, Any] | None] = queue.Queue()
    stop = threading.Event()

    def listen() -> None:
        try:
            for line in incoming:
                message = json.loads(line)
                if message.get("stop"):
                    stop.set()
                else:
                    stop.clear()
                    orders.put(message)
        finally:  # also where this thread fails: nobody could send an order, or a stop, any more
            stop.set()
            orders.put(None)

    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threading.Thread(target=listen, daemon=True).start()

    def send(event: str, **fields: Any) -> None:
        with contextlib.suppress(BrokenPipeError):
            events.write(json.dumps({"event": event, **fields}) + "\n")

    send("ready")
    while (message := orders.get()) is not None:
        order = WorkOrder.from_json(message)
        last = 0.0

        def progress(what: str, share: float) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last > 0.2:
                last = now
                send("progress", what=what, share=share)

        clear_failure(order.log)
        with output_to(order.log):
            try:
                send("end", state=perform(order, progress, stop.is_set))
            except Claimed as claimed:
                send("claimed", error=str(claimed))
            except Exception as error:
                text = traceback.format_exc()
                print(text, file=sys.stderr, flush=True)
                short = str(error) if isinstance(error, ConfigError) else f"{type(error).__name__}: {error}"
                if order.kind in TRAINING and not isinstance(error, DamagedRun):  # whose files are left as they are
                    with contextlib.suppress(OSError):
                        RunDir(order.log.parent).set_status("failed", error=short)
                else:
                    write_failure(order.log, short)
                send("failed", error=short, log=str(order.log))


class output_to(contextlib.AbstractContextManager[None]):
    """Append this process's standard output and error to a log."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        _flush()
        self._saved = {number: os.dup(number) for number in (1, 2)}
        with self._path.open("a") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)

    def __exit__(self, *_: object) -> None:
        _flush()
        for number, saved in self._saved.items():
            os.dup2(saved, number)
            os.close(saved)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()


if __name__ == "__main__":
    main()
