"""Laws: derivatives are derivatives, and every law is recovered from its own noise-free losses."""

import numpy as np
import pandas as pd
import pytest

from pdstudy.analysis.errors import AnalysisError
from pdstudy.analysis.fit.findings import parameter_frame
from pdstudy.analysis.fit.fit import fit
from pdstudy.analysis.laws import (
    ALL,
    DISTILLATION,
    DISTILLATION_FULL,
    DISTILLATION_PUBLISHED,
    GAMMA,
    GAMMA_PUBLISHED,
    HOFFMANN,
    Law,
    SumOfPowers,
    Term,
    check_gradient,
    power_law,
    stable,
    token_worth,
)

TRUE = {
    "power-floor": {"E": 1.7, "A": 400.0, "alpha": 0.34},
    "power": {"A": 400.0, "alpha": 0.34},
    "hoffmann": {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28},
    "tied": {"E": 1.7, "A": 500.0, "B": 1500.0, "alpha": 0.35},
    "overtraining": {"E": 1.7, "A": 500.0, "B": 1500.0, "eta": 0.35},
    "gamma": GAMMA_PUBLISHED,
    "kaplan": {"N_c": 6.4e13, "D_c": 1.8e13, "alpha_N": 0.076, "alpha_D": 0.103},
    "repeats": {"E": 1.87, "A": 520.0, "B": 1487.0, "alpha": 0.36, "beta": 0.34, "R_D": 15.4, "R_N": 5.3},
    "distillation": {
        **{n: v for n, v in DISTILLATION_PUBLISHED.items() if n not in ("c1", "d1")},
        "k": stable(522.6, 0.09, 1.315),
    },
    "distillation-full": DISTILLATION_PUBLISHED,
    "width-depth": {"E": 1.8, "A": 8.0, "B": 2.0, "G": 8e4, "alpha": 0.35, "beta": 0.5, "gamma": 0.53},
    "width-depth-size": {
        "E": 1.8, "A": 8.0, "B": 0.8, "P": 500.0, "G": 8e4, "alpha": 0.35, "beta": 0.46, "nu": 0.39, "gamma": 0.53,
    },
    "farseer": {
        "s": -0.021, "q": 0.169, "S": 0.091, "B": 88.01, "b": -0.1, "Q": -5.287, "A": -0.124, "a": 0.123, "E": 0.424,
    },
    "moe": {
        "c": 1.3637, "a": 35.91, "b": 35.98, "alpha": -0.1889, "beta": -0.1775, "delta": 0.2285, "omega": -0.5529,
        "gamma": -0.0098, "zeta": 0.0259, "E_start": 2.0732, "E_max": 290.4521,
    },
    "routed": {"a": -0.082, "b": -0.108, "c": 0.009, "d": 1.104, "E_start": 1.847, "E_max": 314.478},
    "fine-grained": {"E": 0.47, "a": 18.1, "b": 30.8, "g": 2.1, "alpha": 0.115, "beta": 0.147, "gamma": 0.58},
    "sparsity": {"E": 0.651, "a_S": 16.8, "c_S": 45.0, "B": 6.9e8**0.203, "b_S": 0.722, "b_N": 0.245, "b_D": 0.203},
    "vocabulary": {
        "E": 5.533, "A_1": 1.831 * 1e6**0.447, "A_2": 0.196 * 1e6**0.671, "B": 2.124 * 1e9**0.447,
        "alpha_1": 0.447, "alpha_2": 0.671, "beta": 0.447,
    },
    "parallel": {"E": 1.2888, "A": 1.973e8, "alpha": 0.1962, "k": 0.3349},
    "step-rate": {"c": 1.79, "p_N": -0.713, "p_D": 0.307},
    "step-batch": {"c": 0.58, "p_D": 0.571},
}  # fmt: skip


def design(n: int = 160) -> pd.DataFrame:
    """Runs spread over what the laws ask for."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"N": np.exp(rng.uniform(16, 24, n)), "D": np.exp(rng.uniform(20, 27, n))})
    table["U"] = table["D"] / np.exp(rng.uniform(0, 4, n))
    table["LT"] = rng.uniform(1.7, 2.6, n)
    table["LM"] = GAMMA.predict(GAMMA_PUBLISHED, table)
    table["W"], table["H"] = np.exp(rng.uniform(5, 9, n)), np.exp(rng.uniform(1, 4, n))
    table["X"], table["P"] = rng.choice(2.0 ** np.arange(8), n), rng.choice([1.0, 2.0, 4.0, 8.0], n)
    table["G"] = rng.choice(2.0 ** np.arange(5), n)
    table["R"] = 1 / (1 - rng.choice([0.0, 0.5, 0.75, 0.875], n))
    table["V"] = np.exp(rng.uniform(14, 20, n))
    return table


@pytest.mark.parametrize("law", ALL, ids=lambda law: law.name)
def test_gradient_is_the_derivative(law: Law) -> None:
    table = design(40)
    near = law.internal(TRUE[law.name])[None, :] + np.random.default_rng(1).normal(0, 0.005, (6, len(law.names)))
    columns = {c: table[c].to_numpy() for c in law.columns}
    assert check_gradient(law, near, columns) < 1e-8


@pytest.mark.integration
@pytest.mark.parametrize("law", ALL, ids=lambda law: law.name)
def test_noise_free_losses_give_the_parameters_back(law: Law) -> None:
    table = design()
    table["loss"] = law.predict(TRUE[law.name], table)
    found = fit(table, law)
    assert found.ok, found.reason
    for name, value in TRUE[law.name].items():
        assert found.parameters[name] == pytest.approx(value, rel=1e-6), name


@pytest.mark.parametrize(
    ("n", "d", "supervised", "losses"),
    [
        (1.98e8, 20 * 1.98e8, 2.7894, (2.5386, 2.5434, 2.5838, 2.6371)),
        (5.46e8, 20 * 5.46e8, 2.5149, (2.3544, 2.3755, 2.4119, 2.4754)),
        (5.46e8, 1e11, 2.3238, (2.3127, 2.2931, 2.3049, 2.4126)),
        (1.82e9, 20 * 1.82e9, 2.2509, (2.1613, 2.1828, 2.2473, 2.4027)),
        (1.82e9, 1e11, 2.1684, (2.1281, 2.1346, 2.2201, 2.4003)),
        (3e9, 5e11, 2.0263, (2.0116, 2.0439, 2.2012, 2.4000)),
    ],
)
def test_busbridge_reference_values(n: float, d: float, supervised: float, losses: tuple[float, ...]) -> None:
    alone = float(GAMMA.predict(GAMMA_PUBLISHED, {"N": n, "D": d})[0])
    assert round(alone, 4) == supervised
    for teacher, loss in zip((1.8, 2.0, 2.2, 2.4), losses):
        x = {"N": n, "D": d, "LT": teacher, "LM": alone}
        assert round(float(DISTILLATION_FULL.predict(DISTILLATION_PUBLISHED, x)[0]), 4) == loss


def test_limit_of_the_distillation_law() -> None:
    """For c1 to infinity at constant k the full form is the limit form."""
    table = design(50)
    limit = DISTILLATION.predict(TRUE["distillation"], table)
    f1, k = 0.09, stable(522.6, 0.09, 1.315)
    for c1, apart in ((1e6, 2e-4), (1e9, 1e-6)):
        d1 = (c1 * f1 / k) ** f1
        full = DISTILLATION_FULL.predict({**DISTILLATION_PUBLISHED, "c1": c1, "d1": d1}, table)
        assert np.abs(full / limit - 1).max() < apart


@pytest.mark.parametrize("law", [DISTILLATION, DISTILLATION_FULL], ids=lambda law: law.name)
def test_distillation_ends_at_the_teacher(law: Law) -> None:
    huge = {"N": 1e30, "D": 1e30, "LT": 2.0, "LM": 1.22}
    assert law.predict(TRUE[law.name], huge)[0] == pytest.approx(2.0, abs=1e-6)
    bad_teacher = {"N": 1e9, "D": 2e10, "LT": 60.0, "LM": 2.2}
    assert law.predict(TRUE[law.name], bad_teacher)[0] == pytest.approx(60.0, abs=1e-6)


def test_worth_of_repeated_tokens() -> None:
    # Muennighoff et al. at R*_D = 15.39.
    assert [round(token_worth(e, 15.387756), 3) for e in (4, 16, 40)] == [0.931, 0.661, 0.379]


def test_no_repeats_is_hoffmann() -> None:
    table = design(20).assign(U=lambda t: t["D"], N=1e6)  # few parameters: none is in excess of the unique tokens
    values = TRUE["repeats"]
    assert ALL[7].predict(values, table) == pytest.approx(HOFFMANN.predict(values, table), rel=1e-12)


def test_a_law_of_ones_own_is_one_call() -> None:
    law = SumOfPowers("mine", (Term("A", (("width", "alpha"),)), Term("B", (("D", "beta"),))), source="here")
    table = design().rename(columns={"W": "width"})
    values = {"E": 1.5, "A": 9.0, "B": 900.0, "alpha": 0.4, "beta": 0.3}
    table["loss"] = law.predict(values, table)
    assert fit(table, law).parameters == pytest.approx(values, rel=1e-6)


def test_fixed_and_tied_parameters() -> None:
    table = design()
    table["loss"] = HOFFMANN.predict({"E": 1.7, "A": 500, "B": 1500, "alpha": 0.35, "beta": 0.35}, table)
    tied = fit(table, HOFFMANN, tied=[("alpha", "beta")])
    assert tied.parameters["alpha"] == tied.parameters["beta"] == pytest.approx(0.35, rel=1e-6)
    assert tied.problem.size == 4
    held = fit(table, HOFFMANN, fixed={"E": 1.7})
    assert held.parameters["E"] == pytest.approx(1.7, rel=1e-15)
    assert held.parameters["A"] == pytest.approx(500, rel=1e-6)
    assert parameter_frame(held)["status"].iloc[0] == "fixed"
    for options, message in (
        ({"fixed": {"gamma": 1.0}}, "hoffmann has no parameter 'gamma'; it has E, A, B, alpha, beta"),
        ({"fixed": {"A": -1.0}}, "must be positive"),
        ({"tied": [("A", "alpha")]}, "one is a coefficient, one an exponent"),
        ({"fixed": {"alpha": 0.3}, "tied": [("alpha", "beta")]}, "fixed or tied twice"),
    ):
        with pytest.raises(AnalysisError, match=message):
            fit(table, HOFFMANN, **options)  # type: ignore[arg-type]


def test_one_column_laws_take_any_column() -> None:
    table = design()
    table["loss"] = power_law("D").predict({"E": 2.0, "A": 90.0, "alpha": 0.3}, table)
    assert fit(table, power_law("D")).parameters["E"] == pytest.approx(2.0, rel=1e-6)


def test_there_are_no_more_unique_tokens_than_tokens() -> None:
    (law,) = (law for law in ALL if law.name == "repeats")
    table, values = design(40), TRUE["repeats"]
    equal, more = (law.predict(values, table.assign(U=factor * table["D"])) for factor in (1.0, 8.0))
    assert more == pytest.approx(equal, rel=1e-12)
