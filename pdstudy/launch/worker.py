"""A worker process: imports torch once, then carries out one order after another.

Orders arrive as JSON lines on standard input, events leave as JSON lines on the descriptor that the command line gives.
A worker may be one of several ranks (torchrun's variables are set), which are all sent the same orders: the main one
holds the claim and writes. All output of an order goes to its own log. A closed input (the driver is gone) or a `stop`
line ends the current order at its next step boundary, with all saved.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import queue
import re
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
from pdstudy.core.streams import prepare_streams
from pdstudy.launch.out_of_memory import explain_memory, is_out_of_memory
from pdstudy.launch.stages import perform, perform_claimed
from pdstudy.launch.work_order import WorkOrder
from pdstudy.workspace.failure import clear_failure, write_failure
from pdstudy.workspace.run_dir import RunDir

LOST_PEER = re.compile(r"gloo|NCCL|[Cc]onnection (closed|reset)|TCPStore")
"""Words of torch where another rank has gone in the midst of an exchange."""

CAUSE_SECONDS = 5.0
"""Seconds that a rank which lost another waits before it says so: the other's words, the cause, should come first."""


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the driver decides
    prepare_streams()
    channel, sharing = int(sys.argv[1]), int(sys.argv[2])
    main_rank = os.environ.get("RANK", "0") == "0"
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

        if main_rank:
            clear_failure(order.log)
        with output_to(order.log):
            try:
                send("end", state=(perform if main_rank else perform_claimed)(order, progress, stop.is_set))
            except Claimed as claimed:
                send("claimed", error=str(claimed))
            except Exception as error:
                text = traceback.format_exc()
                print(text, file=sys.stderr, flush=True)
                memory = is_out_of_memory(error)
                short = str(error) if isinstance(error, ConfigError) else f"{type(error).__name__}: {error}"
                if memory:
                    short = explain_memory(order, sharing)
                elif "WORLD_SIZE" in os.environ and LOST_PEER.search(short):
                    time.sleep(CAUSE_SECONDS)
                if main_rank:
                    _record_failure(order, error, short)
                send("failed", error=short, log=str(order.log), memory=memory)
        _free_memory()


def _record_failure(order: WorkOrder, error: Exception, short: str) -> None:
    if order.kind not in TRAINING:
        write_failure(order.log, short)
    elif not isinstance(error, DamagedRun):  # whose files are left as they are
        with contextlib.suppress(OSError):
            RunDir(order.log.parent).set_status("failed", error=short)


def _free_memory() -> None:
    """Drop the models of the last order, which are cycles, and give back what torch keeps of a GPU's memory for itself:
    another worker may be on that GPU next."""
    torch = sys.modules.get("torch")
    if torch is not None:
        gc.collect()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()


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
