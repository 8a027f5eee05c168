"""isoFLOP: one estimator of noise, intervals that cover, and no silence where methods disagree."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest

from pdstudy.analysis.laws import HOFFMANN
from pdstudy.analysis.scaling.allocation import hoffmann_optimum
from pdstudy.analysis.scaling.budget_minimum import Method, draw_budget_minimum
from pdstudy.analysis.scaling.isoflop import IsoFlopFrontier, isoflop
from pdstudy.analysis.scaling.isoflop_fit import Curve
from pdstudy.analysis.summary import summary

CHINCHILLA = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}
ASYMMETRIC = {**CHINCHILLA, "alpha": 0.465, "beta": 0.155}
BUDGETS = (1e17, 1e18, 1e19, 1e20, 1e21)
SIGMA = 0.003


def grid(
    width: float, sizes: int, repeats: int = 1, seed: int = 0, values: Mapping[str, float] = CHINCHILLA
) -> pd.DataFrame:
    """Sizes from 1/width to width times a centre that is off the best size by up to width^0.3."""
    rng, rows = np.random.default_rng(seed), []
    for c in BUDGETS:
        n = hoffmann_optimum(values, c)[0] * np.geomspace(1 / width, width, sizes) * width ** rng.uniform(-0.3, 0.3)
        for _ in range(repeats):
            loss = HOFFMANN.predict(values, {"N": n, "D": c / (6 * n)}) * np.exp(rng.normal(0, SIGMA, sizes))
            rows.append(pd.DataFrame({"C": c, "N": n, "loss": loss}))
    return pd.concat(rows, ignore_index=True)


def test_noise_has_its_degrees_of_freedom() -> None:
    """Five sizes leave two of five degrees of freedom per parabola: without them the noise is 37 % too small."""
    found = [isoflop(grid(2, 5, seed=s), draws=2) for s in range(40)]
    assert {f.noise_source for f in found} == {"residuals"}
    assert np.sqrt(np.mean([f.noise**2 for f in found])) == pytest.approx(SIGMA, rel=0.12)


def test_misfit_of_a_wide_grid_is_no_noise() -> None:
    """The residuals of a cubic over +-100x were eight times the noise."""
    found = [isoflop(grid(100, 9, seed=s), draws=2).noise for s in range(20)]
    assert np.sqrt(np.mean(np.square(found))) == pytest.approx(SIGMA, rel=0.15)


def test_repeats_are_averaged_and_tell_the_noise() -> None:
    table = grid(2, 3, repeats=3)
    found = isoflop(table, draws=500)
    spread = np.log(table["loss"]).groupby([table["C"], table["N"]]).var().mean() ** 0.5
    assert found.noise_source == "repeats"
    assert found.noise == pytest.approx(spread)
    means = table.groupby(["C", "N"])["loss"].mean()
    assert sorted(found.points["loss"]) == pytest.approx(sorted(means))
    assert set(found.points["repeats"]) == {3}
    once = isoflop(grid(2, 3), noise=SIGMA, draws=500)
    assert np.ptp(found.size.interval()) < 0.8 * np.ptp(once.size.interval())  # three runs a point


def test_without_any_sign_of_noise_there_is_no_interval() -> None:
    """Three sizes gave an interval of no width."""
    found = isoflop(grid(2, 3))
    assert np.isnan(found.size.interval()).all()
    assert found.noise_source == "unknown"
    assert "no intervals, for the noise is not known" in summary(found)
    wide = isoflop(grid(16, 3, repeats=3))
    assert np.isnan(wide.size.interval()).all()
    assert "so few sizes over more than a factor of 16" in summary(wide)


def test_draws_without_a_minimum_count_as_wide() -> None:
    """They repeated the estimate, which made the interval narrower the worse the data."""
    flat = grid(1.2, 5)
    found = isoflop(flat, method=Method.PARABOLA, noise=0.01, draws=400)
    (worst,) = [m for m in found.minima if m.budget == found.to_frame().sort_values("valid")["budget"].iloc[0]]
    assert worst.valid < 0.9
    assert worst.spread > 0.15


def test_methods_that_disagree_are_named() -> None:
    found = isoflop(grid(4, 9, seed=5))
    (warning,) = [w for w in found.warnings if "depends on the method" in w]
    assert "shared" in warning
    assert "akima" in warning
    assert "parabola" in warning
    smooth = [isoflop(grid(4, 9, seed=5).assign(loss=lambda t: HOFFMANN.predict(
        CHINCHILLA, {"N": t["N"], "D": t["C"] / (6 * t["N"])})), noise=0.001)]  # fmt: skip
    assert not [w for w in smooth[0].warnings if "depends" in w]


def test_the_shared_shape_finds_the_laws_minima_at_any_width() -> None:
    for values in (CHINCHILLA, ASYMMETRIC):
        table = grid(30, 9, values=values)
        table["loss"] = HOFFMANN.predict(values, {"N": table["N"], "D": table["C"] / (6 * table["N"])})
        found = isoflop(table, noise=0.0, draws=2)
        true = [hoffmann_optimum(values, c)[0] for c in BUDGETS]
        assert found.to_frame()["n"].to_numpy() == pytest.approx(true, rel=2e-3)
        assert found.size.exponent == pytest.approx(values["beta"] / (values["alpha"] + values["beta"]), abs=2e-4)


def test_sizes_without_the_shape_are_left_out() -> None:
    """Models far too large for their budget that trained badly: the shared shape is of the others."""
    table = grid(100, 12, seed=3)
    far = table["N"] > 20 * table["C"].map({c: hoffmann_optimum(CHINCHILLA, c)[0] for c in BUDGETS})
    spoilt = table["loss"] * np.exp(np.random.default_rng(0).normal(0.1, 0.05, len(table)))
    table["loss"] = table["loss"].where(~far, spoilt)
    found = isoflop(table)
    assert found.noise == pytest.approx(SIGMA, rel=0.4)
    assert "from the lowest loss do not have one shape" in summary(found)
    assert cover(found, 0.28 / 0.62)
    clean = [isoflop(grid(100, 12, seed=s), draws=2) for s in range(20)]
    assert sum("one shape" in summary(f) for f in clean) <= 4


def cover(found: IsoFlopFrontier, true: float) -> bool:
    low, high = found.size.interval()
    return bool(low <= true <= high)


DESIGNS = [
    (name, width, sizes, repeats)
    for name in ("chinchilla", "asymmetric")
    for width in (2.0, 4.0, 16.0, 100.0)
    for sizes, repeats in ((3, 3), (4, 1), (5, 1), (7, 1), (9, 1), (12, 1))
    if sizes > 3 or width <= 4  # three sizes on a wider grid are refused
]
"""Truth, width and sizes of the grids of which coverage is measured; five budgets each."""


def measure_coverage(name: str, width: float, sizes: int, repeats: int) -> float:
    """How often 95 % intervals hold the true exponent, over 150 replicates; prints it with the spread of methods."""
    values = {"chinchilla": CHINCHILLA, "asymmetric": ASYMMETRIC}[name]
    true = values["beta"] / (values["alpha"] + values["beta"])
    found = [isoflop(grid(width, sizes, repeats, s, values), draws=300) for s in range(150)]
    covered = float(np.mean([cover(f, true) for f in found]))
    spread = float(np.std([f.size.exponent for f in found]))
    akima = [
        isoflop(grid(width, sizes, repeats, s, values), method=Method.AKIMA, noise=0.0, draws=2) for s in range(40)
    ]
    print(f"{name} +-{width:g}x {sizes} sizes x {repeats}: coverage {covered:.3f}, sd {spread:.4f}, "
          f"akima's {np.std([f.size.exponent for f in akima]):.4f}", flush=True)  # fmt: skip
    return covered


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_coverage_from_three_to_twelve_sizes_and_2x_to_100x() -> None:
    """Every seventh design; `python -m tests.analysis.test_isoflop_noise` measures all, which takes ten minutes."""
    covered = [measure_coverage(*design) for design in DESIGNS[::7]]
    assert 0.92 <= np.mean(covered) <= 0.98
    assert min(covered) >= 0.88


def test_tokens_mirror_sizes() -> None:
    """D = C / (6 N), so their exponents add up to one."""
    found = isoflop(grid(2, 5), noise=SIGMA, draws=200)
    low, high = found.size.interval()
    assert found.tokens.exponent == pytest.approx(1 - found.size.exponent)
    assert found.tokens.interval() == pytest.approx((1 - high, 1 - low))


@pytest.mark.parametrize(("repeats", "source"), [(1, "residuals"), (2, "residuals"), (3, "repeats")])
def test_noise_is_of_repeats_where_these_have_three_degrees_of_freedom(repeats: int, source: str) -> None:
    table = grid(2, 5)
    again = table.iloc[:repeats].assign(loss=lambda t: t["loss"] * 1.001)
    assert isoflop(pd.concat([table, again]), draws=2).noise_source == source


def test_four_repeats_halve_the_spread_of_a_minimum() -> None:
    table = grid(4, 7)[:7]

    def spread(repeats: float) -> float:
        x, loss = np.log(table["N"].to_numpy()), table["loss"].to_numpy()
        curve = Curve(BUDGETS[0], x, loss, np.full(7, repeats), np.ones(7), np.ones(7))
        drawn = draw_budget_minimum(curve, Method.PARABOLA, 1e-4, np.inf, 400, np.random.default_rng(0))
        return float(drawn.std())

    assert spread(1) == pytest.approx(2 * spread(4), rel=0.01)


if __name__ == "__main__":
    every = [measure_coverage(*design) for design in DESIGNS]
    print(f"mean coverage {np.mean(every):.3f}, lowest {min(every):.3f}, highest {max(every):.3f}")
