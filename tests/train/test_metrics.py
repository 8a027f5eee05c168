"""Rows, clocks and what a device could do."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from pdstudy.core.files import read_jsonl
from pdstudy.models.distributed import Ranks
from pdstudy.train.recorder import Clock, Recorder, peak_flops
from pdstudy.train.result import make_result
from pdstudy.workspace.run_dir import RunDir
from tests.core.test_normal import make_run


def test_only_known_devices_have_a_peak() -> None:
    assert peak_flops("NVIDIA H100 80GB HBM3") == 989e12
    assert peak_flops("NVIDIA H100 PCIe") == 756e12
    assert peak_flops("NVIDIA A100-SXM4-80GB") == 312e12
    assert peak_flops("cpu") is None
    assert peak_flops("NVIDIA GeForce RTX 2080") is None


def test_a_row_is_the_mean_over_the_tokens_since_the_row_before(tmp_path: Path) -> None:
    clock, directory = Clock(), RunDir(tmp_path)
    recorder = Recorder(
        directory, clock, Ranks(torch.device("cpu")), num_steps=500, tokens_per_step=10, flops_per_token=6.0, peak=1e3
    )
    due = [step for step in range(1, 501) if recorder.is_due(step)]
    assert due[:4] == [1, 2, 4, 6]
    assert due[-1] == 500
    for step, (loss, valid) in enumerate([(4.0, 10), (3.0, 10), (1.0, 5)], start=1):
        values = {"loss": loss, "lm": loss * valid, "kd": 2 * loss * valid, "grad_norm": step}
        recorder.add(step, valid, {name: torch.tensor(float(value)) for name, value in values.items()})
        if step != 2:
            recorder.write(step, lr=0.1, alpha=0.5)
    one, two = read_jsonl(directory.metrics_file)
    assert (one["loss"], one["lm"], one["kd"]) == (4.0, 4.0, 8.0)
    mean = (3.0 * 10 + 1.0 * 5) / 15
    assert (two["loss"], two["lm"], two["kd"]) == pytest.approx((mean, mean, 2 * mean))
    assert two["grad_norm"] == 3
    assert two["tokens"] == 30
    assert two["flops"] == 180.0
    assert two["mfu"] == pytest.approx(6.0 * two["tokens_per_second"] / 1e3, rel=1e-3)


def test_the_speed_after_a_resume_is_of_the_steps_since(tmp_path: Path) -> None:
    """Not of all steps of the run over the seconds of this process, nor of the seconds of an earlier one."""
    clock = Clock()
    clock.seconds["train"] = 100.0
    recorder = Recorder(
        RunDir(tmp_path), clock, Ranks(torch.device("cpu")), num_steps=500, tokens_per_step=10, flops_per_token=6.0
    )
    recorder.resume([], step=400)
    clock.seconds["train"] = 200.0
    for step in (401, 402):
        recorder.add(step, 10, {name: torch.tensor(1.0) for name in ("loss", "lm", "grad_norm")})
    recorder.write(402, lr=0.1, alpha=0.0)
    assert recorder.tokens_per_second == pytest.approx(0.2, rel=0.05)


def test_the_flops_of_a_run_are_three_forwards_a_trained_token_and_one_a_scored_token(tmp_path: Path) -> None:
    directory, run = RunDir(tmp_path), make_run()
    directory.append_metrics({"step": 10, "loss": 1.0})
    for scored in (640, 1280):
        directory.append_eval({"step": 10, "tokens_scored": scored})
    result = make_result(
        run, directory, 10, evals=[], parameters={"head": 1}, forward_flops=7.0, seconds={"train": 2.0}
    )  # fmt: skip
    assert result["flops"] == {"student": 3 * 7.0 * 10 * run.tokens_per_step, "evaluation": 7.0 * 1920}


def test_the_clock_tells_purposes_apart() -> None:
    clock = Clock()
    time.sleep(0.02)
    with clock.charge("save"):
        time.sleep(0.04)
    with clock.charge("evaluate"):
        time.sleep(0.06)
    clock.lap()
    seconds = clock.seconds
    assert 0.02 <= seconds["train"] < seconds["save"] < seconds["evaluate"]
    assert seconds["save"] >= 0.04


class TwoAlike(Ranks):
    """The first of two ranks that have the same numbers."""

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        return values.mul_(2)


def test_the_norm_of_the_whole_gradient_is_not_summed_over_ranks_and_both_devices_count(tmp_path: Path) -> None:
    directory = RunDir(tmp_path)
    recorder = Recorder(
        directory, Clock(), TwoAlike(torch.device("cpu"), size=2), num_steps=1, tokens_per_step=10,
        flops_per_token=6.0, peak=1e3,
    )  # fmt: skip
    values = {"loss": 2.0, "lm": 20.0, "grad_norm": 3.0}
    recorder.add(1, 10, {name: torch.tensor(value) for name, value in values.items()})
    recorder.write(1, lr=0.1, alpha=0.0)
    (row,) = read_jsonl(directory.metrics_file)
    assert (row["loss"], row["lm"], row["grad_norm"]) == (4.0, 4.0, 3.0)
    assert recorder.tokens_per_second > 0
    assert row["mfu"] == pytest.approx(6.0 * recorder.tokens_per_second / 2e3, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize(("rows", "last"), [(7, 1), (39, 1), (40, 2), (60, 3), (250, 12)])
def test_the_loss_of_a_run_is_the_mean_over_the_last_twentieth_of_its_rows(
    rows: int, last: int, tmp_path: Path
) -> None:
    directory = RunDir(tmp_path)
    for step in range(1, rows + 1):
        directory.append_metrics({"step": step, "loss": 1 / step})
    seconds = {"train": 2.0, "evaluate": 0.0, "save": 0.0}
    result = make_result(
        make_run(), directory, 10, evals=[], parameters={"head": 1}, forward_flops=1.0, seconds=seconds
    )  # fmt: skip
    assert result["train_loss"] == pytest.approx(sum(1 / (rows - back) for back in range(last)) / last)


@pytest.mark.parametrize("steps", [1, 2, 250, 251, 500, 751])
def test_the_first_step_and_the_last_have_rows_whatever_lies_between(steps: int, tmp_path: Path) -> None:
    ranks = Ranks(torch.device("cpu"))
    recorder = Recorder(RunDir(tmp_path), Clock(), ranks, num_steps=steps, tokens_per_step=10, flops_per_token=6.0)
    due = [step for step in range(1, steps + 1) if recorder.is_due(step)]
    assert (due[0], due[-1]) == (1, steps)
    assert len(due) <= 252
