"""Laws of others: each is the published formula, written a second time here, and what users write themselves."""

import numpy as np
import pandas as pd
import pytest

from pdstudy.analysis.errors import AnalysisError
from pdstudy.analysis.fit.fit import fit
from pdstudy.analysis.laws import (
    FARSEER,
    FINE_GRAINED,
    HOFFMANN,
    MOE,
    PARALLEL,
    ROUTED,
    SPARSITY,
    STEP_BATCH,
    STEP_RATE,
    VOCABULARY,
    Law,
    parse_law,
)
from tests.analysis.test_analysis_laws import TRUE


def saturated(experts: float, start: float, end: float) -> float:
    return 1 / (1 / (experts - 1 + 1 / (1 / start - 1 / end)) + 1 / end)


def farseer(n: float, d: float) -> float:
    return float(
        np.exp(-0.021 * n**0.169 + 0.091) + np.exp(88.01 * n**-0.1 - 5.287) * d ** -np.exp(-0.124 * n**0.123 + 0.424)
    )


def moe(n: float, d: float, x: float) -> float:
    e = saturated(x, 2.0732, 290.4521)
    size = 35.91 * e**0.2285 * n ** (-0.1889 - 0.0098 * np.log(e))
    return float(size + 35.98 * e**-0.5529 * d ** (-0.1775 + 0.0259 * np.log(e)) + 1.3637)


def routed(n: float, x: float) -> float:
    e = np.log10(saturated(x, 1.847, 314.478))
    return float(10 ** (-0.082 * np.log10(n) - 0.108 * e + 0.009 * np.log10(n) * e + 1.104))


def sparsity(n: float, d: float, r: float) -> float:
    density = 1 / r
    return (16.8 * density**0.722 + 45.0) * n**-0.245 + (6.9e8 / d) ** 0.203 + 0.651


def fine_grained(n: float, d: float, g: float) -> float:
    return 0.47 + (2.1 / g**0.58 + 18.1) / n**0.115 + 30.8 / d**0.147


def vocabulary(n: float, v: float, d: float) -> float:
    """In millions of parameters and billions of tokens, as published."""
    loss = -5.533 + 1.831 / (n / 1e6) ** 0.447 + 0.196 / (v / 1e6) ** 0.671 + 2.124 / (d / 1e9) ** 0.447
    return float(np.exp(loss))


def parallel(n: float, p: float) -> float:
    return float((1.973e8 / (n * (0.3349 * np.log(p) + 1))) ** 0.1962 + 1.2888)


@pytest.mark.parametrize(
    ("law", "columns", "formula"),
    [
        (FARSEER, {"N": 1.1e9, "D": 3e10}, farseer),
        (MOE, {"N": 1.1e9, "D": 3e10, "X": 1.0}, moe),
        (MOE, {"N": 1.1e9, "D": 3e10, "X": 32.0}, moe),
        (ROUTED, {"N": 1.3e8, "X": 64.0}, routed),
        (FINE_GRAINED, {"N": 3e9, "D": 5e10, "G": 8.0}, fine_grained),
        (SPARSITY, {"N": 2e8, "D": 5e10, "R": 4.0}, sparsity),
        (VOCABULARY, {"N": 3e8, "V": 3e7, "D": 2e10}, vocabulary),
        (PARALLEL, {"N": 1.5e9, "P": 8.0}, parallel),
        (STEP_RATE, {"N": 1e9, "D": 1e11}, lambda n, d: 1.79 * n**-0.713 * d**0.307),
        (STEP_BATCH, {"D": 1e11}, lambda d: 0.58 * d**0.571),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_law_is_its_published_formula(law: Law, columns: dict[str, float], formula: object) -> None:
    expected = formula(*columns.values())  # type: ignore[operator]
    assert law.predict(TRUE[law.name], columns)[0] == pytest.approx(expected, rel=1e-12)


def test_a_dense_model_has_the_effective_experts_of_the_start() -> None:
    assert saturated(1.0, 1.847, 314.478) == pytest.approx(1.847)
    values = {**TRUE["routed"], "b": 0.1, "c": 0.0}
    ratio = ROUTED.predict(values, {"N": 1e8, "X": 1e9})[0] / ROUTED.predict(values, {"N": 1e8, "X": 1.0})[0]
    assert ratio == pytest.approx((314.478 / 1.847) ** 0.1, rel=1e-5)


def test_a_law_written_as_text_is_the_same_law() -> None:
    law = parse_law("E + A*N^-alpha + B * D^-beta")
    x = pd.DataFrame({"N": [1e8, 1e9], "D": [1e10, 3e11]})
    assert law.predict(TRUE["hoffmann"], x) == pytest.approx(HOFFMANN.predict(TRUE["hoffmann"], x), rel=1e-14)
    shared = parse_law("A*width^-a*depth^-b + B*D^-a")
    assert shared.names == ("A", "B", "a", "b")
    assert shared.columns == ("width", "depth", "D")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("E + A*N", "'A\\*N' is no COEFFICIENT"),
        ("E", "0 exponents"),
        ("E + A*N^alpha", "is no COEFFICIENT"),
        ("E + N^-alpha", "is no COEFFICIENT"),
        ("E + A*N^-a + A*D^-b", "'A' stands for two things"),
        ("E + A*N^-A", "'A' stands for two things"),
        ("A*N^-a + B*D^-b + C*W^-c + F*H^-d + G*K^-e", "5 exponents"),
        ("__import__('os')", "is no COEFFICIENT"),
    ],
)
def test_a_text_that_is_no_sum_of_powers_is_refused(text: str, message: str) -> None:
    with pytest.raises(AnalysisError, match=message):
        parse_law(text)


@pytest.mark.integration
def test_farseer_reaches_one_optimum_from_several_starts() -> None:
    rng = np.random.default_rng(0)
    n, d = np.meshgrid(np.geomspace(2e8, 6e9, 9), np.geomspace(1e9, 2e11, 9), indexing="ij")
    table = pd.DataFrame({"N": n.ravel(), "D": d.ravel()})
    table["loss"] = FARSEER.predict(TRUE["farseer"], table) * np.exp(rng.normal(0, 0.002, len(table)))
    found = fit(table, FARSEER)
    assert found.ok
    truth = found.problem.evaluate(FARSEER.internal(TRUE["farseer"])[None, :], found.problem.sample)[0][0]
    assert found.objective < truth
    from_truth = fit(table.assign(loss=FARSEER.predict(TRUE["farseer"], table)), FARSEER)
    assert np.abs(from_truth.residuals).max() < 1e-6
