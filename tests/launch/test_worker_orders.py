"""What a worker does with a stop and an order, and with the status of a run that failed, in this process."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from pdstudy.core.run_files import DamagedRun
from pdstudy.launch import worker
from pdstudy.workspace.run_dir import RunDir


@pytest.fixture
def streams() -> Iterator[tuple[int, int]]:
    """The driver's ends: where orders are written, and where events are read. Standard input is given back."""
    incoming, orders = os.pipe()
    events, channel = os.pipe()
    own, handlers = os.dup(0), {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    os.dup2(incoming, 0)
    os.close(incoming)
    sys.argv[1:], words = [str(channel), "1"], sys.argv[1:]
    yield orders, events
    sys.argv[1:] = words
    os.dup2(own, 0)
    for descriptor in (own, events):
        os.close(descriptor)
    for each, handler in handlers.items():
        signal.signal(each, handler)


def test_an_order_after_a_stop_is_carried_out(
    streams: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def perform(order: object, progress: object, should_stop: Callable[[], bool]) -> str:
        return "stopped" if should_stop() else "done"

    monkeypatch.setattr(worker, "perform", perform)
    order = SimpleNamespace(log=tmp_path / "log", kind="corpus")
    monkeypatch.setattr(worker.WorkOrder, "from_json", lambda message: order)
    orders, events = streams
    seen: list[dict[str, str]] = []

    def drive() -> None:
        os.write(orders, b'{"stop": true}\n{}\n')
        with os.fdopen(os.dup(events)) as lines:
            for line in lines:
                seen.append(json.loads(line))
                if seen[-1]["event"] == "end":
                    break
        os.close(orders)

    driver = threading.Thread(target=drive)
    driver.start()
    worker.main()
    driver.join()
    assert seen == [{"event": "ready"}, {"event": "end", "state": "done"}]


@pytest.mark.parametrize(
    ("error", "state"), [(DamagedRun("result.json is damaged"), "done"), (ValueError("of another kind"), "failed")]
)
def test_a_damaged_run_s_status_is_left_as_it_is(tmp_path: Path, error: Exception, state: str) -> None:
    run = RunDir(tmp_path)
    run.set_status("done")
    worker._record_failure(SimpleNamespace(kind="student", log=tmp_path / "run.log"), error, str(error))  # type: ignore[arg-type]
    assert json.loads((tmp_path / "status.json").read_text())["state"] == state
