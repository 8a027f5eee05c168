"""Differences of gains: a textbook test of the differences of differences, with a trend over sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pdstudy.analysis.compare.comparison import Verdict
from pdstudy.analysis.compare.gains import FLAT, TREND, compare_gains
from pdstudy.analysis.errors import DataError
from pdstudy.analysis.report.page import Text
from pdstudy.analysis.report.study_outputs import Outputs
from pdstudy.analysis.tables.table import Table
from pdstudy.config.outputs import GainDifferences
from pdstudy.core.identity import encode
from tests.analysis.made_workspace import two_arms

REPORTS = Path(__file__).parents[2] / "reports"
SIZES = {"w32": 20e3, "w48": 50e3, "w64": 90e3}


def losses(gains: dict[str, float], arm: str = "kd") -> pd.DataFrame:
    rng = np.random.default_rng(1)
    rows = []
    for size, gain in gains.items():
        for seed in range(4):
            base = 5 + rng.normal(0, 0.02)
            rows += [(size, "lm", seed, base), (size, arm, seed, base - gain + rng.normal(0, 0.01))]
    return pd.DataFrame(rows, columns=["student", "arm", "seed", "loss"])


def test_a_difference_of_gains_is_the_paired_t_interval_of_four_runs() -> None:
    table = losses({"w32": 0.1, "w48": 0.2, "w64": 0.1})
    found = compare_gains(table, metric="loss", baseline="lm", over="student", sizes=SIZES)
    wide = table.pivot(index="seed", columns=["student", "arm"], values="loss")
    gain = {size: wide[size]["lm"] - wide[size]["kd"] for size in SIZES}
    by_level = {e.arm: e for e in found.effects}
    for size in ("w48", "w64"):
        ours = stats.ttest_rel(gain[size], gain["w32"])
        assert by_level[size].difference == pytest.approx(float((gain[size] - gain["w32"]).mean()))
        assert (by_level[size].low, by_level[size].high) == pytest.approx(tuple(ours.confidence_interval(0.95)))
    assert by_level["w48"].verdict is Verdict.BETTER
    assert by_level["w48"].stratum == ("kd",)
    x = np.log2(list(SIZES.values()))
    slopes = [np.polyfit(x, [gain[s][seed] for s in SIZES], 1)[0] for seed in range(4)]
    assert by_level[TREND].values == pytest.approx(slopes)
    assert by_level[TREND].baseline == FLAT
    assert found.family == 3
    assert found.metric == "gain in loss"


def test_gains_of_shares_are_upwards_and_the_text_is_in_their_intervals() -> None:
    table = losses({"w32": -0.1, "w48": -0.2}).rename(columns={"loss": "top-1"})
    rng = np.random.default_rng(2)
    table["text"] = [value + rng.normal(0, 0.3, 64) * 0 + np.linspace(-1, 1, 64) * (arm == "kd") * (size == "w48")
                     for value, arm, size in zip(table["top-1"], table["arm"], table["student"])]  # fmt: skip
    given = {"metric": "top-1", "baseline": "lm", "over": "student", "lower_is_better": False}
    (plain,) = compare_gains(table, **given).effects  # type: ignore[arg-type]
    (wide,) = compare_gains(table, **given, text="text").effects  # type: ignore[arg-type]
    assert plain.difference == wide.difference > 0.05
    assert wide.uncertainty is not None
    assert wide.uncertainty.text == pytest.approx(np.linspace(-1, 1, 64).reshape(32, 2).mean(1).std(ddof=1) / 32**0.5)
    assert wide.high > plain.high


def test_one_level_is_refused() -> None:
    with pytest.raises(DataError, match="no arm has gains at two levels of 'student'"):
        compare_gains(losses({"w32": 0.1}), metric="loss", baseline="lm", over="student")


def test_it_grows_was_not_shown() -> None:
    """The notebook said of PD* against vanilla distillation that its gain grows with the student: figures of
    reports/paper-mini/mini-s13 by hand (a referee's p .024 pooled over arms)."""
    runs = pd.read_csv(REPORTS / "paper-mini" / "mini-s13" / "data" / "runs.csv", keep_default_na=False)
    column = next(c for c in runs if c in ("arm", "axis_arm"))
    table = runs.rename(columns={column: "arm"}).assign(test_loss=runs["test_loss"].astype(float))
    chosen = table[table["arm"].isin(["PD*", "vanilla PD"])]
    sizes = {k: float(v) for k, v in chosen.groupby("student")["non_embedding"].first().items()}
    found = compare_gains(chosen, metric="test_loss", baseline="vanilla PD", over="student", sizes=sizes)
    wide = chosen.pivot(index="seed", columns=["student", "arm"], values="test_loss")
    gain = {size: wide[size]["vanilla PD"] - wide[size]["PD*"] for size in sizes}
    raw = stats.ttest_rel(gain["w96"], gain["w48"])
    (effect,) = (e for e in found.effects if e.arm == "w96")
    assert effect.difference == pytest.approx(0.051, abs=0.002)
    assert effect.p >= raw.pvalue
    assert effect.verdict is Verdict.WITHIN_NOISE


def test_the_output_has_a_figure_a_table_and_verdicts(tmp_path: Path) -> None:
    record = two_arms(tmp_path)
    figure, table, verdicts = Outputs(tmp_path, record).blocks(encode(GainDifferences(axis="size")))
    assert isinstance(table, Table)
    assert isinstance(verdicts, Table)
    assert [row[1] for row in table.rows] == ["1", "4", "9", "20", TREND]
    assert verdicts.columns == ("gain of", "arm", "baseline", "gain in test loss (nats/token)")
    assert "difference of gain in test loss to the baseline" in figure.caption.lower()  # type: ignore[union-attr]


def test_gains_of_a_study_that_has_no_run_yet_are_a_sentence(tmp_path: Path) -> None:
    record = two_arms(tmp_path)
    for folder in (tmp_path / "runs").iterdir():
        for file in folder.iterdir():
            file.unlink()
    (said,) = Outputs(tmp_path, record).blocks(encode(GainDifferences(axis="size")))
    assert isinstance(said, Text)
    assert "no run has been scored on test text yet" in said.text
