"""`analyse distil` and `analyse transfer` on tables of any origin: what they print, and what they refuse."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pdstudy.analysis.cli import run
from pdstudy.analysis.errors import AnalysisError
from pdstudy.analysis.options import add_commands
from pdstudy.analysis.scaling.spending import spend
from pdstudy.analysis.tables.laws import spending_table
from tests.analysis.made_study import ladder, taught_students
from tests.analysis.test_law_outputs import student_loss


@pytest.mark.integration
def test_students_and_rates_of_any_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = ladder(0.002, np.random.default_rng(0), most=1e15)
    runs += taught_students(runs, student_loss, 0.002, np.random.default_rng(1))
    table = pd.DataFrame(runs).drop(columns="labels")
    table["LT"] = table["teacher"].map(lambda t: table["loss"][int(t)] if t == t and t is not None else np.nan)
    table["kd"] = table["LT"].notna().astype(int)
    table.fillna({"LT": 0}).drop(columns="teacher").to_csv(tmp_path / "runs.csv", index=False)
    options = ["--n", "N", "--d", "D", "--teacher-loss", "LT", "--loss", "loss", "--supervised", "kd == 0"]
    more = ["--c", "C", "--budget", "1e13", "--holdout", "kd == 1 and N > 4e5", "--bootstrap", "100", "--json"]
    assert run_command(["distil", str(tmp_path / "runs.csv"), *options, *more]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {row["N"] for row in found["held_out"]} == {max(table["N"][table["kd"] == 1])}
    assert all(abs(row["predicted"] / row["measured"] - 1) < 0.02 for row in found["held_out"])
    assert {row["scenario"] for row in found["budgets"]} >= {"trained", "teacher free", "teacher inference"}
    sweep = pd.DataFrame([(w, r, (np.log(r / 0.01)) ** 2 + 3) for w in (8, 16) for r in (0.004, 0.008, 0.016, 0.032)])
    sweep.set_axis(["width", "lr", "loss"], axis=1).to_csv(tmp_path / "sweep.csv", index=False)
    command = ["transfer", str(tmp_path / "sweep.csv"), "--rate", "lr", "--width", "width", "--loss", "loss", "--json"]
    assert run_command(command) == 0
    assert [row["drift"] for row in json.loads(capsys.readouterr().out)["rates"]] == pytest.approx([0, 0], abs=1e-9)


def test_a_budget_that_leaves_a_student_no_token_is_trained_alone() -> None:
    at = np.array([1e6, 4e6])
    runs = SimpleNamespace(points=SimpleNamespace(x={"N": at, "D": at, "LT": np.array([1.0, 3.0])}))
    fitted: Any = SimpleNamespace(
        fit=runs, supervised=SimpleNamespace(fit=runs), bootstrap=None, matched_loss=lambda n, d: 2 + 0 * n
    )
    found = spend(fitted, 1e6, [1.0], lambda n: 6 * n)
    assert list(found["scenario"]) == ["trained"]
    assert len(spending_table(found).rows) == 1
    for budget in (-1.0, 0.0, np.nan, np.inf):
        with pytest.raises(AnalysisError, match="must be positive"):
            spend(fitted, 1e6, [1e15, budget], lambda n: 6 * n)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--supervised", "kd == 5"], "'kd == 5' leaves 0 runs without a teacher and 8 students, of 8 rows"),
        (
            ["--supervised", "kd < 5"],
            "leaves 8 runs without a teacher and 0 students, of 8 rows; allowed: some of both",
        ),
        (["--supervised", "kd == 0", "--holdout", "kd > -1"], "--holdout 'kd > -1' leaves 0 runs without"),
        (["--supervised", "kd == 0", "--holdout", "N > 5"], "--holdout 'N > 5' holds for no row with a teacher"),
    ],
)
def test_rows_of_neither_law_are_said(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pd.DataFrame({"N": [1, 2] * 4, "D": [1, 1, 2, 2] * 2, "LT": 2.0, "loss": 3.0, "kd": [0] * 4 + [1] * 4})
    table.to_csv(tmp_path / "runs.csv", index=False)
    columns = ["--n", "N", "--d", "D", "--teacher-loss", "LT", "--loss", "loss"]
    assert run_command(["distil", str(tmp_path / "runs.csv"), *columns, *words]) == 2
    assert message in capsys.readouterr().err
    command = ["transfer", str(tmp_path / "runs.csv"), "--rate", "D", "--width", "N", "--loss", "loss", "--line", "no"]
    assert run_command(command) == 2
    assert "no column 'no' for lines" in capsys.readouterr().err


def run_command(words: list[str]) -> int:
    parser = argparse.ArgumentParser()
    add_commands(parser)
    return run(parser.parse_args(words))
