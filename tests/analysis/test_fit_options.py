"""Choices around a fit: which law, which runs, given coefficients, noise by loss, columns that are estimates."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pdstudy.analysis.data.points import points
from pdstudy.analysis.errors import AnalysisError
from pdstudy.analysis.fit.bootstrap import bootstrap
from pdstudy.analysis.fit.choice import choose_law, largest_runs
from pdstudy.analysis.fit.estimated_columns import draw_columns
from pdstudy.analysis.fit.findings import warnings
from pdstudy.analysis.fit.fit import fit
from pdstudy.analysis.fit.given_law import judge_law
from pdstudy.analysis.fit.minimise import minimise
from pdstudy.analysis.fit.outliers import leave_out_outliers
from pdstudy.analysis.fit.residual_scale import free_residuals, measure_scale
from pdstudy.analysis.laws import DISTILLATION, GAMMA, GAMMA_PUBLISHED, HOFFMANN, KAPLAN, TIED, laws_of, power_law
from pdstudy.analysis.scaling.multiplier import multiplier
from pdstudy.analysis.summary import summary

TRUE = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}


def grid(noise: float = 0.004, seed: int = 0) -> pd.DataFrame:
    n, d = np.meshgrid(np.geomspace(5e7, 1e10, 7), np.geomspace(1e9, 3e11, 6), indexing="ij")
    table = pd.DataFrame({"N": n.ravel(), "D": d.ravel()})
    scatter = np.random.default_rng(seed).normal(0, noise, len(table))
    return table.assign(loss=HOFFMANN.predict(TRUE, table) * np.exp(scatter))


def line(seed: int, runs: int = 40) -> pd.DataFrame:
    """A power law whose noise falls with the loss, twentyfold over the sizes."""
    n = np.geomspace(1e7, 1e11, runs)
    noise = 0.04 * (n / 1e7) ** -0.325 * np.random.default_rng(seed).standard_normal(runs)
    return pd.DataFrame({"N": n, "loss": 60 * n**-0.15 * np.exp(noise)})


def test_given_coefficients_are_judged_as_they_are() -> None:
    data = points(grid(), HOFFMANN)
    fitted = fit(data, HOFFMANN)
    at_optimum = judge_law(data, HOFFMANN, fitted.parameters, delta=1e-3)
    assert at_optimum.objective == pytest.approx(fitted.objective, rel=1e-9)
    assert at_optimum.errors == pytest.approx(fitted.residuals, abs=1e-12)
    off = judge_law(data, HOFFMANN, {**TRUE, "E": 1.9}, delta=1e-3)
    assert off.mean < -0.02
    assert off.worst >= off.rms >= abs(off.mean)
    with pytest.raises(AnalysisError, match="hoffmann has the parameters E, A, B, alpha, beta; given were E, A"):
        judge_law(data, HOFFMANN, {"E": 1.0, "A": 2.0}, delta=1e-3)
    with pytest.raises(AnalysisError, match="A = -1: it must be positive"):
        judge_law(data, HOFFMANN, {**TRUE, "A": -1.0}, delta=1e-3)


def test_an_outlier_is_left_out_by_a_stated_rule() -> None:
    table = grid()
    table.loc[[3, 17], "loss"] *= 1.2
    first = fit(table, HOFFMANN)
    second = leave_out_outliers(first, 5)
    assert len(second.points) == len(table) - 2
    assert not {3, 17} & set(second.points.rows)
    said = next(w for w in warnings(second) if "left out by the rule" in w)
    assert "2 of 42 runs left out by the rule |log residual| > 5 x 1.4826 x median" in said
    assert "rows 3, 17; with them E " in said
    assert f"median = {5 * 1.4826 * np.median(np.abs(first.residuals)):.3g}: " in said
    clean = leave_out_outliers(fit(grid(), HOFFMANN), 8)
    assert len(clean.points) == 42
    assert any("no run is an outlier" in w for w in warnings(clean))
    with pytest.raises(AnalysisError, match="no rule for outliers"):
        leave_out_outliers(first, 1)


@pytest.mark.integration
def test_the_law_of_the_data_is_chosen_and_how_sure_that_is() -> None:
    """Curved in the way of the gamma form; Kaplan's has no floor and can't follow."""
    table = grid().assign(loss=lambda t: GAMMA.predict(GAMMA_PUBLISHED, t))
    table["loss"] *= np.exp(np.random.default_rng(1).normal(0, 0.001, len(table)))
    found = choose_law(points(table, GAMMA), (HOFFMANN, KAPLAN, GAMMA))
    assert found.law is GAMMA
    assert found.share > 0.9
    assert found.frame["weight"].sum() == pytest.approx(1)
    assert "gamma predicts the" in found.said
    assert "AICc prefers it too" in found.said
    assert found.frame.set_index("law").loc["kaplan", "rms"] > 3 * found.frame["rms"].iloc[0]


def test_laws_that_predict_alike_leave_the_choice_unsure() -> None:
    table = grid(noise=0.01)
    found = choose_law(points(table, HOFFMANN), (HOFFMANN, TIED))
    assert found.share < 0.95
    assert "unsure" in found.said or "likely" in found.said
    assert found.held_out == largest_runs(points(table, HOFFMANN))[0].sum()


def test_one_law_alone_is_no_choice() -> None:
    found = choose_law(points(grid(), HOFFMANN), (HOFFMANN,), draws=100)
    assert found.said == "hoffmann alone could be compared, so that nothing was chosen"
    with pytest.raises(AnalysisError, match="no law could be compared: hoffmann: no intervals: 8 runs"):
        choose_law(points(grid().sample(10, random_state=1), HOFFMANN), (HOFFMANN,))


def test_laws_of_the_same_quantities() -> None:
    assert [law.name for law in laws_of(("N", "D"))] == ["hoffmann", "tied", "gamma", "kaplan"]
    assert [law.columns for law in laws_of(("C",))] == [("C",), ("C",)]


def test_the_scale_of_noise_follows_the_loss_where_it_does() -> None:
    found = measure_scale(fit(line(0), power_law("N", floor=False), delta=0.1))
    assert found.slope == pytest.approx(0.325 / 0.15, rel=0.35)
    even = line(0).assign(loss=lambda t: 60 * t["N"] ** -0.15 * np.exp(np.random.default_rng(5).normal(0, 0.01, 40)))
    assert measure_scale(fit(even, power_law("N", floor=False), delta=0.1)).slope == 0


def test_residuals_are_freed_of_what_the_fit_spent() -> None:
    """Leverages of least squares on a line, by hand; they add up to the number of parameters."""
    table = line(0, 12)
    found = fit(table, power_law("N", floor=False), delta=10)
    x = np.log(table["N"].to_numpy())
    leverage = 1 / 12 + (x - x.mean()) ** 2 / ((x - x.mean()) ** 2).sum()
    assert leverage.sum() == pytest.approx(2)
    assert free_residuals(found) == pytest.approx(found.residuals / np.sqrt(1 - leverage), rel=1e-6)


@pytest.mark.slow
def test_prediction_bands_hold_at_every_size() -> None:
    """Coverage of one more run at the smallest and at the largest size, where one pool has 0.62 and 1.00."""
    law, hits = power_law("N", floor=False), {1e7: 0, 1e11: 0}
    for seed in range(200):
        drawn = bootstrap(fit(line(seed), law, delta=0.1), 200, seed)
        for n in hits:
            noise = 0.04 * (n / 1e7) ** -0.325 * np.random.default_rng([seed, int(n)]).standard_normal()
            low, high = drawn.band({"N": n}, prediction=True)
            hits[n] += low[0] <= 60 * n**-0.15 * np.exp(noise) <= high[0]
    print({n: hit / 200 for n, hit in hits.items()})
    assert all(0.87 <= hit / 200 <= 0.995 for hit in hits.values())


def test_the_arms_own_noise_widens_a_multiplier() -> None:
    fitted = fit(grid(), HOFFMANN)
    drawn = bootstrap(fitted, 400)
    loss = float(HOFFMANN.predict(TRUE, {"N": 1e9, "D": 4e10})[0])
    exact, run, seeds = (
        multiplier(fitted, "D", 2e10, loss, at={"N": 1e9}, bootstrap=drawn, error=error) for error in (0.0, None, 0.002)
    )
    assert exact.factor == run.factor == pytest.approx(2, rel=0.1)
    widths = [np.log(m.high / m.low) for m in (exact, seeds, run)]
    assert widths[0] < widths[1] < widths[2]
    # d ln D / d ln L at this point, times the noise of one run.
    near, far = (float(fitted.predict({"N": 1e9, "D": d})[0]) for d in (4e10, 4.04e10))
    slope = np.log(1.01) / np.log(near / far)
    noise = np.std(fitted.residuals) * np.sqrt(42 / 37)
    assert np.sqrt(widths[2] ** 2 - widths[0] ** 2) == pytest.approx(2 * 1.96 * slope * noise, rel=0.25)


def test_columns_that_are_estimates_are_drawn_anew() -> None:
    table = line(1)
    fitted = fit(table, power_law("N", floor=False), delta=0.1)
    exact = bootstrap(fitted, 200)
    shifted = bootstrap(fitted, 200, estimates=lambda rng: {"N": table["N"].to_numpy() * np.exp(rng.normal(0, 1.0))})
    assert shifted.errors()["ln A"] > 1.5 * exact.errors()["ln A"]
    assert shifted.method == "pairs, estimated columns drawn anew"
    again = bootstrap(fitted, 100, estimates=lambda rng: {"N": table["N"].to_numpy() * np.exp(rng.normal(0, 1.0))})
    assert again.theta == pytest.approx(shifted.theta[:100])


def test_neighbours_are_not_counted_as_agreement() -> None:
    """Half of the starts that are minimised are neighbours on one grid, and end in one place by themselves."""
    found = fit(grid(), HOFFMANN)
    assert found.agreeing == 24
    assert 8 <= int(found.apart.sum()) < 24
    assert found.agreeing_apart == found.apart.sum()


def test_a_term_that_is_switched_off_does_not_stop_the_others() -> None:
    """A parameter without any curvature made directions of NaN: resamples stayed where they began, s.e. 5e-7."""
    n = np.geomspace(1e7, 1e11, 40)
    noise = np.random.default_rng(3).normal(0, 0.004, 40)
    table = pd.DataFrame(
        {"N": n, "D": np.tile([1e9, 1e10, 1e11, 1e12], 10), "loss": (1.8 + 400 * n**-0.34) * np.exp(noise)}
    )
    problem = fit(table, HOFFMANN, delta=0.1).problem
    off = np.array([[np.log(1.8), np.log(400), -29.0, 0.34, 9.0]])
    start = off + np.array([[0.02, -0.3, 0.0, 0.01, 0.0]])
    assert problem.curvature(start, problem.sample)[0, 4, 4] < 1e-100
    solved = minimise(problem, start, problem.sample)
    alone = fit(table, power_law("N"), delta=0.1)
    assert solved.objective[0] == pytest.approx(alone.objective, rel=1e-9)
    assert solved.decrement[0] < 1e-9


def test_draws_of_estimated_columns_follow_their_laws() -> None:
    table = grid().assign(LT=lambda t: np.where(t["N"] < 1e9, 2.0, 2.4), LM=3.0)
    runs = fit(grid(), GAMMA)
    drawn = bootstrap(runs, 100)
    data = points(table, DISTILLATION)
    draw = draw_columns(data, supervised=drawn, teacher_error=0.01)
    found = [draw(np.random.default_rng(seed)) for seed in range(200)]
    assert set(found[0]) == {"LM", "LT"}
    spread = np.std([np.log(f["LM"]) for f in found], axis=0)
    expected = np.std(GAMMA.log_loss(drawn.theta, data.x)[0], axis=0)
    assert spread == pytest.approx(expected, rel=0.3)
    teachers = np.array([np.log(f["LT"] / data.x["LT"]) for f in found])
    assert np.std(teachers, axis=0) == pytest.approx(np.full(42, 0.01), rel=0.2)
    small = data.x["N"] < 1e9
    assert np.ptp(teachers[:, small], axis=1).max() < 1e-12  # students of one teacher share its error
    assert set(draw_columns(data)(np.random.default_rng(0))) == set()


def test_resamples_that_do_not_converge_make_intervals_doubtful() -> None:
    drawn = bootstrap(fit(line(0), power_law("N", floor=False), delta=0.1), 100)
    assert drawn.doubt == ""
    bad = replace(drawn, failed=6)
    assert bad.doubt == "6% of resamples did not converge: intervals of this law on these runs are doubtful"
    assert f"warning: {bad.doubt}" in summary(bad)
