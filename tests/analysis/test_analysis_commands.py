"""What a user does from the command line alone: laws by text or chosen, rules, given coefficients, tables of optima."""

import argparse
import json
import shlex
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pdstudy.analysis.cli import main
from pdstudy.analysis.data.table_file import derive, evaluate
from pdstudy.analysis.errors import DataError
from pdstudy.analysis.laws import DISTILLATION, DISTILLATION_PUBLISHED, GAMMA, GAMMA_PUBLISHED, HOFFMANN, stable
from pdstudy.analysis.options import EXAMPLES, add_commands
from pdstudy.analysis.scaling.isoflop import isoflop
from pdstudy.analysis.scaling.isoflop_fit import Curve

TRUE = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}
COLUMNS = ("--n", "N", "--d", "D", "--loss", "loss")


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    """Calls a command; returns status, standard output and standard error."""

    def run(*args: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["analyse", *map(str, args)])
        status = main()
        out = capsys.readouterr()
        return status, out.out, out.err

    return run


@pytest.fixture
def data(tmp_path: Path) -> Path:
    n, c = np.meshgrid(np.geomspace(5e7, 1e10, 7), np.geomspace(1e18, 1e21, 6), indexing="ij")
    table = pd.DataFrame({"N": n.ravel(), "C": c.ravel()})
    loss = HOFFMANN.predict(TRUE, {"N": table["N"], "D": table["C"] / 6 / table["N"]})
    table["loss"] = loss * np.exp(np.random.default_rng(0).normal(0, 0.002, len(table)))
    table.to_csv(tmp_path / "runs.csv", index=False)
    return tmp_path / "runs.csv"


def test_tokens_come_from_compute_by_a_stated_rule(data: Path, call) -> None:  # type: ignore[no-untyped-def]
    status, out, _ = call("fit", data, "--law", "hoffmann", *COLUMNS, "--derive", "D=C/(6*N)", "--json")
    assert status == 0
    assert json.loads(out)["parameters"]["alpha"] == pytest.approx(0.35, rel=0.1)
    status, _, err = call("fit", data, "--law", "hoffmann", *COLUMNS, "--derive", "C=6*N")
    assert status == 2
    assert "the table has a column 'C'" in err


def test_a_law_written_on_the_command_line(data: Path, call) -> None:  # type: ignore[no-untyped-def]
    derived = ("--derive", "D=C/(6*N)", "--json")
    own = json.loads(call("fit", data, "--law", "E + A*N^-alpha + B*D^-beta", *COLUMNS, *derived)[1])
    shipped = json.loads(call("fit", data, "--law", "hoffmann", *COLUMNS, *derived)[1])
    assert own["parameters"] == pytest.approx(shipped["parameters"], rel=1e-9)
    status, _, err = call("fit", data, "--law", "chinchila", *COLUMNS, *derived)
    assert status == 2
    assert "it must be auto, a formula such as 'E + A*N^-alpha + B*D^-beta', or one of power-floor" in err


def test_given_coefficients_are_judged_without_a_fit(data: Path, call) -> None:  # type: ignore[no-untyped-def]
    fixed = [f"--fix={n}={v}" for n, v in TRUE.items()]
    status, out, _ = call("fit", data, "--law", "hoffmann", *COLUMNS, "--derive", "D=C/(6*N)", *fixed, "--json")
    found = json.loads(out)
    assert status == 0
    assert found["given"] == TRUE
    assert found["rms"] == pytest.approx(0.002, rel=0.3)
    out = call("fit", data, "--law", "hoffmann", *COLUMNS, "--derive", "D=C/(6*N)", *fixed)[1]
    assert out.startswith(
        "hoffmann with given coefficients (E 1.8, A 480, B 2100, alpha 0.35, beta 0.37): 42 runs: rms 0.00"
    )


@pytest.mark.integration
def test_the_law_is_chosen_and_the_choice_explained(data: Path, call) -> None:  # type: ignore[no-untyped-def]
    status, out, _ = call("fit", data, "--law", "auto", *COLUMNS, "--derive", "D=C/(6*N)", "--json")
    found = json.loads(out)
    assert status == 0
    assert found["choice"]["laws"][0]["law"] == found["law"] != "kaplan"
    assert {row["law"] for row in found["choice"]["laws"]} == {"hoffmann", "tied", "gamma", "kaplan"}
    out = call("fit", data, "--law", "auto", *COLUMNS, "--derive", "D=C/(6*N)", "--holdout", "C > 3e20")[1]
    assert "laws compared: " in out
    assert "held-out runs (C > 3e20) best, in " in out
    status, _, err = call("fit", data, "--law", "auto", *COLUMNS, "--derive", "D=C/(6*N)", "--fix", "E=1.8")
    assert status == 2
    assert "name one law to fix or tie" in err


def test_an_outlier_rule_is_stated_with_the_result(data: Path, call) -> None:  # type: ignore[no-untyped-def]
    table = pd.read_csv(data)
    table.loc[5, "loss"] *= 1.3
    table.to_csv(data, index=False)
    out = call("fit", data, "--law", "hoffmann", *COLUMNS, "--derive", "D=C/(6*N)", "--outliers", 6)[1]
    assert "1 of 42 runs left out by the rule |log residual| > 6 x 1.4826 x median" in out
    assert "rows 7; with them E " in out  # the line of the file


def test_the_best_run_of_each_group_is_kept(tmp_path: Path, call) -> None:  # type: ignore[no-untyped-def]
    """The step law: the rate of the lowest loss at each size and number of tokens."""
    rows = []
    for n in (1e8, 3e8, 1e9):
        for d in (1e9, 1e10, 1e11):
            best = 1.79 * n**-0.713 * d**0.307
            rows += [{"N": n, "D": d, "lr": best * f, "loss": 3 + np.log(f) ** 2} for f in (0.25, 0.5, 1.0, 2.0, 4.0)]
    pd.DataFrame(rows).to_csv(tmp_path / "sweep.csv", index=False)
    options = ("--n", "N", "--d", "D", "--loss", "lr", "--lowest", "loss", "--per", "N,D", "--json")
    found = json.loads(call("fit", tmp_path / "sweep.csv", "--law", "step-rate", *options)[1])
    assert found["parameters"] == pytest.approx({"c": 1.79, "p_N": -0.713, "p_D": 0.307}, rel=1e-6)
    status, _, err = call("fit", tmp_path / "sweep.csv", "--law", "step-rate", *options[:-3])
    assert status == 2
    assert "go together" in err


def test_exponents_of_a_table_of_optima(tmp_path: Path, call) -> None:  # type: ignore[no-untyped-def]
    c = np.geomspace(1e18, 1e21, 6)
    noise = np.array([0.02, -0.03, 0.01, 0.03, -0.02, 0.0])
    pd.DataFrame({"C": c, "best": 0.1 * c**0.5 * np.exp(noise), "sd": 0.03}).to_csv(tmp_path / "o.csv", index=False)
    status, out, _ = call("exponents", tmp_path / "o.csv", "--c", "C", "--optimum", "best", "--spread", "sd", "--json")
    found = json.loads(out)
    assert status == 0
    slope, _ = np.polyfit(np.log(c), np.log(0.1 * c**0.5) + noise, 1)
    assert found["exponent"] == pytest.approx(slope, rel=1e-9)
    x = np.log(c) - np.log(c).mean()
    half = 1.96 * 0.03 / np.sqrt((x**2).sum())
    assert (found["interval"][1] - found["interval"][0]) / 2 == pytest.approx(half, rel=0.1)
    out = call("exponents", tmp_path / "o.csv", "--c", "C", "--optimum", "best")[1]
    assert out.startswith("best: 0.")
    few = pd.read_csv(tmp_path / "o.csv").head(3)
    few.to_csv(tmp_path / "few.csv", index=False)
    found = json.loads(call("exponents", tmp_path / "few.csv", "--c", "C", "--optimum", "best", "--json")[1])
    assert found["interval"] is None


def iso(flops_per: float = 9.0) -> pd.DataFrame:
    rows = []
    for c in (1e19, 1e20, 1e21):
        n = np.geomspace(0.2, 5, 9) * 1e9 * (c / 1e20) ** 0.5
        d = c / (flops_per * n)
        rows.append(pd.DataFrame({"C": c, "N": n, "tokens": d, "loss": HOFFMANN.predict(TRUE, {"N": n, "D": d})}))
    return pd.concat(rows, ignore_index=True)


def test_isoflop_takes_the_tokens_of_the_table() -> None:
    table = iso()
    own, assumed = isoflop(table, tokens="tokens"), isoflop(table)
    for mine, theirs in zip(own.minima, assumed.minima):
        assert mine.n == theirs.n
        assert mine.d == pytest.approx(mine.budget / (9 * mine.n), rel=1e-6)
        assert theirs.d == pytest.approx(mine.d * 9 / 6, rel=1e-6)
    assert own.tokens.exponent == pytest.approx(1 - own.size.exponent, abs=1e-6)
    assert own.tokens_rule == "D from column 'tokens'"


def test_tokens_beyond_the_sizes_follow_their_slope() -> None:
    x = np.log([1e8, 2e8, 4e8])
    curve = Curve(1e19, x, np.ones(3), np.ones(3), np.log(1e19 / 6) - x, np.ones(3))
    at = np.log([5e7, 3e8, 1e9])
    assert curve.log_tokens(at) == pytest.approx(np.log(1e19 / 6) - at, rel=1e-12)


def test_noise_may_change_with_the_loss(tmp_path: Path, call) -> None:  # type: ignore[no-untyped-def]
    """Noisier sizes weigh less, and a noise that is the same everywhere is the plain one."""
    table = iso()
    table.to_csv(tmp_path / "iso.csv", index=False)
    common = ("isoflop", tmp_path / "iso.csv", "--n", "N", "--loss", "loss", "--c", "C", "--d", "tokens", "--json")
    even, plain = (json.loads(call(*common, "--noise", n)[1]) for n in ("2:0.002,4:0.002", "0.002"))
    assert even["interval_n"] == pytest.approx(plain["interval_n"], rel=1e-9)
    smallest = table.groupby("C")["N"].idxmin()
    table.loc[smallest, "loss"] *= 1.02
    level = table.loc[smallest, "loss"]
    bent, trusting = (
        isoflop(table, noise=lambda loss, k=k: np.where(np.isin(loss, level), 0.002 * k, 0.002)) for k in (50, 1)
    )
    true = isoflop(iso()).minima[1].n
    assert abs(np.log(bent.minima[1].n / true)) < 0.2 * abs(np.log(trusting.minima[1].n / true))
    status, _, err = call(*common, "--noise", "3:0.1:2")
    assert status == 2
    assert "write a positive standard deviation of ln loss, or LOSS:SIGMA,LOSS:SIGMA" in err


def test_options_of_distillation_are_for_its_laws(data: Path, call) -> None:  # type: ignore[no-untyped-def]
    for option in (("--teacher-error", "0.01"), ("--supervised", "N > 0")):
        status, _, err = call("fit", data, "--law", "hoffmann", *COLUMNS, "--derive", "D=C/(6*N)", *option)
        assert status == 2
        assert f"{option[0]} is for laws of LT and LM, such as distillation; hoffmann is none" in err


def test_examples_of_the_help_are_commands_that_parse() -> None:
    parser = argparse.ArgumentParser()
    add_commands(parser)
    lines = [line.split(maxsplit=1)[1] for line in EXAMPLES.splitlines() if line.startswith("  analyse")]
    assert [parser.parse_args(shlex.split(line)).analysis for line in lines] == ["fit"] * 5


def test_a_distillation_law_says_what_it_takes_as_exact() -> None:
    assert "take LT and LM as exact unless" in DISTILLATION.note


@pytest.mark.slow
def test_the_law_of_lm_is_fitted_in_the_same_call(tmp_path: Path, call) -> None:  # type: ignore[no-untyped-def]
    """Students and runs without a teacher in one table; intervals are wider than with LM taken as exact."""
    rng, rows = np.random.default_rng(0), []
    sizes, ratios = (1.4e8, 2.7e8, 5.5e8, 9.8e8, 1.8e9, 4.8e9), (10, 20, 40, 80)
    truth = {
        **{n: v for n, v in DISTILLATION_PUBLISHED.items() if n not in ("c1", "d1")},
        "k": stable(522.6, 0.09, 1.315),
    }
    for n in sizes:
        for ratio in ratios:
            lm = float(GAMMA.predict(GAMMA_PUBLISHED, {"N": n, "D": n * ratio})[0])
            rows.append({"N": n, "D": n * ratio, "teacher": 0, "LT": np.nan, "loss": lm * np.exp(rng.normal(0, 0.003))})
            for teacher in (2.0, 2.2, 2.4):
                x = {"N": n, "D": n * ratio, "LT": teacher, "LM": lm}
                loss = float(DISTILLATION.predict(truth, x)[0]) * np.exp(rng.normal(0, 0.001))
                rows.append({"N": n, "D": n * ratio, "teacher": 1, "LT": teacher, "loss": loss})
    pd.DataFrame(rows).to_csv(tmp_path / "d.csv", index=False)
    common = (
        "fit", tmp_path / "d.csv", "--law", "distillation", *COLUMNS, "--col", "LT=LT", "--bootstrap", 100, "--delta",
        "3e-3", "--supervised", "teacher == 0", "--json",
    )  # fmt: skip
    status, out, err = call(*common)
    assert status == 0, err
    found = json.loads(out)
    assert found["supervised"]["law"] == "gamma"
    assert found["diagnostics"]["bootstrap"]["method"] == "pairs, estimated columns drawn anew"
    assert found["parameters"]["f1"] == pytest.approx(0.09, rel=0.3)


def test_an_expression_is_no_program() -> None:
    table = pd.DataFrame({"N": [1e9, 2e9], "my loss": [3.0, 4.0]})
    for text in ("N.to_csv('x')", "exp(N.sum())", "open('x')", "N[0]", "[x for x in N]"):
        with pytest.raises(DataError):
            derive(table, f"y={text}")
    with pytest.raises(DataError, match="only columns, numbers, texts, comparisons, and/or/not and exp, log"):
        evaluate(table, "N.to_csv('x') == 1")
    assert derive(table, "y = log10(N) * `my loss`")["y"].tolist() == pytest.approx([27, 4 * np.log10(2e9)])
    assert derive(table, "y=2")["y"].tolist() == [2.0, 2.0]
    for rule, message in (("N", "write NAME=EXPRESSION"), ("y==1", "write NAME=EXPRESSION"), ("y=N>1", "no number")):
        with pytest.raises(DataError, match=message):
            derive(table, rule)
