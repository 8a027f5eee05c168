"""Estimators against their textbook forms, in cases where each factor shows."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pdstudy.analysis.compare.items import accuracy_effect, bits_effect
from pdstudy.analysis.data.task_answers import Items
from pdstudy.analysis.errors import TooFewRuns
from pdstudy.analysis.fit.bootstrap import bootstrap, interval
from pdstudy.analysis.fit.fit import fit
from pdstudy.analysis.fit.holdout import akaike
from pdstudy.analysis.fit.identifiability import excess
from pdstudy.analysis.laws import HOFFMANN, power_law
from pdstudy.analysis.scaling.frontier import frontier, line

LINE = power_law("N", floor=False)
TRUE = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}


def eight_runs() -> pd.DataFrame:
    n = np.geomspace(1e8, 1e10, 8)
    return pd.DataFrame({"N": n, "loss": 60 * n**-0.15 * np.exp(np.random.default_rng(1).normal(0, 0.02, 8))})


def test_residuals_are_measured_minus_predicted() -> None:
    found = fit(eight_runs(), LINE, delta=10)
    assert found.residuals == pytest.approx(np.log(eight_runs()["loss"] / found.predict(eight_runs())), abs=1e-12)
    assert found.residuals[0] != pytest.approx(0, abs=1e-4)


def test_residual_bootstrap_has_the_textbook_error_of_a_line() -> None:
    """Eight runs, two parameters: without n / (n - k) the error is 13 % too small."""
    runs = eight_runs()
    found = fit(runs, LINE, delta=10)  # quadratic: a regression of ln loss on ln N
    x = np.log(runs["N"])
    error = np.sqrt((found.residuals**2).sum() / 6 / ((x - x.mean()) ** 2).sum())
    assert bootstrap(found, 4000, residual=True).errors()["alpha"] == pytest.approx(error, rel=0.04)


def test_intervals_are_of_95_per_cent() -> None:
    values = np.arange(1001.0)
    assert interval(values, 0.95) == pytest.approx((25, 975))
    found = bootstrap(fit(eight_runs(), LINE, delta=10), 400)
    for name, bounds in found.intervals().items():
        assert bounds == pytest.approx(tuple(np.quantile(found.draws[name], [0.025, 0.975])))
    curve = np.exp(LINE.log_loss(found.theta, {"N": np.array([1e9])})[0])[:, 0]
    low, high = found.band({"N": 1e9})
    assert (low[0], high[0]) == pytest.approx(tuple(np.quantile(curve, [0.025, 0.975])))


def test_blocks_of_resamples_differ() -> None:
    """Resamples are drawn in blocks of 100, each with a generator of its own."""
    drawn = bootstrap(fit(eight_runs(), LINE, delta=10), 300)
    assert len(np.unique(drawn.theta.round(12), axis=0)) > 250


@pytest.mark.parametrize("runs", [4, 5])
def test_as_many_runs_as_parameters_are_too_few(runs: int) -> None:
    table = pd.DataFrame({"N": np.geomspace(1e8, 1e10, 6), "D": [1e9, 1e11, 3e9, 2e10, 5e9, 6e10]})
    table["loss"] = HOFFMANN.predict(TRUE, table)
    with pytest.raises(TooFewRuns, match=f"{runs} runs for the 5 free parameters of hoffmann; a fit needs 6"):
        fit(table.head(runs), HOFFMANN)
    assert fit(table, HOFFMANN).ok


def test_frontier_is_weighted_least_squares_and_centred_by_weight() -> None:
    budgets, spread = np.array([1e18, 1e19, 1e20, 1e21]), np.array([0.02, 0.3, 0.05, 0.4])
    optima = np.array([1e8, 5e8, 8e8, 9e9])
    found = frontier(budgets, optima, spread)
    slope, intercept = np.polyfit(np.log(budgets), np.log(optima), 1, w=1 / spread)
    assert (found.exponent, found.intercept) == pytest.approx((slope, intercept))
    draws = np.log(optima)[:, None] + np.array([[0.1, -0.2], [0.3, 0.0], [0.0, 0.1], [-0.2, 0.2]])
    sampled = line(budgets, np.log(optima), 1 / spread**2, draws).draws
    for k in range(2):
        assert sampled[k] == pytest.approx(np.polyfit(np.log(budgets), draws[:, k], 1, w=1 / spread))


def items(correct: list[int], bits: list[float], size: list[float]) -> Items:
    count = len(correct)
    names = tuple(("part", i) for i in range(count))
    return Items(names, np.array(correct), np.array(bits), np.array(size), np.full(count, 2))


def test_bits_per_byte_are_all_bits_over_all_bytes() -> None:
    """Not the mean of the items' own ratios, which would weigh a short answer as much as a long one."""
    arm = items([1, 0, 1], [8.0, 30.0, 5.0], [2.0, 20.0, 5.0])
    base = items([0, 0, 1], [10.0, 50.0, 6.0], [2.0, 20.0, 5.0])
    effect = bits_effect([arm], [base])
    assert effect.difference == pytest.approx((8 + 30 + 5) / 27 - (10 + 50 + 6) / 27)
    assert accuracy_effect([arm], [base]).difference == pytest.approx(1 / 3)


def test_the_error_of_bits_per_byte_is_that_of_a_ratio() -> None:
    """Answers ten times as long with ten times the difference: their lengths are no noise of the ratio."""
    size = np.array([10.0, 100.0, 20.0, 200.0, 50.0, 15.0, 150.0, 30.0])
    bits, noise = 2.0 * size, np.array([0.1, -0.1, 0.2, -0.3, 0.1, -0.2, 0.3, -0.1])
    arm, base = (items([1] * 8, list(b), list(size)) for b in (bits - 0.3 * size + noise, bits))
    effect = bits_effect([arm], [base])
    residual = noise - noise.sum() / size.sum() * size
    assert effect.difference == pytest.approx(-0.3 + noise.sum() / size.sum())
    assert effect.error == pytest.approx(residual.std(ddof=1) / np.sqrt(8) / size.mean())
    assert effect.error < 0.0011 < 0.1 * (0.3 * size).std(ddof=1) / np.sqrt(8) / size.mean()


def test_a_run_of_no_weight_is_no_run() -> None:
    runs = eight_runs().assign(w=[1.0] * 7 + [0.0])
    weighted, without = fit(runs, LINE, delta=10, weights="w"), fit(runs.head(7), LINE, delta=10)
    assert len(weighted.points) == 7
    assert weighted.points.warnings == ("1 rows of weight 0 in 'w' were left out",)
    drawn = np.random.default_rng(0).integers(0, 7, (20, 7))
    first, second = (bootstrap(f, indices=drawn).draws["alpha"] for f in (weighted, without))
    assert first == pytest.approx(second, rel=1e-12)
    assert akaike(weighted) == pytest.approx(akaike(without))


def test_a_weight_of_two_is_a_row_that_stands_twice() -> None:
    runs = eight_runs().assign(run=range(8))
    weighted = fit(runs.assign(w=[2.0] + [1.0] * 7), LINE, delta=10, weights="w")
    twice = fit(pd.concat([runs, runs.head(1)]), LINE, delta=10, cluster="run", duplicates="keep")
    drawn = np.random.default_rng(0).integers(0, 8, (20, 8))
    first, second = (bootstrap(f, indices=drawn).draws["alpha"] for f in (weighted, twice))
    assert first == pytest.approx(second, rel=1e-6)
    scale = np.average(np.abs(weighted.residuals), weights=[2.0] + [1.0] * 7)
    assert akaike(weighted) == pytest.approx(2 * 8 * (np.log(2 * scale) + 1) + 2 * 3)


def test_akaikes_criterion_is_that_of_laplace_residuals() -> None:
    """Two parameters of the law and the scale of the residuals."""
    found = fit(eight_runs(), LINE)
    scale = np.abs(found.residuals).mean()
    likelihood = stats.laplace.logpdf(found.residuals, scale=scale).sum()
    assert akaike(found) == pytest.approx(-2 * likelihood + 2 * 3)
    assert akaike(found, corrected=True) == pytest.approx(akaike(found) + 2 * 3 * 4 / (8 - 3 - 1))


def test_likelihood_ratios_count_independent_runs() -> None:
    alone = fit(eight_runs(), LINE)
    pairs = fit(eight_runs().assign(run=[0, 0, 1, 1, 2, 2, 3, 3]), LINE, cluster="run")
    assert pairs.objective == pytest.approx(alone.objective)
    assert excess(pairs, 2 * pairs.objective) == pytest.approx(excess(alone, 2 * alone.objective) / 2)
    assert excess(alone, 2 * alone.objective) == pytest.approx(2 * 8 * np.log(2))  # Laplace: beyond delta
