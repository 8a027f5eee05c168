"""Beyond the runs: the distance is said, and so is what other laws that fit as well predict."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pdstudy.analysis.cli import main
from pdstudy.analysis.data.points import points
from pdstudy.analysis.fit.bootstrap import bootstrap
from pdstudy.analysis.fit.extrapolation import fit_other_laws, measure_distance, rms
from pdstudy.analysis.fit.fit import fit
from pdstudy.analysis.fit.fit_result import Fit
from pdstudy.analysis.fit.holdout import hold_out
from pdstudy.analysis.laws import HOFFMANN
from pdstudy.analysis.scaling.allocation import allocate
from pdstudy.analysis.summary import summary

TRUE = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}


@pytest.fixture(scope="module")
def runs() -> pd.DataFrame:
    n, d = np.meshgrid(np.geomspace(5e7, 1e10, 7), np.geomspace(1e9, 3e11, 6), indexing="ij")
    table = pd.DataFrame({"N": n.ravel(), "D": d.ravel()})
    noise = np.random.default_rng(0).normal(0, 0.004, 42)
    return table.assign(loss=HOFFMANN.predict(TRUE, table) * np.exp(noise), C=6 * table["N"] * table["D"])


@pytest.fixture(scope="module")
def fitted(runs: pd.DataFrame) -> Fit:
    return fit(runs, HOFFMANN)


def test_distance_is_of_the_nearer_end(fitted: Fit) -> None:
    assert measure_distance(fitted.points, {"N": 1e9, "D": 1e10}) == []
    assert measure_distance(fitted.points, {"N": 1.05e10, "D": 1e10}) == []
    assert measure_distance(fitted.points, {"N": 1e13, "D": 1e8}) == [
        "N is 1e+03 times the largest of the runs (1e+10)", "D is 1/10 of the smallest of the runs (1e+09)",
    ]  # fmt: skip


def test_other_laws_are_those_that_fit_as_well(fitted: Fit) -> None:
    others = fit_other_laws(fitted)
    assert {other.law.name for other in others} == {"tied", "gamma"}
    assert all(rms(o.residuals) <= 1.1 * rms(fitted.residuals) for o in others)
    assert fit_other_laws(fitted) is others


def test_allocation_beyond_the_runs_says_so(fitted: Fit) -> None:
    assert allocate(fitted, [1e20, 1e21]).warnings == ()
    text = summary(allocate(fitted, [1e30], bootstrap=bootstrap(fitted, 100)))
    assert "warning: the optimum at C 1e+30 is beyond the runs: N is" in text
    assert "its interval holds for this law alone; tied gives N*" in text


@pytest.mark.integration
def test_prediction_beyond_the_runs_has_the_range_over_laws(
    runs: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.to_csv(tmp_path / "runs.csv", index=False)
    args = ["analyse", "fit", str(tmp_path / "runs.csv"), "--law", "hoffmann", "--n", "N", "--d", "D", "--loss", "loss",
            "--bootstrap", "100", "--predict", "N=1e13,D=1e13", "--predict", "N=1e9,D=1e11"]  # fmt: skip
    monkeypatch.setattr(sys, "argv", [*args, "--json"])
    assert main() == 0
    far, near = json.loads(capsys.readouterr().out)["predictions"]
    assert set(far["other_laws"]) == {"tied", "gamma"}
    assert far["range"][0] <= min(far["prediction"][0], *far["other_laws"].values())
    assert far["range"][1] >= max(far["prediction"][1], *far["other_laws"].values())
    assert "beyond" not in near
    monkeypatch.setattr(sys, "argv", args)
    main()
    out = capsys.readouterr().out
    assert "warning: N is 1e+03 times the largest of the runs (1e+10), D is 33.3 times the largest" in out
    assert "laws that fit as well predict tied" in out


def test_hold_out_stands_beside_the_training_error(runs: pd.DataFrame) -> None:
    bent = runs.assign(loss=runs["loss"].where(runs["C"] < 1e21, runs["loss"] * 1.05))
    held = hold_out(points(bent, HOFFMANN), HOFFMANN, (bent["C"] >= 1e21).to_numpy(), resamples=100)
    text = summary(held)
    assert f"training rms {held.training_rms:.4f}" in text
    assert "warning: errors of the held-out runs are 1" in text
    assert "times the training rms" in text
    assert "prediction band of mean half-width" in text
    few = runs.sample(10, random_state=0)  # too few for a band, enough for the errors
    alone = hold_out(points(few, HOFFMANN), HOFFMANN, np.arange(10) > 7, resamples=100)
    assert np.isnan(alone.coverage)
    assert alone.rms < 0.1


@pytest.mark.integration
def test_prediction_band_has_the_errors_of_new_runs() -> None:
    """Twelve runs, five parameters: the residuals' spread alone covered .76 of new runs."""
    covered = []
    for seed in range(25):
        rng = np.random.default_rng(seed)
        x = pd.DataFrame({"N": np.geomspace(5e7, 1e10, 14), "D": 10 ** rng.uniform(9, 11.5, 14)})
        clean = HOFFMANN.predict(TRUE, x)
        found = fit(x.assign(loss=clean * np.exp(rng.normal(0, 0.006, 14))), HOFFMANN, delta=0.1)
        low, high = bootstrap(found, 200, seed).band(x, prediction=True)
        new = clean * np.exp(rng.normal(0, 0.006, 14))
        covered.append(((new >= low) & (new <= high)).mean())
    print("coverage of new runs", np.mean(covered))
    assert 0.90 < np.mean(covered) < 0.985


def test_half_width_and_errors_are_those_of_the_band_and_the_predictions(runs: pd.DataFrame) -> None:
    held = hold_out(points(runs, HOFFMANN), HOFFMANN, (runs["C"] >= 1e21).to_numpy(), resamples=100, seed=3)
    low, high = bootstrap(held.fit, 100, 3).band(held.test.x, prediction=True)
    assert held.half_width == pytest.approx(float(np.mean((high - low) / (high + low))), rel=1e-3)
    assert held.coverage == np.mean((held.test.loss >= low) & (held.test.loss <= high))
    frame = held.to_frame()
    assert frame["predicted"].to_numpy() == pytest.approx(held.fit.predict(held.test.x))
    assert frame["error"].to_numpy() == pytest.approx(100 * (frame["predicted"] / frame["measured"] - 1).to_numpy())


def test_other_laws_are_fitted_with_the_fits_own_delta(runs: pd.DataFrame) -> None:
    others = fit_other_laws(fit(runs, HOFFMANN, delta=0.05))
    assert others
    assert {other.problem.delta for other in others} == {0.05}
