"""One rule says which parameters the data identify, in text, table and JSON alike."""

import json

import numpy as np
import pandas as pd
import pytest

from pdstudy.analysis.fit.bootstrap import bootstrap
from pdstudy.analysis.fit.findings import as_data
from pdstudy.analysis.fit.fit import fit
from pdstudy.analysis.fit.identifiability import not_identified
from pdstudy.analysis.laws import (
    DISTILLATION,
    DISTILLATION_PUBLISHED,
    GAMMA,
    GAMMA_PUBLISHED,
    REPEATS,
    power_law,
    stable,
)
from pdstudy.analysis.summary import summary
from pdstudy.analysis.tables.builders import fit_table

STUDENT = {
    **{n: v for n, v in DISTILLATION_PUBLISHED.items() if n not in ("c1", "d1")},
    "k": stable(522.6, 0.09, 1.315),
    "c0": 0.02,
}


def students(seed: int) -> pd.DataFrame:
    """Eight teachers by six students by up to six token counts, with a true c0 near 0."""
    rng, rows = np.random.default_rng(seed), []
    for n_t, m in [(5.46e8, 20), (9.75e8, 20), (1.82e9, 20), (4.82e9, 20), (7.75e9, 20), (5.46e8, 160), (1.82e9, 160)]:
        teacher = float(GAMMA.predict(GAMMA_PUBLISHED, {"N": n_t, "D": m * n_t})[0])
        for n in (1.43e8, 2.66e8, 5.46e8, 9.75e8, 1.82e9, 4.82e9):
            rows += [{"N": n, "D": n * r, "LT": teacher} for r in (10, 20, 40, 80, 160)]
    table = pd.DataFrame(rows)
    table = table.assign(LM=GAMMA.predict(GAMMA_PUBLISHED, table))
    noise = np.exp(rng.normal(0, 0.001, len(table)))
    return table.assign(loss=DISTILLATION.predict(STUDENT, table) * noise)


def short_range(seed: int = 0, runs: int = 20) -> pd.DataFrame:
    """Losses over a factor of four in N: a floor anywhere below them fits about as well."""
    n = np.geomspace(1e8, 4e8, runs)
    noise = np.exp(np.random.default_rng(seed).normal(0, 0.01, runs))
    return pd.DataFrame({"N": n, "loss": (1.2 + 60 * n**-0.2) * noise})


def flat(seed: int) -> pd.DataFrame:
    """No model is large for its tokens, so that R_N has no effect at all."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"U": np.exp(rng.uniform(23, 26, 80))})
    table["D"] = table["U"] * np.exp(rng.uniform(0, 4, 80))
    table["N"] = np.exp(rng.uniform(13, 16, 80))
    true = {"E": 1.87, "A": 520.0, "B": 1487.0, "alpha": 0.36, "beta": 0.34, "R_D": 15.4, "R_N": 5.3}
    return table.assign(loss=REPEATS.predict(true, table) * np.exp(rng.normal(0, 0.001, 80)))


@pytest.mark.slow
def test_a_value_near_zero_is_identified_where_the_data_tell_it() -> None:
    """Half of a value near 0 is nothing, so that every c0 near 0 was flagged."""
    found = fit(students(0), DISTILLATION, delta=3e-3)
    assert abs(found.parameters["c0"]) < 0.5
    assert "c0" not in {u.parameter for u in not_identified(found)}


@pytest.mark.integration
def test_a_floor_that_could_be_anywhere_is_flagged_and_has_no_interval_anywhere() -> None:
    found = fit(short_range(), power_law("N"))
    assert "E" in {u.parameter for u in not_identified(found)}
    drawn = bootstrap(found, 200)
    (line,) = (line for line in summary(drawn).splitlines() if line.startswith("  E "))
    assert line.endswith("not identified")
    assert "[" not in line
    row = next(r for r in fit_table(found, drawn).rows if r[0] == "E")
    assert [cell.text for cell in row[1:] if not isinstance(cell, str)] == ["not identified", "–", "–", "–"]
    data = as_data(found, drawn, "")
    assert data["intervals"]["E"] is None  # type: ignore[index]
    json.dumps(data, allow_nan=False)
    assert drawn.to_frame().set_index("parameter").loc["E", ["error", "low", "high"]].isna().all()


def test_a_long_range_has_its_floor() -> None:
    n = np.geomspace(1e7, 1e11, 24)
    noise = np.exp(np.random.default_rng(0).normal(0, 0.004, 24))
    found = fit(pd.DataFrame({"N": n, "loss": (1.8 + 400 * n**-0.34) * noise}), power_law("N"))
    assert not_identified(found) == ()


@pytest.mark.integration
def test_a_parameter_without_effect_is_flagged() -> None:
    found = fit(flat(0), REPEATS)
    assert "R_N" in {u.parameter for u in not_identified(found)}


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_identification_over_replicates() -> None:
    """How often each case is flagged, and how often intervals that are shown cover the truth."""
    near_zero = [
        "c0" in {u.parameter for u in not_identified(fit(students(s), DISTILLATION, delta=3e-3))} for s in range(10)
    ]
    no_effect = ["R_N" in {u.parameter for u in not_identified(fit(flat(s), REPEATS))} for s in range(20)]
    flagged, covered = [], []
    for seed in range(100):
        found = fit(short_range(seed), power_law("N"))
        flagged.append("E" in {u.parameter for u in not_identified(found)})
    n = np.geomspace(1e7, 1e11, 24)
    for seed in range(100):
        noise = np.exp(np.random.default_rng(seed).normal(0, 0.004, 24))
        found = fit(pd.DataFrame({"N": n, "loss": (1.8 + 400 * n**-0.34) * noise}), power_law("N"))
        if "E" not in {u.parameter for u in not_identified(found)}:
            low, high = bootstrap(found, 300, seed).intervals()["E"]
            covered.append(low <= 1.8 <= high)
    print(
        f"flagged: c0 near 0 {np.mean(near_zero):.2f}, no effect {np.mean(no_effect):.2f}, floor of a short range "
        f"{np.mean(flagged):.2f}; coverage of a floor that is shown {np.mean(covered):.3f} ({len(covered)} of 100)"
    )
    assert np.mean(near_zero) <= 0.2
    assert np.mean(no_effect) == 1
    assert np.mean(flagged) >= 0.9
    assert np.mean(covered) >= 0.88
