"""What is shown of a run under way: made, stopped and failed artifacts count as what they are."""

from __future__ import annotations

import dataclasses
import io
import time
from pathlib import Path

import pytest

from pdstudy.cli import progress
from pdstudy.cli.progress import Meter, PlainView
from pdstudy.core.format import age, device_time, duration, si_column
from pdstudy.launch.local import RunOutcome
from pdstudy.plan.builder import make_plan
from pdstudy.plan.plan import Plan
from pdstudy.study.study_file import load_study
from pdstudy.workspace.layout import Workspace
from tests.core.tiny import write_tiny


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return make_plan(load_study(str(write_tiny(tmp_path))), Workspace(tmp_path / "workspace"))


def test_a_stopped_run_counts_for_what_it_has_done(plan: Plan) -> None:
    view = PlainView(io.StringIO())
    view.start(plan)
    for worker, item in enumerate(plan.todo):
        view.begin(worker, item)
        view.progress(worker, item, "train", 0.25)
    for worker, item in enumerate(plan.todo):
        view.end(worker, item, "stopped")
    view.finish(RunOutcome(stopped=True))
    assert view.meter.share == pytest.approx(0.25)
    assert view.meter.summary().startswith(f"0/{len(plan.todo)} artifacts, 25 %")


def test_all_that_is_made_is_100_per_cent_and_not_before(plan: Plan) -> None:
    meter = Meter(plan)
    *most, last = plan.todo
    for item in most:
        meter.end(0, item, "done")
    assert meter.share < 1
    assert " 100 %" not in meter.summary()
    meter.end(0, last, "diverged")
    assert meter.share == 1
    assert f"{len(plan.todo)}/{len(plan.todo)} artifacts, 100 %" in meter.summary()


def test_what_failed_is_no_longer_expected(plan: Plan) -> None:
    meter = Meter(plan)
    first, *others = plan.todo
    meter.end(0, first, "failed")
    for item in others:
        meter.end(0, item, "done")
    assert meter.share == 1
    alone = Meter(plan)
    for item in plan.todo:
        alone.end(0, item, "failed")
    assert alone.share == 0


def test_a_label_can_not_drive_a_log(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    view = PlainView(io.StringIO())
    view.start(plan)
    view.end(0, dataclasses.replace(plan.todo[0], label="a\x1b[2Jb\nc"), "failed", "why")
    assert capsys.readouterr().err == f"[1/{len(plan.todo)}] {plan.todo[0].kind} a\\x1b[2Jb\\nc: failed: why\n"


def test_slow_work_is_said_on_a_terminal_and_quick_work_is_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with progress.slow_work("reading"):
        pass
    assert capsys.readouterr().err == ""
    with progress.slow_work("reading") as update:
        time.sleep(0.2)
        update("store 2 of 3", 0.5)
        time.sleep(0.2)
    assert capsys.readouterr().err == "reading ...\nreading: store 2 of 3, 50% ...\n"
    monkeypatch.setattr("sys.stderr.isatty", lambda: False)
    with progress.slow_work("reading"):
        time.sleep(0.2)
    assert capsys.readouterr().err == ""


def test_durations_go_over_to_hours_at_one() -> None:
    expected = {
        0: "0 s", 59: "59 s", 60: "1 min", 75: "1 min 15 s", 3599: "59 min 59 s", 3600: "1 h", 7300: "2 h 2 min",
        172_760: "47 h 59 min", 172_780: "2 d", 200_000: "2 d 8 h", 8_639_999: "100 d", 1e9: "31.7 years",
    }  # fmt: skip
    assert {seconds: duration(seconds) for seconds in expected} == expected
    assert [age(seconds) for seconds in (7.4, 75, 7300, 1e9)] == ["7 s", "1 min", "2 h", "31.7 years"]


def test_hours_of_devices_below_one_are_minutes_and_seconds() -> None:
    expected = {
        0.0001: "0.36 core-seconds",
        0.2: "12 core-minutes",
        3.25: "3.25 core-hours",
        218_639: "218,639 core-hours",
    }
    assert {value: device_time(value, "core-hours") for value in expected} == expected


def test_a_column_of_large_numbers_is_written_one_way() -> None:
    assert si_column([202e15, 3.04e22, 0.0]) == ["2.02e17", "3.04e22", "0"]
    assert si_column([202e15, 4e9, 0.0]) == ["202P", "4B", "0"]


def test_what_is_left_is_the_rest_at_the_pace_so_far(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter took 100 seconds: 300 are left."""
    meter = Meter(plan)
    assert meter.eta is None
    for worker, item in enumerate(plan.todo):
        meter.doing[worker] = progress._Doing(item, "train", 0.25)
    monkeypatch.setattr(Meter, "elapsed", 100.0)
    assert meter.eta == pytest.approx(300)
    assert meter.summary().endswith("1 min 40 s so far, about 5 min left")
