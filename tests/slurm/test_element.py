"""An element from inside: runs that share a job, work that was lost, rows that are safe, slices as one artifact."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from pdstudy.slurm import job_main, ledger
from pdstudy.slurm.attempt import Attempt, _measure_lost_work
from pdstudy.slurm.cluster_status import _make_row
from pdstudy.slurm.job_main import FAILED, REQUEUE, STAY, ArrayElement, _make_packed
from pdstudy.slurm.ledger import append_row
from pdstudy.slurm.outcomes import JobHistory
from pdstudy.train.stop_signals import StopSignals
from pdstudy.workspace.layout import Workspace
from pdstudy.workspace.run_dir import RunDir


class Child:
    """A run of a packed element that has ended with a code."""

    def __init__(self, code: int) -> None:
        self.returncode = code

    def poll(self) -> int:
        return self.returncode


def pack(monkeypatch: pytest.MonkeyPatch, *codes: int) -> tuple[int, list[dict[str, str]]]:
    """The exit code of an element whose runs end with `codes`, and the variables that they were given."""
    left, environments = list(codes), []

    def start(command: list[str], env: dict[str, str]) -> Child:
        environments.append(env)
        assert command[-1] == str(len(environments) - 1)
        return Child(left.pop(0))

    monkeypatch.setattr(job_main.subprocess, "Popen", start)
    element = ArrayElement({"warning_seconds": 60}, [{} for _ in codes])
    return _make_packed("tasks.jsonl", 0, element, StopSignals()), environments


@pytest.mark.parametrize(
    ("codes", "code"),
    [
        ((0, 0), 0), ((0, FAILED), FAILED), ((FAILED, REQUEUE), REQUEUE), ((STAY, REQUEUE), REQUEUE),
        ((STAY, FAILED), STAY), ((0, -9), FAILED),
    ],
)  # fmt: skip
def test_a_packed_element_goes_on_while_one_of_its_runs_does(
    monkeypatch: pytest.MonkeyPatch, codes: tuple[int, ...], code: int
) -> None:
    assert pack(monkeypatch, *codes)[0] == code


def test_packed_runs_take_the_devices_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert [env["CUDA_VISIBLE_DEVICES"] for env in pack(monkeypatch, 0, 0, 0)[1]] == ["4", "6", "4"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert [env["CUDA_VISIBLE_DEVICES"] for env in pack(monkeypatch, 0, 0)[1]] == ["", ""]


def test_work_is_lost_since_the_newest_checkpoint(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    assert _measure_lost_work(None) == _measure_lost_work(run) == {}
    run.set_status("running")
    now = run.status()["time"]
    (run.path / "provenance.json").write_text("{}")
    os.utime(run.path / "provenance.json", (now - 90, now - 90))
    assert _measure_lost_work(run) == {"lost_seconds": 90.0}
    for step, age in ((10, 60), (20, 20)):
        folder = run.checkpoints / f"step-{step:08d}"
        folder.mkdir(parents=True)
        os.utime(folder, (now - age, now - age))
    assert _measure_lost_work(run) == {"lost_seconds": 20.0}
    run.set_status("stopped")
    assert _measure_lost_work(run) == {}


def test_steps_look_for_a_newer_attempt_once_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    attempt, looks, now = Attempt(Workspace(tmp_path), "student/x", tmp_path / "claim", None), [], [100.0]
    monkeypatch.setattr(attempt, "guard", lambda: looks.append(now[0]))
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    for _ in range(30):
        attempt.guard_step()
        now[0] += 0.1
    assert looks == pytest.approx([100.0, 101.1, 102.2])


def test_a_row_is_safe_before_who_wrote_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An intent must outlive a loss of power right after sbatch."""
    path, synced = tmp_path / "ledger.jsonl", []
    monkeypatch.setattr(ledger.os, "fsync", lambda file: synced.append(path.read_text()))
    append_row(path, {"event": "intent"})
    append_row(path, {"event": "sent"})
    assert synced == ['{"event":"intent"}\n', '{"event":"intent"}\n{"event":"sent"}\n']


def test_of_several_slices_the_one_that_failed_is_shown() -> None:
    def row(*causes: str) -> dict[str, Any]:
        return _make_row([JobHistory(cause=cause, error=cause) for cause in causes])

    assert row("oom", "dependency", "cancelled")["cause"] == "oom"
    assert row("dependency", "exception", "done")["state"] == "failed"
    assert row("dependency", "cancelled")["state"] == "cancelled"
    assert "state" not in row("done", "done")
