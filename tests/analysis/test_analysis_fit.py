"""Fits: invariances, honesty about what isn't identified, refusals of bad data."""

import numpy as np
import pandas as pd
import pytest

from pdstudy.analysis.data.points import Points, points
from pdstudy.analysis.errors import AnalysisError, DataError, TooFewRuns
from pdstudy.analysis.figures.diagnostics import pair_ellipses
from pdstudy.analysis.figures.fits import predicted_and_measured
from pdstudy.analysis.fit.bootstrap import bootstrap
from pdstudy.analysis.fit.findings import parameter_frame
from pdstudy.analysis.fit.fit import fit
from pdstudy.analysis.fit.holdout import hold_out, leave_one, select
from pdstudy.analysis.fit.identifiability import influence, not_identified, profile
from pdstudy.analysis.laws import GAMMA, HOFFMANN, KAPLAN, TIED, Law, Parameter, power_law
from pdstudy.analysis.laws.base import Array, Columns
from pdstudy.analysis.scaling.multiplier import multiplier
from pdstudy.analysis.summary import summary

TRUE = {"E": 1.8172181, "A": 477.8259, "B": 2143.4174, "alpha": 0.3473105, "beta": 0.3671724}


def grid_of_runs(noise: float = 0.0, seed: int = 0) -> pd.DataFrame:
    """Eight sizes by six token counts."""
    n, d = np.meshgrid(np.geomspace(5e7, 1e10, 8), np.geomspace(1e9, 3e11, 6), indexing="ij")
    table = pd.DataFrame({"N": n.ravel(), "D": d.ravel()})
    rng = np.random.default_rng(seed)
    return table.assign(loss=HOFFMANN.predict(TRUE, table) * np.exp(rng.normal(0, noise, len(table))))


@pytest.fixture(scope="module")
def noisy() -> pd.DataFrame:
    return grid_of_runs(0.006)


def test_optimum_ignores_duplication_weights_scale_and_order(noisy: pd.DataFrame) -> None:
    data = points(noisy, HOFFMANN)
    once = fit(data, HOFFMANN)
    thrice = fit(data.take(np.tile(np.arange(len(data)), 3)), HOFFMANN)
    shuffled = fit(noisy.sample(frac=1, random_state=1), HOFFMANN)
    weighted = fit(noisy.assign(w=7.5), HOFFMANN, weights="w")
    assert thrice.objective == pytest.approx(3 * once.objective, rel=1e-9)
    for other in (thrice, shuffled, weighted):
        assert other.parameters == pytest.approx(once.parameters, rel=1e-6)


def test_a_weight_of_two_is_a_row_twice(noisy: pd.DataFrame) -> None:
    data = points(noisy, HOFFMANN)
    double = np.concatenate([np.arange(len(data)), [3, 17]])
    weights = np.ones(len(noisy))
    weights[[3, 17]] = 2
    assert fit(noisy.assign(w=weights), HOFFMANN, weights="w").parameters == pytest.approx(
        fit(data.take(double), HOFFMANN).parameters, rel=1e-6
    )


def test_units_of_n_and_d_only_move_the_coefficients(noisy: pd.DataFrame) -> None:
    billions = noisy.assign(N=noisy["N"] / 1e9, D=noisy["D"] / 1e9)
    a, b = fit(noisy, HOFFMANN), fit(billions, HOFFMANN)
    assert b.objective == pytest.approx(a.objective, rel=1e-9)
    assert b.parameters["A"] == pytest.approx(a.parameters["A"] * 1e9 ** -a.parameters["alpha"], rel=1e-5)


def test_optimum_is_not_above_scipys(noisy: pd.DataFrame) -> None:
    from scipy.optimize import minimize

    found = fit(noisy, HOFFMANN)
    sample = found.problem.sample
    best = min(
        minimize(lambda p: found.problem.evaluate(p[None, :], sample)[0][0] * 1e6, start, method="Nelder-Mead",
                 options={"maxiter": 4000, "xatol": 1e-10, "fatol": 1e-12}).fun
        for start in (found.free, found.free + 0.05)
    )  # fmt: skip
    assert found.objective * 1e6 <= best * (1 + 1e-9)
    assert found.agreeing == found.polished


def test_summary_and_frame_say_what_was_done(noisy: pd.DataFrame) -> None:
    text = summary(fit(noisy.assign(n_convention="total"), HOFFMANN))
    for part in (
        "48 runs",
        "N: total",
        "minimisations from starts that are apart agree (24 in all",
        "Huber, delta 0.001",
        "condition",
    ):
        assert part in text
    assert list(parameter_frame(fit(noisy, HOFFMANN))["parameter"]) == list(HOFFMANN.names)


class Wild(Law):
    """A law with no finite value anywhere: its fit must fail, and give no number."""

    name, columns, formula, source = "wild", ("N",), "L = NaN", "a test"
    parameters = (Parameter("a", "a"), Parameter("b", "b"))

    def log_loss(self, theta: Array, x: Columns) -> tuple[Array, list[Array]]:
        nothing = np.full((len(theta), len(x["N"])), np.nan)
        return nothing, [nothing, nothing]

    def starts(self, x: Columns, loss: Array) -> Array:
        return np.zeros((5, 2))


def test_failure_is_a_result_and_never_a_number(noisy: pd.DataFrame) -> None:
    failed = fit(noisy, Wild())
    assert not failed.ok
    assert "NOT FITTED: none of 5 starts has a finite objective" in summary(failed)
    for number in ("parameters", "objective", "condition", "minima"):
        with pytest.raises(AnalysisError, match="wild was not fitted"):
            getattr(failed, number)


@pytest.mark.integration
def test_not_identified_when_sizes_span_little(noisy: pd.DataFrame) -> None:
    narrow = noisy.assign(N=1e8 * (1 + 0.02 * (np.arange(len(noisy)) % 8)))
    narrow["loss"] = HOFFMANN.predict(TRUE, narrow) * np.exp(np.random.default_rng(0).normal(0, 0.003, len(narrow)))
    unknown = {u.parameter: u.why for u in not_identified(fit(narrow, HOFFMANN))}
    assert {"A", "alpha"} <= set(unknown)
    assert "N spans only a factor of 1.14 (8 values)" in unknown["alpha"]
    assert not_identified(fit(noisy, HOFFMANN)) == ()


def test_profile_is_lowest_at_the_optimum_and_rises(noisy: pd.DataFrame) -> None:
    found = fit(noisy, HOFFMANN)
    best = found.parameters["alpha"]
    curve = profile(found, "alpha", [best * 0.8, best * 0.9, best, best * 1.1, best * 1.2])
    assert curve["excess"][2] == pytest.approx(0, abs=1e-6)
    assert curve["excess"][0] > curve["excess"][1] > 0 < curve["excess"][3] < curve["excess"][4]
    held = fit(noisy, HOFFMANN, fixed={"alpha": best * 1.1})
    assert curve["objective"][3] == pytest.approx(held.objective, rel=1e-6)


def test_influence_is_a_fit_without_the_run(noisy: pd.DataFrame) -> None:
    spoiled = noisy.copy()
    spoiled.loc[40, "loss"] *= 1.05
    found = fit(spoiled, HOFFMANN, delta=0.1)  # quadratic: an outlier pulls
    table = influence(found, 3)
    assert table["left_out"][0] == 40
    without = fit(spoiled.drop(index=40), HOFFMANN, delta=0.1)
    assert table["alpha"][0] == pytest.approx(without.parameters["alpha"] - found.parameters["alpha"], rel=1e-4)


def test_bootstrap_repeats_itself_whatever_the_number(noisy: pd.DataFrame) -> None:
    found = fit(noisy, HOFFMANN)
    a, b, other = bootstrap(found, 300, seed=5), bootstrap(found, 150, seed=5), bootstrap(found, 150, seed=6)
    assert (a.theta[:150] == b.theta).all()
    assert not (b.theta == other.theta).any()
    assert a.failed == 0


@pytest.mark.integration
def test_bootstrap_minima_are_minima(noisy: pd.DataFrame) -> None:
    """A resample fitted by the full search is never below the bootstrap's minimum."""
    data = points(noisy, HOFFMANN)
    rng = np.random.default_rng(2)
    drawn = rng.integers(0, len(data), (12, len(data)))
    quick = bootstrap(fit(data, HOFFMANN), indices=drawn)
    for row, objective in zip(drawn, quick.objective):
        assert objective <= fit(data.take(row), HOFFMANN).objective * (1 + 1e-9)


def test_clusters_are_drawn_whole() -> None:
    table = grid_of_runs(0.001).assign(run=lambda t: t["N"])
    rng = np.random.default_rng(0)
    shift = dict(zip(table["N"].unique(), rng.normal(0, 0.01, 8)))
    table["loss"] *= np.exp(table["N"].map(shift))
    law = power_law("D")
    one = table[table["N"] < 1e9].assign(run=lambda t: t["N"])
    with pytest.raises(TooFewRuns, match=r"clusters \(of 24 rows\) for 3 free parameters; at least 8"):
        bootstrap(fit(one, law, cluster="run"))
    rows = bootstrap(fit(table, TIED), 300).errors()["alpha"]
    twice = [table.assign(run=table["N"] * (r + 1), loss=table["loss"] * (1 + 1e-3 * r)) for r in range(2)]
    clusters = bootstrap(fit(pd.concat(twice, ignore_index=True), TIED, cluster="run"), 300)
    assert clusters.method == "clusters"
    assert clusters.units == 16
    assert clusters.errors()["alpha"] > rows  # whole sizes move together, so fewer independent runs


def test_residual_bootstrap_and_bands(noisy: pd.DataFrame) -> None:
    found = fit(noisy, HOFFMANN, delta=0.1)
    residual = bootstrap(found, 400, residual=True)
    assert residual.method == "residuals"
    assert residual.errors()["alpha"] == pytest.approx(bootstrap(found, 400).errors()["alpha"], rel=0.4)
    x = {"N": [1e9], "D": [1e11]}
    curve, run = residual.band(x), residual.band(x, prediction=True)
    assert run[0][0] < curve[0][0] < found.predict(x)[0] < curve[1][0] < run[1][0]


def test_intervals_are_refused_below_2k_plus_2(noisy: pd.DataFrame) -> None:
    with pytest.raises(TooFewRuns, match="11 runs for 5 free parameters; at least 12"):
        bootstrap(fit(noisy.iloc[::4].head(11), HOFFMANN))
    bootstrap(fit(noisy.iloc[::4].head(12), HOFFMANN), 100)


@pytest.mark.integration
def test_prediction_band_covers_what_it_says() -> None:
    covered = []
    for seed in range(12):
        table = grid_of_runs(0.006, seed)
        new = grid_of_runs(0.006, 1000 + seed)
        low, high = bootstrap(fit(table, HOFFMANN), 200, seed).band(new, prediction=True)
        covered.append(((new["loss"] >= low) & (new["loss"] <= high)).mean())
    assert 0.88 < np.mean(covered) < 0.98


@pytest.mark.integration
def test_hold_out_and_selection(noisy: pd.DataFrame) -> None:
    data = points(noisy, HOFFMANN)
    mask = (noisy["N"] * noisy["D"] > 3e20).to_numpy()
    held = hold_out(data, HOFFMANN, mask, resamples=200)
    assert len(held.errors) == mask.sum()
    assert held.rms < 0.01
    assert held.coverage > 0.8
    chosen = select(data, [KAPLAN, HOFFMANN], {"large": mask})
    assert list(chosen["law"]) == ["hoffmann", "kaplan"]
    left = leave_one(data, HOFFMANN, list(noisy["N"]))
    assert len(left) == 8
    assert left["rms"].max() < 0.02
    with pytest.raises(DataError, match="0 of 48 runs are held out"):
        hold_out(data, HOFFMANN, np.zeros(48, dtype=bool))


def test_multiplier() -> None:
    table = grid_of_runs()
    found = fit(table, HOFFMANN)
    loss = float(found.predict({"N": [1e9], "D": [5e10]})[0])
    assert multiplier(found, "D", 1e10, loss, at={"N": 1e9}).factor == pytest.approx(5, rel=1e-6)
    never = multiplier(found, "D", 1e10, 1.7, at={"N": 1e9}, bootstrap=bootstrap(found, 100), error=0.0)
    assert never.factor == never.high == np.inf
    assert "never matches" in summary(never)


BAD = [
    (lambda t: t.assign(loss=t["loss"].where(t.index != 4)), DataError, "for the loss is NaN or infinite in row 4"),
    (lambda t: t.assign(loss=t["loss"].where(t.index != 4, 0.0)), DataError, "'loss' for the loss is 0 in row 4"),
    (lambda t: t.assign(loss=-t["loss"]), DataError, "every value must be above zero"),
    (lambda t: t.assign(N=1e9), DataError, "N has only 1 value"),
    (lambda t: t.assign(N=np.where(t.index % 2, 1e9, 2e9)), DataError,
     r"only 2 value\(s\) in these runs: 1e\+09, 2e\+09"),
    (lambda t: pd.concat([t, t.iloc[[3]]], ignore_index=True), DataError, "rows 3, 48 are copies of each other"),
    (lambda t: t.assign(n_convention=np.where(t.index < 9, "total", "non-embedding")), DataError,
     "mixes 'non-embedding' in 39 rows, 'total' in 9 rows"),
    (lambda t: t.head(3), TooFewRuns, "3 runs for the 5 free parameters of hoffmann; a fit needs 6, intervals 12"),
    (lambda t: t.rename(columns={"D": "tokens"}), DataError, "no column 'D' for D of hoffmann; the table has N, tok"),
    (lambda t: t.assign(D="many"), DataError, "holds .many. in rows 0, .* which is no number; write 1.5e9 or 1.5B"),
    (lambda t: t.head(0), DataError, "the table has no rows"),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "kind", "message"), BAD)
def test_bad_data_is_a_message_and_never_a_number(noisy: pd.DataFrame, spoil, kind: type, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(kind, match=message):
        fit(spoil(noisy), HOFFMANN)


def test_more_refusals(noisy: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="did you mean 'loss'"):
        fit(noisy, HOFFMANN, loss="los")
    wide = noisy.assign(**{f"column {i}": i for i in range(90)})
    with pytest.raises(DataError, match=r"no column 'los' for .* \(did you mean 'loss'\?\); .*column 8 and 81 more$"):
        fit(wide, HOFFMANN, loss="los")
    with pytest.raises(DataError, match="'N' is used for two different quantities"):
        fit(noisy, HOFFMANN, columns={"D": "N"})
    with pytest.raises(DataError, match="hoffmann has no column 'U'"):
        fit(noisy, HOFFMANN, columns={"U": "N"})
    with pytest.raises(AnalysisError, match="delta is -1"):
        fit(noisy, HOFFMANN, delta=-1)
    with pytest.raises(DataError, match="weights must not be negative"):
        fit(noisy.assign(w=-1.0), HOFFMANN, weights="w")


@pytest.mark.integration
@pytest.mark.timeout(60)
def test_ten_thousand_points_take_seconds_and_bounded_memory() -> None:
    import tracemalloc

    rng = np.random.default_rng(0)
    big = pd.DataFrame({"N": np.exp(rng.uniform(17, 24, 10_000)), "D": np.exp(rng.uniform(21, 27, 10_000))})
    big["loss"] = HOFFMANN.predict(TRUE, big) * np.exp(rng.normal(0, 0.006, len(big)))
    tracemalloc.start()
    found = fit(big, HOFFMANN)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.agreeing == found.polished
    assert found.parameters["alpha"] == pytest.approx(TRUE["alpha"], rel=0.01)
    assert peak < 400e6


def test_conventions_of_n_are_not_mixed_in_predictions(noisy: pd.DataFrame) -> None:
    found = fit(noisy.assign(n_convention="non-embedding"), HOFFMANN)
    with pytest.raises(DataError, match="N is total here, non-embedding in the fit"):
        found.predict(noisy.assign(n_convention="total"))
    assert len(found.predict(noisy)) == 48


@pytest.mark.integration
def test_results_have_frames_summaries_and_plots(noisy: pd.DataFrame) -> None:
    found = fit(noisy, HOFFMANN)
    drawn = bootstrap(found, 100)
    held = hold_out(points(noisy, HOFFMANN), HOFFMANN, (noisy["N"] > 3e9).to_numpy())
    assert list(drawn.to_frame()["parameter"]) == list(HOFFMANN.names)
    assert "100 bootstraps over pairs" in summary(drawn)
    assert len(predicted_and_measured(held).data) == 48
    for plot in (predicted_and_measured(found), pair_ellipses(drawn), predicted_and_measured(held)):
        assert plot.svg().startswith("<?xml")


def test_points_of_one_law_serve_another(noisy: pd.DataFrame) -> None:
    data = points(noisy, HOFFMANN)
    assert isinstance(data, Points)
    assert fit(data, GAMMA).objective <= fit(data, HOFFMANN).objective * (1 + 1e-9)  # gamma = 1 is Hoffmann


def test_weights_are_relative(noisy: pd.DataFrame) -> None:
    """Their mean is one, so that objectives of weighted and other fits compare."""
    weighted = fit(noisy.assign(w=7.5), HOFFMANN, weights="w")
    assert weighted.objective == pytest.approx(fit(noisy, HOFFMANN).objective, rel=1e-9)


def test_a_multiplier_has_the_interval_of_the_resampled_laws(noisy: pd.DataFrame) -> None:
    found = fit(noisy, HOFFMANN)
    loss = float(found.predict({"N": [1e9], "D": [5e10]})[0])
    made = multiplier(found, "D", 1e10, loss, at={"N": 1e9}, bootstrap=bootstrap(found, 100), error=0.0)
    assert made.factor == pytest.approx(5, rel=1e-6)
    assert 4 < made.low <= 5 <= made.high < 6
