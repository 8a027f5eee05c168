"""Noise floor and power: spreads that were planted are found, and seeds needed are those of the noncentral t test."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pdstudy.analysis.compare.noise_floor import label_twins, measure_noise
from pdstudy.analysis.report.study_outputs import Outputs
from pdstudy.analysis.tables.table import Table
from pdstudy.config.outputs import NoiseFloor
from pdstudy.core.identity import encode
from pdstudy.core.power import seeds_needed, smallest_effect
from tests.analysis.made_workspace import two_arms


@pytest.mark.parametrize("seeds", [2, 3, 8])
@pytest.mark.parametrize("comparisons", [1, 13])
def test_the_smallest_effect_has_the_power_of_a_noncentral_t(seeds: int, comparisons: int) -> None:
    effect = smallest_effect(0.02, seeds, comparisons)
    quantile = stats.t.isf(0.025 / comparisons, seeds - 1)
    shift = effect / 0.02 * math.sqrt(seeds)
    assert stats.nct.sf(quantile, seeds - 1, shift) == pytest.approx(0.8, abs=1e-4)


def test_seeds_needed() -> None:
    """A referee's figure: at a standard deviation of .006, .007 needs eight."""
    assert seeds_needed(0.007, 0.006) == 8
    assert smallest_effect(0.006, 8) <= 0.007 < smallest_effect(0.006, 7)
    assert seeds_needed(1e-9, 1.0) is None
    assert smallest_effect(0.006, 1) == math.inf


def planted(teachers: int = 1) -> pd.DataFrame:
    """LM and KD on 400 seeds, with spreads .02 and .01 and a shared part of .03; teachers add .05 to KD."""
    rng = np.random.default_rng(0)
    rows = []
    for seed in range(400):
        shared, own = rng.normal(0, 0.03), rng.normal(0, 0.01)
        rows.append(("LM", seed, 0, 5 + shared + rng.normal(0, 0.02), None))
        rows += [("KD", seed, t, 4 + shared + own + rng.normal(0, 0.05) * (teachers > 1), None)
                 for t in range(teachers)]  # fmt: skip
    return pd.DataFrame(rows, columns=["arm", "seed", "teacher", "loss", "text"])


def test_spreads_by_seed_are_found() -> None:
    floor = measure_noise(planted(), "loss", baseline="LM")
    assert floor.paired.sd == pytest.approx(math.hypot(0.02, 0.01), rel=0.1)
    assert floor.difference == floor.paired.sd
    assert floor.student.sd == pytest.approx(math.sqrt(2 * (0.03**2 + (0.02**2 + 0.01**2) / 2)), rel=0.1)
    expected = 0.03**2 / math.sqrt((0.03**2 + 0.02**2) * (0.03**2 + 0.01**2))
    assert floor.correlation == pytest.approx(expected, abs=0.06)
    assert math.isnan(floor.teacher.sd)
    alone = measure_noise(planted(), "loss", baseline=None)
    assert alone.difference == alone.student.sd


def test_the_spread_by_the_teachers_seed_is_found() -> None:
    runs = planted(teachers=2)
    runs["config.lr"] = 0.01
    runs["config.tau"] = [None if a == "LM" else 2.0 for a in runs["arm"]]  # what only some runs have
    runs["config.rule"] = [None if a == "LM" else "std" for a in runs["arm"]]
    runs["config.arm"], runs["config.seed"] = runs["arm"], runs["seed"]
    runs["teacher"] = [None if a == "LM" else f"t{t}" for a, t in zip(runs["arm"], runs["teacher"], strict=True)]
    runs["twins"] = label_twins(runs, {"t0": "the same", "t1": "the same"})
    floor = measure_noise(runs, "loss", baseline="LM", twins="twins")
    assert floor.teacher.sd == pytest.approx(math.sqrt(2) * 0.05, rel=0.1)
    assert floor.teacher.dof == 400
    runs["twins"] = label_twins(runs, {"t0": "one", "t1": "another"})
    assert math.isnan(measure_noise(runs, "loss", baseline="LM", twins="twins").teacher.sd)


def test_the_text_of_equal_runs() -> None:
    rng = np.random.default_rng(6)
    rows = [("LM", seed, 5.0, 5 + rng.normal(0, 0.1, 6400)) for seed in range(4)]
    floor = measure_noise(pd.DataFrame(rows, columns=["arm", "seed", "loss", "text"]), "loss", baseline="LM",
                          text="text")  # fmt: skip
    assert floor.text.sd == pytest.approx(0.1 * math.sqrt(2 / 6400), rel=0.2)
    assert floor.text.dof == 31


def test_the_output_has_both_tables(tmp_path: Path) -> None:
    noise, seeds = Outputs(tmp_path, two_arms(tmp_path)).blocks(encode(NoiseFloor(effects=(0.01, 0.1))))
    assert isinstance(noise, Table)
    assert isinstance(seeds, Table)
    assert [row[:2] for row in noise.rows] == [(s, "test loss (nats/token)") for s in ("1", "4", "9", "20")]
    assert seeds.columns[-1] == "seeds, 4 comparisons"
    assert [row[0] for row in seeds.rows] == [s for s in ("1", "4", "9", "20") for _ in range(5)]
