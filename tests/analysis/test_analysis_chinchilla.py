"""The replication of Chinchilla: fits.md section 4, rows 1 to 11 and 24, from the points that Epoch AI read off."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pdstudy.analysis.data.points import points
from pdstudy.analysis.fit.bootstrap import Bootstrap, bootstrap, interval
from pdstudy.analysis.fit.fit import fit
from pdstudy.analysis.fit.fit_result import Fit
from pdstudy.analysis.fit.holdout import hold_out, select
from pdstudy.analysis.fit.identifiability import not_identified
from pdstudy.analysis.fit.minimise import minimise
from pdstudy.analysis.fit.objective import Sample
from pdstudy.analysis.laws import GAMMA, HOFFMANN, KAPLAN, TIED
from pdstudy.analysis.scaling.allocation import allocate, hoffmann_optimum

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"

pytestmark = [
    pytest.mark.published,
    pytest.mark.skipif(not DATA.is_dir(), reason="the published data (shared/data beside the checkout) is not here"),
]


def chinchilla(dropped: int = 5) -> pd.DataFrame:
    table = pd.read_csv(DATA / "chinchilla_epoch" / "svg_extracted_data.csv")
    table = table.rename(columns={"Model Size": "N", "Training FLOP": "C"})
    table["D"] = table["C"] / (6 * table["N"])
    return table[table["loss"] < table["loss"].nlargest(dropped).min()] if dropped else table


@pytest.fixture(scope="module")
def runs() -> pd.DataFrame:
    return chinchilla()


@pytest.fixture(scope="module")
def fitted(runs: pd.DataFrame) -> Fit:
    return fit(runs, HOFFMANN)


@pytest.fixture(scope="module")
def resampled(fitted: Fit) -> Bootstrap:
    """4,000 resamples, drawn as Epoch AI drew theirs."""
    rng = np.random.RandomState(42)
    return bootstrap(fitted, indices=np.array([rng.choice(240, 240, replace=True) for _ in range(4000)]))


def test_chinchilla_optimum(runs: pd.DataFrame, fitted: Fit) -> None:
    assert len(runs) == 240
    assert fitted.objective == pytest.approx(1.01827401780060e-3, rel=1e-12)
    assert fitted.agreeing == fitted.polished == 24
    found = fitted.parameters
    printed = {"A": 477.8259, "B": 2143.4174, "E": 1.8172181, "alpha": 0.3473105, "beta": 0.3671724}
    assert found == pytest.approx(printed, rel=1e-6)
    assert not_identified(fitted) == ()


def test_chinchilla_optimum_ignores_duplication(runs: pd.DataFrame, fitted: Fit) -> None:
    data = points(runs, HOFFMANN)
    twice = fit(data.take(np.tile(np.arange(240), 2)), HOFFMANN)
    assert twice.parameters == pytest.approx(fitted.parameters, rel=1e-6)


def test_chinchilla_over_delta(runs: pd.DataFrame) -> None:
    alphas = {1e-1: 0.36025, 1e-2: 0.35442, 3e-3: 0.34925, 1e-3: 0.34731, 3e-4: 0.34672, 1e-4: 0.34741}
    for delta, alpha in alphas.items():
        assert fit(runs, HOFFMANN, delta=delta).parameters["alpha"] == pytest.approx(alpha, abs=1e-5)
    almost_l1 = fit(runs, HOFFMANN, delta=1e-6)
    assert almost_l1.objective / 1e-6 == pytest.approx(1.12938, abs=1e-5)
    printed = {"A": 481.93, "B": 2085.00, "E": 1.81684, "alpha": 0.34780, "beta": 0.36584}
    assert almost_l1.parameters == pytest.approx(printed, rel=2e-5)


def test_chinchilla_standard_errors(resampled: Bootstrap) -> None:
    errors = resampled.errors()
    for name, value, rel in (
        ("A", 124.522, 2e-3), ("E", 0.02566, 2e-3), ("alpha", 0.01540, 2e-3), ("beta", 0.02060, 2e-3),
        ("ln A", 0.258, 5e-3), ("ln B", 0.421, 5e-3),
    ):  # fmt: skip
        assert errors[name] == pytest.approx(value, rel=rel), name
    assert resampled.failed == 0
    # B is heavy-tailed: in resample 3178 the search finds a lower minimum than a warm start does, and that alone moves
    # its error from the published one to 1312.
    problem, draws = resampled.fit.problem, np.random.RandomState(42)
    weights = np.stack([np.bincount(draws.choice(240, 240, replace=True), minlength=240) for _ in range(4000)]).astype(
        float
    )
    start = np.repeat(resampled.fit.free[None, :], 4000, axis=0)
    warm = minimise(problem, start, Sample(weights, problem.sample.target))
    assert np.exp(warm.free[:, 2]).std() == pytest.approx(1293.284, rel=1e-3)
    assert errors["B"] == pytest.approx(1312.1, rel=1e-3)
    assert resampled.objective[3178] < warm.objective[3178] * (1 - 1e-4)
    assert (resampled.objective <= warm.objective * (1 + 1e-9)).all()


def test_chinchilla_intervals(resampled: Bootstrap) -> None:
    bounds = resampled.intervals()
    assert bounds["alpha"] == pytest.approx((0.317, 0.373), abs=1e-3)
    assert bounds["beta"] == pytest.approx((0.331, 0.415), abs=1e-3)
    assert bounds["E"] == pytest.approx((1.769, 1.871), abs=1e-3)
    a = resampled.draws["beta"] / (resampled.draws["alpha"] + resampled.draws["beta"])
    assert a.std() == pytest.approx(0.020, abs=1e-3)
    low, high = interval(a, 0.8)
    assert high - low == pytest.approx(0.051, abs=2e-3)


def test_chinchilla_other_seeds_agree(fitted: Fit, resampled: Bootstrap) -> None:
    other = bootstrap(fitted, 1000, seed=1).errors()
    for name in ("E", "alpha", "beta", "ln A", "ln B"):
        assert other[name] == pytest.approx(resampled.errors()[name], rel=0.08)


def test_chinchilla_allocation(fitted: Fit, resampled: Bootstrap) -> None:
    row = allocate(fitted, [5.76e23], bootstrap=resampled).to_frame().iloc[0]
    assert row["n"] == pytest.approx(7.319e10, rel=1e-3)
    assert row["ratio"] == pytest.approx(17.92, rel=1e-3)
    assert (row["ratio_low"], row["ratio_high"]) == pytest.approx((7.6, 35.9), rel=0.03)
    for values, n, ratio in (
        ({"A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}, 7.225e10, 18.39),
        ({"A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}, 3.219e10, 92.65),
    ):
        size, tokens = hoffmann_optimum(values, 5.76e23)
        assert size == pytest.approx(n, rel=1e-3)
        assert tokens / size == pytest.approx(ratio, rel=1e-3)


def test_chinchilla_without_dropping_any() -> None:
    found = fit(chinchilla(0), HOFFMANN)
    assert found.objective == pytest.approx(0.00182598, rel=1e-4)
    assert found.parameters["beta"] == pytest.approx(0.4530, abs=1e-4)
    assert found.parameters["B"] == pytest.approx(12846, rel=1e-4)
    assert found.parameters["E"] == pytest.approx(1.8913, abs=1e-4)


def test_chinchilla_hold_out(runs: pd.DataFrame) -> None:
    held = hold_out(points(runs, HOFFMANN), HOFFMANN, (runs["C"] >= 1e21).to_numpy())
    assert (len(held.fit.points), len(held.errors)) == (217, 23)
    assert held.fit.parameters["alpha"] == pytest.approx(0.3271, abs=1e-4)
    assert held.fit.parameters["beta"] == pytest.approx(0.3961, abs=1e-4)
    assert held.rms == pytest.approx(0.01249, abs=1e-5)
    assert held.mean == pytest.approx(0.0002, abs=1e-4)


def test_chinchilla_model_selection(runs: pd.DataFrame) -> None:
    masks = {f"{c:g}": (runs["C"] >= c).to_numpy() for c in (1e20, 3e20, 1e21)}
    table = select(points(runs, HOFFMANN), [HOFFMANN, KAPLAN, GAMMA, TIED], masks).set_index("law")
    assert list(table.index) == ["tied", "hoffmann", "gamma", "kaplan"]  # by hold-out
    expected = {
        "tied": (4, 1.02217e-3, -1747.5, 0.0102, 0.0103, 0.0101),
        "hoffmann": (5, 1.01827e-3, -1747.1, 0.0114, 0.0125, 0.0125),
        "gamma": (6, 9.54185e-4, -1772.7, 0.0140, 0.0124, 0.0113),
        "kaplan": (4, 2.66310e-3, -1317.3, 0.0277, 0.0263, 0.0272),
    }
    for law, (k, objective, akaike, *rms) in expected.items():
        row = table.loc[law]
        assert row["k"] == k
        assert row["objective"] == pytest.approx(objective, rel=5e-6)
        assert row["akaike"] == pytest.approx(akaike, abs=0.05)
        assert [round(float(row[f"rms {m}"]), 4) for m in masks] == pytest.approx(rms, abs=1e-9)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_coverage_of_the_bootstrap(runs: pd.DataFrame, fitted: Fit) -> None:
    """fits.md row 24: intervals of 200 simulated replicates of the 240-run design cover what they say."""
    data = points(runs, HOFFMANN)
    true = HOFFMANN.internal(fitted.parameters)
    curve = np.log(fitted.predict(data.x))
    a_true = fitted.parameters["beta"] / (fitted.parameters["alpha"] + fitted.parameters["beta"])
    n_true = hoffmann_optimum(fitted.parameters, 5.76e23)[0]
    rng = np.random.default_rng(24)
    hits = []
    for replicate in range(200):
        simulated = replace(data, loss=np.exp(curve + rng.normal(0, 0.0075, len(data))))
        drawn = bootstrap(fit(simulated, HOFFMANN), 400, seed=replicate)
        low, high = np.quantile(drawn.theta, [0.025, 0.975], axis=0)
        d = drawn.draws
        a = interval(d["beta"] / (d["alpha"] + d["beta"]), 0.95)
        g = (np.log(d["alpha"] * d["A"]) - np.log(d["beta"] * d["B"])) / (d["alpha"] + d["beta"])
        n = interval(g + d["beta"] / (d["alpha"] + d["beta"]) * np.log(5.76e23 / 6), 0.95)
        hits.append([*((low <= true) & (true <= high)), a[0] <= a_true <= a[1], n[0] <= np.log(n_true) <= n[1]])
    covered = np.mean(hits, axis=0)
    print("coverage", dict(zip([*HOFFMANN.names, "a", "ln N*"], covered.round(3).tolist())))
    # Two standard errors of 200 replicates round what 300 gave (fits.md: .943 to .970).
    assert covered.min() > 0.91
    assert covered.max() < 0.99
