"""The commands: what they print, as text and JSON, and how they refuse."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pdstudy.analysis.cli import main
from pdstudy.analysis.data.table_file import evaluate, read_table
from pdstudy.analysis.errors import DataError
from pdstudy.analysis.laws import HOFFMANN, REPEATS

TRUE = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    n, d = np.meshgrid(np.geomspace(5e7, 1e10, 7), np.geomspace(1e9, 3e11, 6), indexing="ij")
    table = pd.DataFrame({"params": n.ravel(), "tokens": d.ravel()})
    loss = HOFFMANN.predict(TRUE, {"N": table["params"], "D": table["tokens"]})
    table["loss"] = loss * np.exp(np.random.default_rng(0).normal(0, 0.004, len(table)))
    table["C"] = 6 * table["params"] * table["tokens"]
    table.to_csv(tmp_path / "runs.csv", index=False)
    return tmp_path / "runs.csv"


def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["analyse", *map(str, args)])
    status = main()
    out = capsys.readouterr()
    return status, out.out, out.err


COLUMNS = ("--n", "params", "--d", "tokens", "--loss", "loss")


@pytest.mark.integration
def test_fit_as_json(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    status, out, _ = call(
        monkeypatch, capsys, "fit", data, "--law", "hoffmann", *COLUMNS, "--where", "C < 1e22", "--holdout", "C > 1e21",
        "--bootstrap", 200, "--seed", 3, "--predict", "N=7e9,D=1e12", "--json", "--figures", tmp_path / "figures",
    )  # fmt: skip
    found = json.loads(out)
    assert status == 0
    assert found["parameters"]["alpha"] == pytest.approx(0.35, rel=0.1)
    low, high = (found["intervals"]["alpha"][k] for k in ("low", "high"))
    assert low < found["parameters"]["alpha"] < high
    assert found["objective"] > 0
    assert found["diagnostics"]["agreeing"] == 24
    assert found["diagnostics"]["bootstrap"]["seed"] == 3
    assert found["holdout"]["rms"] < 0.02
    prediction = found["predictions"][0]
    assert prediction["prediction"][0] < prediction["loss"] < prediction["prediction"][1]
    names = {p.name for p in (tmp_path / "figures").iterdir()}
    assert {"predicted.pdf", "residuals.svg", "fit.tex", "fit.csv", "fit.md"} <= names


def test_fit_as_text_and_refused_intervals(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = call(
        monkeypatch, capsys, "fit", data, "--law", "hoffmann", *COLUMNS, "--bootstrap", 200,
        "--where", "tokens < 1e10 and params > 7e7 and params < 1e9",
    )  # fmt: skip
    assert status == 0
    assert "intervals refused: no intervals: 9 runs for 5 free parameters; at least 12 are needed" in out
    assert "[" not in out.split("objective")[0].split("loss")[-1]


def test_other_columns_and_fixed_parameters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"N": np.exp(rng.uniform(17, 22, 60)), "U": np.exp(rng.uniform(20, 23, 60))})
    table["D"] = table["U"] * np.exp(rng.uniform(0, 4, 60))
    table["loss"] = REPEATS.predict({**TRUE, "R_D": 15.0, "R_N": 5.0}, table)
    table.to_csv(tmp_path / "r.csv", index=False)
    fixed = [f"--fix={n}={v}" for n, v in TRUE.items()]
    status, out, _ = call(
        monkeypatch, capsys, "fit", tmp_path / "r.csv", "--law", "repeats", "--n", "N", "--d", "D", "--col", "U=U",
        "--loss", "loss", *fixed, "--json",
    )  # fmt: skip
    assert status == 0
    assert json.loads(out)["parameters"]["R_D"] == pytest.approx(15, rel=1e-5)


@pytest.mark.integration
def test_allocate_isoflop_and_compare(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = call(
        monkeypatch,
        capsys,
        "allocate",
        data,
        "--law",
        "hoffmann",
        *COLUMNS,
        "--budget",
        "1e21",
        "--bootstrap",
        100,
        "--json",
    )
    row = json.loads(out)["allocation"][0]
    assert status == 0
    assert 6 * row["n"] * row["d"] == pytest.approx(1e21, rel=1e-6)
    iso = []
    for c in (1e19, 1e20, 1e21):
        sizes = np.geomspace(0.2, 5, 9) * 1e9 * (c / 1e20) ** 0.5
        iso.append(pd.DataFrame({"C": c, "N": sizes, "loss": HOFFMANN.predict(TRUE, {"N": sizes, "D": c / 6 / sizes})}))
    pd.concat(iso).to_csv(tmp_path / "iso.csv", index=False)
    status, out, _ = call(
        monkeypatch, capsys, "isoflop", tmp_path / "iso.csv", "--n", "N", "--loss", "loss", "--c", "C", "--json"
    )
    assert status == 0
    assert json.loads(out)["exponent_n"] == pytest.approx(0.37 / 0.72, abs=0.02)
    seeds = pd.DataFrame(
        {"arm": ["lm"] * 3 + ["kd"] * 3, "seed": [0, 1, 2] * 2, "loss": [5.0, 5.1, 5.2, 4.5, 4.61, 4.69]}
    )
    seeds.to_csv(tmp_path / "seeds.csv", index=False)
    status, out, _ = call(
        monkeypatch, capsys, "compare", tmp_path / "seeds.csv", "--metric", "loss", "--baseline", "lm"
    )
    assert status == 0
    assert "kd - lm: -0.5" in out
    assert out.rstrip().endswith("better")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--n", "parms", "--d", "tokens", "--loss", "loss"), "did you mean 'params'"),
        (("--d", "tokens", "--loss", "loss"), "hoffmann needs --n COL"),
        ((*COLUMNS, "--where", "loss <"), "can't be evaluated"),
        ((*COLUMNS, "--where", "loss > 99"), "no row satisfies"),
        ((*COLUMNS, "--where", "loss + 1"), "gives no yes or no per row"),
        ((*COLUMNS, "--fix", "alpha"), "write NAME=NUMBER"),
        ((*COLUMNS, "--col", "U"), "write NAME=COL"),
        ((*COLUMNS, "--predict", "N=7e9"), "needs a positive D"),
    ],
)
def test_refusals_are_one_line_and_no_number(
    data: Path, args: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = call(monkeypatch, capsys, "fit", data, "--law", "hoffmann", *args)
    assert status == 2
    assert message in err
    assert out == ""
    assert len(err.strip().splitlines()) == 1


def test_a_condition_is_no_program(data: Path) -> None:
    table = read_table(data)
    for text in ("@pd.io.common.os.system('true')", "loss.__class__ == 1"):
        with pytest.raises(DataError, match="may stand in an expression"):
            evaluate(table, text)
    with pytest.raises(DataError):
        evaluate(table, "__import__('os').getcwd() == ''")


@pytest.mark.integration
def test_runs_as_a_module(data: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pdstudy.analysis.cli",
        "fit",
        str(data),
        "--law",
        "power-floor",
        "--n",
        "params",
        "--loss",
        "loss",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("power-floor: L = E + A N^{-\\alpha}")


@pytest.mark.integration
def test_hold_out_is_of_the_same_fit(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It ignored ties and fixed parameters, by which a user chooses between forms."""

    def rms(*args: object) -> float:
        common = ("--n", "params", "--d", "tokens", "--loss", "loss", "--holdout", "C > 1e21", "--json")
        status, out, _ = call(monkeypatch, capsys, "fit", data, *common, *args)
        assert status == 0
        return float(json.loads(out)["holdout"]["rms"])

    plain, tied = rms("--law", "hoffmann"), rms("--law", "hoffmann", "--tie", "alpha,beta")
    assert tied == pytest.approx(rms("--law", "tied"), rel=1e-6)
    assert tied != pytest.approx(plain, rel=1e-3)
    assert rms("--law", "hoffmann", "--fix", "E=1.5") > 1.5 * plain


@pytest.mark.integration
def test_equal_rows_are_treated_as_said(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pd.read_csv(data)
    pd.concat([table, table.iloc[:2]]).to_csv(tmp_path / "twice.csv", index=False)
    args = ("fit", tmp_path / "twice.csv", "--law", "hoffmann", *COLUMNS, "--holdout", "C > 1e21")
    status, _, err = call(monkeypatch, capsys, *args)
    assert status == 2
    assert "rows 2, 3, 44, 45 are copies" in err
    assert "--duplicates drop" in err
    _, dropped, _ = call(monkeypatch, capsys, *args, "--duplicates", "drop")
    assert "42 runs" in dropped
    assert "warning: 2 rows that are copies of others were dropped (rows 2, 3, 44, 45)" in dropped
    _, kept, _ = call(monkeypatch, capsys, *args, "--duplicates", "keep")
    assert "44 runs" in kept
    assert "are equal and kept as runs of their own" in kept


@pytest.mark.integration
def test_units_and_labels_of_a_file(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pd.read_csv(data)
    table.assign(params=table["params"] / 1e9).to_csv(tmp_path / "b.csv", index=False)
    one, two = (
        call(monkeypatch, capsys, "allocate", path, "--law", "hoffmann", *COLUMNS, "--budget", "1e21", *more)[1]
        for path, more in ((data, ()), (tmp_path / "b.csv", ("--units", "N=1e9")))
    )
    assert one.splitlines()[-1] == two.splitlines()[-1]
    plain = call(monkeypatch, capsys, "allocate", tmp_path / "b.csv", "--law", "hoffmann", *COLUMNS, "--budget", "1e21")
    assert "warning: N is" in plain[1]
    rates = "lr,seed,loss\n" + "".join(
        f"{lr},{s},{4 + 9 * float(lr) + 0.01 * s}\n" for lr in ("0.001", "0.01") for s in (0, 1)
    )
    (tmp_path / "lr.csv").write_text(rates)
    status, out, _ = call(
        monkeypatch, capsys, "compare", tmp_path / "lr.csv", "--metric", "loss", "--arm", "lr", "--baseline", "0.001"
    )
    assert status == 0
    assert "0.01 - 0.001: +0.081" in out


def test_a_reader_that_has_seen_enough_is_no_error(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command that calls it ends quietly, as it does for all commands."""

    def closed(*args: object, **named: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("builtins.print", closed)
    with pytest.raises(BrokenPipeError):
        call(monkeypatch, capsys, "isoflop", data, "--n", "params", "--c", "C", "--loss", "loss")
