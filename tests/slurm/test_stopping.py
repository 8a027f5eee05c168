"""Signals to a job: which mean now, why they came, and whether the job goes on."""

from __future__ import annotations

import signal
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from pdstudy.slurm import stopping
from pdstudy.slurm.attempt import Attempt, read_attempts
from pdstudy.slurm.job_main import REQUEUE, STAY, ArrayElement, _end_stopped
from pdstudy.slurm.stopping import StopRequest, classify_stop, find_early_seconds, requeue
from pdstudy.train.stop_signals import StopSignals
from pdstudy.workspace.layout import Workspace

NOW = 1_700_000_000.0  # 2023-11-14, 22:13:20 UTC

HOUR = {
    "JobState": "RUNNING", "PreemptTime": "None", "StartTime": "2023-11-14T10:00:00", "EndTime": "2023-11-14T11:00:00",
    "RunTime": "00:10:00",
}  # fmt: skip
"""A job of an hour, ten minutes of which are over by the controller's clock."""


def classify(restarts: int = 0, **details: str) -> str:
    return classify_stop(HOUR | details, 60, restarts, NOW)


def test_why_a_job_was_signalled() -> None:
    assert classify() == "signal"
    assert classify(RunTime="00:57:59") == "signal"
    assert classify(RunTime="00:58:00") == "time"
    assert classify(RunTime="1-00:00:00") == "time"
    assert classify(PreemptTime="2023-11-14T22:13:00") == "preempted"
    assert classify(JobState="PREEMPTED") == "preempted"
    assert classify(JobState="COMPLETING") == "cancelled"
    assert classify(JobState="COMPLETING", Reason="TimeLimit") == "time"
    assert classify(JobState="TIMEOUT") == "time"
    assert classify(EndTime="Unknown") == "signal"
    assert classify_stop({}, 60, 0, NOW) == "signal"  # the controller does not answer


def test_a_job_that_slurm_has_requeued_is_not_cancelled() -> None:
    """SLURM 22.05, partition without grace: COMPLETING, no PreemptTime, and one start more than this process is."""
    assert classify(JobState="COMPLETING", Restarts="1") == "requeued"
    assert classify(restarts=1, JobState="COMPLETING", Restarts="1") == "cancelled"
    assert classify(restarts=1, JobState="COMPLETING", Restarts="2") == "requeued"


def test_only_a_warning_of_the_time_limit_comes_early() -> None:
    def early(**details: str) -> float:
        return find_early_seconds(HOUR | details, 20, NOW)

    assert early(RunTime="00:58:50") == 50.0
    assert early(RunTime="00:59:40") == 0.0
    assert early(RunTime="00:59:50") == 0.0
    assert early() == 0.0  # an hour is left: somebody sent it
    assert early(RunTime="00:58:50", PreemptTime="2023-11-14T22:13:00") == 0.0
    assert early(RunTime="00:58:50", JobState="COMPLETING", Reason="TimeLimit") == 0.0


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, **details: str) -> None:
        self.now = 1_000.0
        self.asked = 0
        self.details = HOUR | details
        monkeypatch.setattr(stopping, "_read_details", self.read)
        monkeypatch.setattr(stopping.time, "monotonic", lambda: self.now)

    def read(self) -> dict[str, str]:
        self.asked += 1
        return self.details


def test_a_job_of_a_minute_works_until_its_warning_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """minutes=1, warning_seconds=20: SLURM warns as the job starts, and 40 seconds are left to work."""
    clock = Clock(monkeypatch, EndTime="2023-11-14T10:01:00", RunTime="00:00:02")
    signals = StopSignals()
    stop = StopRequest(signals, 20)
    assert not stop()
    signals._note(signal.SIGUSR2, None)
    assert not stop()
    clock.now += 37
    assert not stop()
    clock.now += 2
    assert stop()
    assert clock.asked == 1


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGUSR2])
def test_a_second_signal_is_judged_anew(monkeypatch: pytest.MonkeyPatch, second: int) -> None:
    clock = Clock(monkeypatch, EndTime="2023-11-14T10:01:00", RunTime="00:00:02")
    signals = StopSignals()
    stop = StopRequest(signals, 20)
    signals._note(signal.SIGUSR2, None)
    assert not stop()
    clock.details = clock.details | {"PreemptTime": "2023-11-14T10:00:05"}
    signals._note(second, None)
    assert stop()


def test_other_ranks_leave_warnings_to_the_main_one(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    signals = StopSignals()
    stop = StopRequest(signals, 20, main=False)
    signals._note(signal.SIGUSR2, None)
    assert not stop()
    signals._note(signal.SIGTERM, None)
    assert stop()
    assert clock.asked == 0


@pytest.mark.parametrize(
    ("cause", "codes"),
    [
        ("time", [REQUEUE, REQUEUE, STAY]),
        ("preempted", [REQUEUE] * 3),
        ("cancelled", [STAY] * 3),
        ("requeued", [STAY] * 3),
    ],
)
def test_a_job_goes_on_as_often_as_its_time_limits_allow(
    cause: str, codes: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr("pdstudy.slurm.job_main.find_stop_cause", lambda warning: cause)
    assigned = ArrayElement({"warning_seconds": 60, "time_limits": 2}, [])
    made = [Attempt(Workspace(tmp_path), "student/x", tmp_path / "claim", None) for _ in codes]
    assert [_end_stopped(assigned, attempt) for attempt in made] == codes


def test_time_limits_of_an_earlier_submit_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever submits again after the budget was spent gives the job a new one, whatever the clocks say."""
    monkeypatch.setattr("pdstudy.slurm.job_main.find_stop_cause", lambda warning: "time")
    element = ArrayElement({"warning_seconds": 60, "time_limits": 1}, [])
    for job, code in (("7", REQUEUE), ("7", STAY), ("71", REQUEUE), ("71", STAY)):
        monkeypatch.setenv("SLURM_JOB_ID", job)
        monkeypatch.setattr("pdstudy.slurm.attempt.time.time", lambda: -1.0)  # set back to before the job was sent
        assert _end_stopped(element, Attempt(Workspace(tmp_path), "student/x", tmp_path / "claim", None)) == code


def test_a_requeued_job_is_noted_as_one_that_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr("pdstudy.slurm.job_main.find_stop_cause", lambda warning: "requeued")
    element = ArrayElement({"warning_seconds": 60, "time_limits": 1}, [])
    _end_stopped(element, Attempt(Workspace(tmp_path), "student/x", tmp_path / "claim", None))
    (row,) = read_attempts(Workspace(tmp_path), "student/x")
    assert (row["cause"], row["goes_on"]) == ("preempted", True)


@pytest.mark.parametrize(("failures", "done"), [(0, True), (9, True), (10, False)])
def test_a_requeue_is_asked_for_until_the_controller_answers(
    monkeypatch: pytest.MonkeyPatch, failures: int, done: bool
) -> None:
    calls: list[Any] = []

    def run(words: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        calls.append(words)
        silent = len(calls) <= failures
        return subprocess.CompletedProcess(
            words, int(silent), "", "Unable to contact slurm controller" if silent else ""
        )

    monkeypatch.setattr(stopping.subprocess, "run", run)
    monkeypatch.setattr(stopping.time, "sleep", lambda seconds: None)
    assert requeue("7_1") is done
    assert calls == [["scontrol", "requeue", "7_1"]] * min(10, failures + 1)


def test_a_requeue_that_slurm_refuses_is_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        stopping.subprocess, "run", lambda words, **_: subprocess.CompletedProcess(words, 1, "", "Access denied")
    )
    assert not requeue("7")


def test_a_job_of_more_than_a_day_has_its_days_counted() -> None:
    """A warning that comes 50 seconds early: 25 hours are over, 70 seconds are left."""
    long = HOUR | {"EndTime": "2023-11-15T11:01:10", "RunTime": "1-01:00:00"}
    assert find_early_seconds(long, 20, NOW) == 50.0


def test_without_a_start_the_end_is_compared_with_this_clock() -> None:
    end = datetime.fromtimestamp(NOW + 70).isoformat()
    assert find_early_seconds(HOUR | {"StartTime": "Unknown", "EndTime": end}, 20, NOW) == 50.0
    later = datetime.fromtimestamp(NOW + 3600).isoformat()
    assert classify(StartTime="Unknown", EndTime=later) == "signal"


def test_a_requeue_that_timed_out_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    said = ["Socket timed out on send/recv operation", ""]

    def run(words: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        error = said.pop(0)
        return subprocess.CompletedProcess(words, int(bool(error)), "", error)

    monkeypatch.setattr(stopping.subprocess, "run", run)
    monkeypatch.setattr(stopping.time, "sleep", lambda seconds: None)
    assert requeue("7")
    assert not said
