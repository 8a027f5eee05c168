"""Lack of fit: the F test of replicates, and a figure that shows a rejected law no further than its data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pdstudy.analysis.figures.fits import loss_and_law
from pdstudy.analysis.fit.fit import fit
from pdstudy.analysis.fit.lack_of_fit import lack_of_fit
from pdstudy.analysis.fit.size_fit import size_fit
from pdstudy.analysis.laws import power_law
from pdstudy.analysis.report.study_outputs import Outputs
from pdstudy.config.outputs import SizeLaw
from pdstudy.core.identity import encode
from tests.analysis.made_workspace import make_workspace

REPORTS = Path(__file__).parents[2] / "reports"


def replicated(bend: float, seed: int = 0, noise: float = 0.003) -> pd.DataFrame:
    """Three runs at each of four sizes about a power law, and what a hump in the middle adds to it."""
    rng = np.random.default_rng(seed)
    sizes = np.repeat([2e4, 5e4, 9e4, 3e5], 3)
    hump = np.where(np.isin(sizes, [5e4, 9e4]), bend, 0)
    return pd.DataFrame({"N": sizes, "loss": 9 * sizes**-0.07 * np.exp(hump + rng.normal(0, noise, 12))})


def test_the_test_is_that_of_two_nested_linear_models() -> None:
    """A straight line in logarithms against a mean per size."""
    data = replicated(0.01)
    fitted = fit(data, power_law("N", floor=False), columns={"N": "N"}, delta=1.0)
    found = lack_of_fit(fitted)
    assert found is not None
    x, y = np.log(data["N"].to_numpy()), np.log(data["loss"].to_numpy())
    line = np.column_stack([np.ones(12), x])
    means = (x[:, None] == np.unique(x)).astype(float)
    left = [float(np.linalg.lstsq(design, y, rcond=None)[1][0]) for design in (line, means)]
    f = ((left[0] - left[1]) / 2) / (left[1] / 8)
    assert found.dof == (2, 8)
    assert found.f == pytest.approx(f, rel=1e-4)
    assert found.p == pytest.approx(stats.f.sf(f, 2, 8), rel=1e-3)


def test_a_true_law_is_rejected_as_often_as_promised() -> None:
    law = power_law("N", floor=False)
    tests = [lack_of_fit(fit(replicated(0, s), law, columns={"N": "N"}, delta=1.0)) for s in range(24)]
    assert sum(t.rejected for t in tests if t) <= 5  # 1.2 expected; 5 or fewer has a chance of .998


def test_without_replicates_or_more_places_than_parameters_there_is_no_test() -> None:
    single = replicated(0).drop_duplicates("N")
    assert lack_of_fit(fit(single, power_law("N", floor=False), columns={"N": "N"})) is None
    three = replicated(0)[lambda rows: rows["N"] < 1e5]
    assert lack_of_fit(fit(three, power_law("N"), columns={"N": "N"})) is None


def test_published_size_laws_are_rejected() -> None:
    """Figures of the quickstart, worked out by hand from its runs by a referee: F(2, 8) = 32.6 and 7.2."""
    runs = pd.read_csv(REPORTS / "quickstart" / "data" / "runs.csv")
    column = "loss" if "loss" in runs else "axis_loss"
    found = {}
    for arm, part in runs.groupby(column):
        data = part[["non_embedding", "test_loss"]].set_axis(["N", "loss"], axis=1)
        found[arm] = lack_of_fit(size_fit(data)[0])
    assert {arm: round(test.f, 1) for arm, test in found.items() if test} == {"KD": 32.6, "LM": 7.2}


def test_a_rejected_law_ends_with_its_data_and_has_no_band(tmp_path: Path) -> None:
    losses, sizes = {}, ["1", "4", "9", "20"]
    for arm, bend in (("LM", 0.0), ("KD", 0.05)):
        rng = np.random.default_rng(4)
        for size in sizes:
            for seed in range(3):
                hump = bend * (size in "49")
                losses[arm, size, str(seed)] = 4 * (1 + int(size)) ** -0.05 * np.exp(hump + rng.normal(0, 0.004))
    record = make_workspace(tmp_path, losses, {"loss": ["LM", "KD"], "size": sizes})
    plot, *notes = Outputs(tmp_path, record).blocks(encode(SizeLaw(lines="loss")))
    said = {note.text.split(":")[0]: note.text for note in notes if hasattr(note, "text")}
    assert "the law is rejected" in said["KD"]
    assert "No band is drawn, and nothing beyond the data" in said["KD"]
    assert "not rejected" in said["LM"]
    data = plot.data.groupby("arm")  # type: ignore[union-attr]
    assert data["N"].max().to_dict() == pytest.approx({"KD": 21_000, "LM": 42_000})
    assert data["low"].count().to_dict() == {"KD": 0, "LM": 120}
    assert "KD: power, 12 runs, rejected" in plot.caption  # type: ignore[union-attr]


def test_a_figure_of_rejected_laws_alone_says_nothing_of_what_lies_beyond() -> None:
    fitted = fit(replicated(0.05), power_law("N", floor=False), columns={"N": "N"})
    assert "dashed" not in loss_and_law({"KD": fitted}, rejected=["KD"]).caption
