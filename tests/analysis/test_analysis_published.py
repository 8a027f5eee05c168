"""Published results other than Chinchilla: Gemstones, repeats, Porian, Gadre, and the distillation law."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pdstudy.analysis.data.points import points
from pdstudy.analysis.fit.bootstrap import bootstrap
from pdstudy.analysis.fit.findings import warnings
from pdstudy.analysis.fit.fit import fit
from pdstudy.analysis.fit.identifiability import not_identified
from pdstudy.analysis.laws import (
    DISTILLATION,
    DISTILLATION_FULL,
    DISTILLATION_PUBLISHED,
    GAMMA,
    GAMMA_PUBLISHED,
    HOFFMANN,
    OVERTRAINING,
    REPEATS,
    TIED,
    WIDTH_DEPTH,
    WIDTH_DEPTH_SIZE,
    stable,
)
from pdstudy.analysis.scaling.budget_minimum import Method
from pdstudy.analysis.scaling.frontier import exponents, frontier
from pdstudy.analysis.scaling.isoflop import isoflop
from pdstudy.analysis.summary import summary

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"

pytestmark = [
    pytest.mark.published,
    pytest.mark.skipif(not DATA.is_dir(), reason="the published data (shared/data beside the checkout) is not here"),
]


def gemstones(subset: str) -> pd.DataFrame:
    table = pd.read_csv(DATA / "gemstones" / f"wandb_df_for_fitting_{subset}.csv")
    names = {"params_active_precise": "N", "tokens": "D", "final_loss": "loss", "width": "W", "depth": "H"}
    return table.rename(columns=names)


FITS = sorted(p.stem for p in (DATA / "gemstones" / "parameters_delta-3").glob("approach_3_parameters_*.json"))


@pytest.mark.parametrize("stem", FITS)
def test_gemstones_never_above_the_authors(stem: str) -> None:
    authors = json.loads((DATA / "gemstones" / "parameters_delta-3" / f"{stem}.json").read_text())
    subset = stem.removeprefix("approach_3_parameters_grid_search_0_")
    table = gemstones(subset.removesuffix("_no_embeds"))
    if subset.endswith("_no_embeds"):
        table["N"] -= 50304 * table["W"]
    found = fit(table, HOFFMANN)
    assert found.objective <= authors["loss"]["0"] + 5e-11  # they print ten decimal places
    assert found.agreeing >= 20
    if "512x" not in subset:
        assert found.objective == pytest.approx(authors["loss"]["0"], abs=3e-6)
        alpha, beta = authors["exponents"]["0"]
        assert found.parameters["alpha"] == pytest.approx(alpha, rel=6e-3)
        assert found.parameters["beta"] == pytest.approx(beta, rel=6e-3)


def test_gemstones_of_one_width_are_not_identified() -> None:
    found = fit(gemstones("hot_100b+_512x"), HOFFMANN)
    assert 4.4 < found.parameters["alpha"] < 5.0
    unknown = {u.parameter for u in not_identified(found)}
    assert {"A", "alpha"} <= unknown
    assert "alpha is not identified: N spans only a factor of 1.21" in summary(found)


@pytest.mark.integration
def test_gemstones_width_and_depth_never_above_the_authors() -> None:
    folder = DATA / "gemstones" / "parameters_delta-3"
    for file, subset, law in (
        ("approach_3_width_depth_grid_search_0_hot_100b+", "hot_100b+", WIDTH_DEPTH),
        ("approach_3_width_depth_parameters_grid_search_0_hot_100b+", "hot_100b+", WIDTH_DEPTH_SIZE),
        ("approach_3_width_depth_parameters_grid_search_0_cool_end", "cool_end", WIDTH_DEPTH_SIZE),
        ("approach_3_width_depth_parameters_grid_search_0_lr_ablation_hot", "lr_ablation_hot", WIDTH_DEPTH_SIZE),
    ):
        authors = json.loads((folder / f"{file}.json").read_text())["loss"]["0"]
        assert fit(gemstones(subset), law).objective <= authors + 5e-11


FIXED = {"A": np.exp(6.255414), "B": np.exp(7.3049974), "E": np.exp(0.6254804), "alpha": 0.3526596, "beta": 0.3526596}


def test_repeats_surface_and_its_warning() -> None:
    table = pd.read_csv(DATA / "datablations" / "fit_set_182.csv")
    columns = {"N": "params", "D": "tokens", "U": "unique_tokens"}
    found = fit(table, REPEATS, loss="val_loss", columns=columns, fixed=FIXED)
    assert found.objective <= 0.015804663
    assert found.parameters["R_D"] == pytest.approx(95.37, rel=1e-3)
    assert found.parameters["R_N"] == pytest.approx(1.706, rel=1e-3)
    theirs = REPEATS.internal({**FIXED, "R_D": 15.387756, "R_N": 5.309743})[None, :]
    value = found.problem.evaluate(found.problem.constraint.reduce(theirs), found.problem.sample)[0][0]
    assert value == pytest.approx(0.015825935, abs=1e-8)
    places = [(m.parameters["R_D"], m.parameters["R_N"]) for m in found.minima]
    for r_d, r_n in ((95.37, 1.71), (46.99, 2.33), (15.37, 5.32)):
        assert any(a == pytest.approx(r_d, rel=2e-3) and b == pytest.approx(r_n, rel=5e-3) for a, b in places)
    said = " ".join(warnings(found))
    assert "R_D is not identified" in said
    assert "distinct minima lie within 0.5 %" in said
    x = {"N": table["params"], "D": table["tokens"], "U": table["unique_tokens"]}
    loss = table["val_loss"].to_numpy()
    spread = ((loss - loss.mean()) ** 2).sum()
    r2 = 1 - ((loss - REPEATS.predict({**FIXED, "R_D": 15.387756, "R_N": 5.309743}, x)) ** 2).sum() / spread
    assert r2 == pytest.approx(0.772205, abs=2e-6)
    plain = 1 - ((loss - HOFFMANN.predict(FIXED, x)) ** 2).sum() / spread
    assert plain == pytest.approx(0.445168, abs=2e-6)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_resamples_of_a_surface_with_many_basins_are_searched() -> None:
    """With all seven parameters free, 2 of these 30 resamples missed their minimum, by 4.3e-2 and 2.4e-3."""
    table = pd.read_csv(DATA / "datablations" / "fit_set_182.csv")
    columns = {"N": "params", "D": "tokens", "U": "unique_tokens"}
    data = points(table, REPEATS, loss="val_loss", columns=columns)
    drawn = np.random.default_rng(0).integers(0, len(data), (30, len(data)))
    quick = bootstrap(fit(data, REPEATS), indices=drawn)
    for row, objective in zip(drawn, quick.objective):
        assert objective <= fit(data.take(row), REPEATS).objective * (1 + 1e-7)


KEYS = ["dataset", "hparams", "warmup", "decay", "param_count", "val"]


def test_porian_exponents_from_optimal_pairs() -> None:
    pairs = pd.read_csv(DATA / "porian" / "optimal_pairs.csv").dropna(subset="n_star_std")
    found = {
        key: exponents(part, budget="flops", optimal="n", spread="n_star_std").exponent
        for key, part in pairs.groupby(KEYS)
    }
    assert found["rw", "base", "long", "kaplan", "kaplan", "train"] == pytest.approx(0.8353, abs=1e-4)
    assert found["rw", "base", "long", "kaplan", "standard", "val"] == pytest.approx(0.7065, abs=1e-4)
    assert found["rw", "tuned", "short", "const", "standard", "val"] == pytest.approx(0.4969, abs=1e-4)
    assert len(found) == 15


@pytest.mark.integration
def test_porian_exponents_from_raw_points_by_akima() -> None:
    """Akima's minima with the authors' weights give their exponents; a parabola over the whole range doesn't."""
    pairs = pd.read_csv(DATA / "porian" / "optimal_pairs.csv").dropna(subset="n_star_std")
    raw = pd.read_csv(DATA / "porian" / "isoflop_points.csv")
    misses, parabola = [], []
    for key, part in pairs.groupby(KEYS):
        mine = raw
        for name, value in zip(KEYS, key):  # type: ignore[arg-type]
            mine = mine[mine[name] == value]
        published = exponents(part, budget="flops", optimal="n", spread="n_star_std").exponent
        for method, into in ((Method.AKIMA, misses), (Method.PARABOLA, parabola)):
            minima = isoflop(mine, n="n", budget="flops", method=method, noise=0.002, draws=2).to_frame()
            both = minima[minima["refused"] == ""].merge(
                part, left_on="budget", right_on="flops", suffixes=("", "_theirs")
            )
            line = frontier(both["flops"].to_numpy(), both["n"].to_numpy(), both["n_star_std"].to_numpy())
            into.append(abs(line.exponent - published))
    assert len(misses) == 15
    assert np.median(misses) < 0.004
    assert max(misses) < 0.02
    assert max(parabola) > 0.05


def test_gadre_overtraining_law() -> None:
    table = pd.read_csv(DATA / "gadre_overtraining" / "models_losses.csv")
    table = table[table["dataset"] == "c4_original"]
    columns = {"N": "params", "D": "tokens"}
    tied = fit(table, TIED, loss="loss_c4_val", columns=columns)
    over = fit(table, OVERTRAINING, loss="loss_c4_val", columns=columns)
    assert over.objective == pytest.approx(tied.objective, rel=1e-9)  # one surface, two ways to write it
    eta = over.parameters["eta"]
    assert over.parameters["B"] * 6 ** (-eta / 2) == pytest.approx(tied.parameters["B"], rel=1e-6)


def busbridge_design() -> pd.DataFrame:
    """Fixed-M teachers by students by tokens, as their experiments (i) and (iii)."""
    rows = []
    for n_t, m in [
        (5.46e8, 20),
        (9.75e8, 20),
        (1.82e9, 20),
        (2.72e9, 20),
        (4.82e9, 20),
        (7.75e9, 20),
        (5.46e8, 160),
        (1.82e9, 160),
    ]:
        teacher = float(GAMMA.predict(GAMMA_PUBLISHED, {"N": n_t, "D": m * n_t})[0])
        for n in (1.43e8, 2.66e8, 5.46e8, 9.75e8, 1.82e9, 4.82e9):
            rows += [{"N": n, "D": n * r, "LT": teacher} for r in (10, 20, 40, 80, 160, 320) if n * r < 6e11]
    table = pd.DataFrame(rows)
    return table.assign(LM=GAMMA.predict(GAMMA_PUBLISHED, table))


def test_busbridge_parameters_from_noise_free_data() -> None:
    table = busbridge_design()
    table["loss"] = DISTILLATION_FULL.predict(DISTILLATION_PUBLISHED, table)
    found = fit(table, DISTILLATION_FULL, delta=1e-4)
    for name, value in DISTILLATION_PUBLISHED.items():
        assert found.parameters[name] == pytest.approx(value, rel=1e-6), name


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_busbridge_with_noise_says_what_is_not_identified() -> None:
    table = busbridge_design()
    true = DISTILLATION_FULL.predict(DISTILLATION_PUBLISHED, table)
    table["loss"] = true * np.exp(np.random.default_rng(1).normal(0, 0.002, len(table)))
    k = stable(522.6, 0.09, 1.315)
    for law in (DISTILLATION, DISTILLATION_FULL):
        found = fit(table, law, delta=1e-4)
        p = found.parameters
        mine = p["k"] if law is DISTILLATION else stable(p["c1"], p["f1"], p["d1"])
        assert mine == pytest.approx(k, rel=0.03)
        assert np.abs(np.log(found.predict(table) / true)).max() < 0.005
        unknown = {u.parameter for u in not_identified(found)}
        if law is DISTILLATION_FULL:
            assert "c1" in unknown
        else:
            assert "k" not in unknown
