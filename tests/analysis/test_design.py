"""Designs: first-order errors, simulated studies, prices of branches, the choice of runs."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pdstudy.analysis.design.choose_runs import choose_runs
from pdstudy.analysis.design.design_targets import BestLoss, BestSize, LossAt, SizeExponent
from pdstudy.analysis.design.information import assumed, fitted, huber_inflation, jacobian
from pdstudy.analysis.design.learned_law import learn
from pdstudy.analysis.design.run_pool import RunPool, better_designs, next_runs
from pdstudy.analysis.design.run_prices import RunPrices
from pdstudy.analysis.design.simulate import simulate
from pdstudy.analysis.errors import AnalysisError
from pdstudy.analysis.fit.fit import fit
from pdstudy.analysis.laws import GAMMA, HOFFMANN
from pdstudy.analysis.scaling.allocation import hoffmann_optimum

TRUE = {"E": 2.47, "A": 21.65, "B": 115.9, "alpha": 0.35, "beta": 0.345}
THETA = HOFFMANN.internal(TRUE)


def ladder(sizes=7, budgets=6, largest=1e14):
    """The design of seven sizes by root two to four in N that was simulated by hand before: N, D, FLOPs."""
    n = np.geomspace(4.3e4, 4.3e6, sizes)
    places = [(a, b) for a, b in itertools.product(n, 6.6e5 * 2.0 ** np.arange(budgets)) if 6 * a * b <= largest]
    n, d = np.array(places).T
    return {"N": n, "D": d}, 6 * n * d


def test_huber_inflation_is_that_of_simulated_locations():
    """pi/2 for medians, 1 for means, and what Huber's table has at 1.345 (95 % efficiency)."""
    assert huber_inflation(1e-4) == pytest.approx(np.pi / 2, rel=1e-3)
    assert huber_inflation(20.0) == pytest.approx(1.0)
    assert 1 / huber_inflation(1.345) == pytest.approx(0.95, abs=1e-3)


def test_gradients_are_those_of_closed_forms():
    alpha, beta = TRUE["alpha"], TRUE["beta"]
    slope = SizeExponent().gradient(HOFFMANN, THETA)
    square = (alpha + beta) ** 2
    assert slope == pytest.approx([0, 0, 0, -beta / square, alpha / square], abs=1e-6)
    best = BestSize(1e14)
    assert best.value(best.estimate(HOFFMANN, THETA[None])[0]) == pytest.approx(
        hoffmann_optimum(TRUE, 1e14)[0], rel=1e-4
    )
    at = LossAt({"N": 1e6, "D": 2e7})
    exact = jacobian(HOFFMANN, THETA, {"N": np.array([1e6]), "D": np.array([2e7])})[0]
    assert at.gradient(HOFFMANN, THETA) == pytest.approx(exact, abs=1e-5)
    with pytest.raises(AnalysisError, match="missing: D"):
        LossAt({"N": 1e6}).estimate(HOFFMANN, THETA[None])


def test_first_order_errors_of_a_linear_problem_are_exact():
    """With exponents known the law in E alone is linear: its error is noise over the root of the number of runs."""
    x = {"N": np.full(16, 1e12), "D": np.full(16, 1e15)}
    told = assumed(HOFFMANN, THETA, x, 0.003)
    error = told.error(LossAt({"N": 1e12, "D": 1e15}))
    assert error == pytest.approx(0.003 / 4 * huber_inflation(3.0) ** 0.5, rel=1e-2)


def test_prices_of_branches_are_those_of_chains():
    """Against a brute force that trains each trunk segment once, in any order of choice."""
    rng = np.random.default_rng(0)
    for _ in range(40):
        m = 8
        family, trunk, own = rng.integers(0, 3, m), rng.integers(0, 6, m).astype(float), rng.random(m)
        there = {0: [2.0], 1: [1.0, 4.0]}
        prices = RunPrices(family, trunk, own, there)
        chosen = list(rng.permutation(m)[: rng.integers(0, m)])
        total = float(own[chosen].sum())
        for f in range(3):
            trained = set()
            for i in chosen:
                if family[i] == f:
                    start = max([t for t in there.get(f, []) if t <= trunk[i]], default=0.0)
                    trained |= set(np.arange(start, trunk[i]))
            total += len(trained)
        assert prices.total(chosen) == pytest.approx(total)
        for i in set(range(m)) - set(chosen):
            step = prices.total([*chosen, i]) - prices.total(chosen)
            assert prices.marginal(chosen)[i] == pytest.approx(step)


def test_choice_is_within_the_budget_and_no_worse_than_chance():
    x, flops = ladder()
    start = assumed(HOFFMANN, THETA, {c: v[:0] for c, v in x.items()}, 0.003)
    rows, prices = start.scaled(x), RunPrices.apart(flops)
    slopes = start.slopes([BestLoss(4e14)])
    budget = 0.2 * flops.sum()
    rng = np.random.default_rng(1)
    for wanted in (slopes, None):
        choice = choose_runs(start.precision, rows, prices, budget, wanted)
        assert choice.flops == pytest.approx(flops[list(choice.chosen)].sum())
        assert choice.flops <= budget
        assert len(set(choice.chosen)) == len(choice.chosen)
        for _ in range(100):
            order = rng.permutation(len(flops))
            some = order[np.cumsum(flops[order]) <= budget]
            covariance = np.linalg.inv(start.precision + rows[some].T @ rows[some])
            if wanted is None:
                fall = np.linalg.slogdet(start.covariance)[1] - np.linalg.slogdet(covariance)[1]
            else:
                fall = np.log(slopes[0] @ start.covariance @ slopes[0] / (slopes[0] @ covariance @ slopes[0]))
            assert choice.fall >= fall - 1e-9


def test_better_designs_are_better_and_the_cheapest_as_good():
    x, flops = ladder()
    pool = RunPool(tuple(map(str, range(len(flops)))), x, RunPrices.apart(flops))
    start = assumed(HOFFMANN, THETA, {c: v[:0] for c, v in x.items()}, 0.003)
    targets = (BestLoss(4e14), SizeExponent())
    half = list(range(0, len(flops), 2))
    declared, best, d_optimal, cheapest = better_designs(start, pool, half, targets)
    assert np.prod(best.errors) <= np.prod(declared.errors)
    assert best.flops <= declared.flops
    assert d_optimal.flops <= declared.flops
    assert cheapest.flops < declared.flops
    assert all(c <= d for c, d in zip(cheapest.errors, declared.errors, strict=True))


def test_next_runs_narrow_the_interval_of_their_target():
    x, flops = ladder()
    rng = np.random.default_rng(3)
    loss = HOFFMANN.predict(TRUE, x) * np.exp(0.003 * rng.standard_normal(len(flops)))
    done = flops < 1e13
    table = pd.DataFrame({**x, "loss": loss})[done]
    posterior = fitted(fit(table, HOFFMANN, delta=0.009))
    assert posterior.noise == pytest.approx(0.003, rel=0.5)
    assert posterior.dof == done.sum() - 5
    rest = {c: v[~done] for c, v in x.items()}
    pool = RunPool(tuple(map(str, range((~done).sum()))), rest, RunPrices.apart(flops[~done]))
    target = LossAt({"N": 4.3e6, "D": 2.1e7})
    found = next_runs(posterior, pool, 2e14, [target])
    assert found.chosen
    assert found.flops <= 2e14
    assert list(found.left) == sorted(found.left, reverse=True)
    assert found.left[-1] < 1
    (interval,) = found.targets
    width = (interval.now[1] / interval.now[0], interval.after[1] / interval.after[0])
    assert width[1] < width[0]
    assert np.log(width[1]) == pytest.approx(np.log(width[0]) * found.left[-1] ** 0.5, rel=1e-6)
    after = posterior.after(pool.at(found.chosen))
    assert np.log(width[1]) / 2 == pytest.approx(after.error(target) * stats.t.ppf(0.975, posterior.dof), rel=1e-6)
    assert next_runs(posterior, pool, 1e6, [target]).chosen == ()


def test_a_single_budget_identifies_nothing_of_tokens():
    x = {"N": np.geomspace(4e4, 4e6, 12), "D": np.geomspace(1.0e6, 1.2e6, 12)}
    assert {"B", "beta"} <= set(assumed(HOFFMANN, THETA, x, 0.003).unknown())
    full, _ = ladder()
    assert assumed(HOFFMANN, THETA, full, 0.003).unknown() == ()


def test_simulations_are_repeated_and_refused_where_too_few():
    x, _ = ladder(4, 4)
    one = simulate(HOFFMANN, THETA, x, 0.003, draws=100, seed=5)
    assert np.array_equal(one.theta, simulate(HOFFMANN, THETA, x, 0.003, draws=100, seed=5).theta)
    assert one.parameter("beta").low < 0.345 < one.parameter("beta").high
    with pytest.raises(AnalysisError, match="take 100 or more"):
        simulate(HOFFMANN, THETA, x, 0.003, draws=10)


@pytest.mark.slow
def test_foretold_errors_are_those_of_simulated_studies_and_intervals_cover():
    """On the ladder of seven sizes: standard errors within a factor of 1.5, and 95 % intervals of predictions that a
    study makes of its own residuals hold the truth in .92 to .97 of 600 studies."""
    x, _ = ladder()
    told = assumed(HOFFMANN, THETA, x, 0.003)
    simulated = simulate(HOFFMANN, THETA, x, 0.003, draws=1000)
    targets = (LossAt({"N": 4.3e6, "D": 2.1e7}), BestLoss(4e14), BestSize(4e14), SizeExponent())
    for target in targets:
        spread = simulated.target(target)
        assert 1 / 1.5 < told.error(target) / spread.error < 1.5, target.name
        assert spread.monte_carlo < 0.05 * spread.error
    scale = np.where([p.log for p in HOFFMANN.parameters], HOFFMANN.natural(THETA), 1.0)
    for name, error in zip(HOFFMANN.names, np.sqrt(np.diag(told.covariance)) * scale, strict=True):
        assert 1 / 1.5 < error / simulated.parameter(name).error < 1.5, name
    held = np.zeros((600, len(targets)), dtype=bool)
    exact = HOFFMANN.predict(TRUE, x)
    truth = [t.value(t.estimate(HOFFMANN, THETA[None])[0]) for t in targets]
    for i in range(len(held)):
        noisy = exact * np.exp(0.003 * np.random.default_rng([7, i]).standard_normal(len(exact)))
        posterior = fitted(fit(pd.DataFrame({**x, "loss": noisy}), HOFFMANN, delta=0.009))
        for j, (target, true) in enumerate(zip(targets, truth, strict=True)):
            _, low, high = posterior.interval(target)
            held[i, j] = low <= true <= high
    cover = held.mean(axis=0)
    print({t.name: round(float(c), 3) for t, c in zip(targets, cover, strict=True)})
    assert ((cover >= 0.92) & (cover <= 0.97)).all(), cover


def test_the_gamma_law_is_designed_for_as_well():
    theta = GAMMA.internal({"E": 2.47, "A": 200.0, "B": 2000.0, "alpha": 0.5, "beta": 0.5, "gamma": 0.7})
    x, _ = ladder()
    told = assumed(GAMMA, theta, x, 0.003)
    assert 0 < told.error(BestLoss(4e14)) < 0.05


def test_a_law_learned_with_its_misfit_follows_a_bend_that_the_law_has_not():
    """Runs of a law with a smooth bend of 2 %: it is told apart from the noise of runs, and the interval at the edge of
    them holds the truth; without a bend the noise is the law's own."""
    x, _ = ladder()
    target = LossAt({"N": 4.3e6, "D": 2.1e7})
    rng = np.random.default_rng(0)
    for bend, misses in ((0.0, False), (0.02, True)):

        def bent(n, d, bend=bend):
            return np.log(HOFFMANN.predict(TRUE, {"N": n, "D": d})) + bend * np.sin(1.5 * np.log(n))

        log_loss = bent(x["N"], x["D"]) + 0.002 * rng.standard_normal(len(x["N"]))
        told = learn(HOFFMANN, THETA, x, log_loss, [{"N": np.array([4.3e6]), "D": np.array([2.1e7])}])
        true = float(bent(np.array([4.3e6]), np.array([2.1e7]))[0])
        _, low, high = told.interval(target)
        assert np.log(low) < true < np.log(high)
        alone = fitted(fit(pd.DataFrame({**x, "loss": np.exp(log_loss)}), HOFFMANN, delta=0.01))
        assert (told.noise < 0.5 * alone.noise) == misses
        assert alone.error(target) < told.error(target) < 3 * alone.error(target)
    few = {c: v[:3] for c, v in x.items()}
    unsure = learn(HOFFMANN, THETA, few, np.log(HOFFMANN.predict(TRUE, few)), [x])
    assert unsure.error(target) > 3 * told.error(target)
