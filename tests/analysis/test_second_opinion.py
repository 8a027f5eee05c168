"""The published pages' comparisons by statsmodels: seeds as fixed effects of a linear model, and as random ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pdstudy.analysis.compare.comparison import Comparison, Verdict
from pdstudy.analysis.compare.seeds import compare

REPORTS = Path(__file__).parents[2] / "reports" / "paper-mini"

PAGES = {
    "s01": ("loss", "LM", []), "s02": ("axis_p", "LM", []), "s03": ("k", "LM", []), "s04": ("tau", "LM", []),
    "s05": ("rule", "LM", []), "s06": ("alpha", "0", []), "s07": ("loss", "LM", []), "s08": ("schedule", "LM", []),
    "s09": ("axis_arm", "0-α + WSD-LR", []), "s10": ("axis_teacher", "none", ["student"]),
    "s11": ("loss", "LM", ["student"]), "s11b": ("loss", "LM", ["student", "axis_tokens"]),
    "s12": ("source", "LM", ["window"]), "s13": ("axis_arm", "vanilla PD", ["student"]),
}  # fmt: skip
"""Column of the arms, baseline and columns of the strata of each page's runs."""


def published(page: str, metric: str) -> tuple[pd.DataFrame, Comparison]:
    arm, baseline, within = PAGES[page]
    runs = pd.read_csv(REPORTS / f"mini-{page}" / "data" / "runs.csv", keep_default_na=False,
                       usecols=[*within, arm, "seed", metric])  # fmt: skip
    table = runs[[*within, arm, "seed"]].assign(**{metric: runs[metric].astype(float)})
    return table, compare(table, metric=metric, baseline=baseline, arm=arm, within=within,
                          lower_is_better=metric != "test_accuracy")  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["test_loss", "test_recalibrated", "test_accuracy"])
def test_seeds_as_fixed_effects_give_the_published_pages_intervals(metric: str) -> None:
    import statsmodels.api as sm
    from statsmodels.stats.multitest import multipletests

    compared = 0
    for page in PAGES:
        found = published(page, metric)[1]
        fitted = []
        different = [e for e in found.effects if e.verdict is not Verdict.SAME]
        for e in different:
            seed = np.tile(np.eye(e.seeds), (2, 1))
            design = np.column_stack([np.repeat([1.0, 0.0], e.seeds), seed])
            model = sm.OLS(np.concatenate([e.values, e.baseline_values]), design).fit()
            low, high = model.conf_int(0.05)[0]
            assert (e.difference, e.low, e.high) == pytest.approx((model.params[0], low, high), rel=1e-6, abs=1e-9)
            fitted.append(float(model.pvalues[0]))
        once = {(e.values, e.baseline_values): p for e, p in zip(different, fitted, strict=True)}
        claimed, adjusted, *_ = multipletests(list(once.values()), alpha=0.05, method="holm")
        said = dict(zip(once, zip(adjusted, claimed, strict=True), strict=True))
        assert found.family == len(once)
        for e in different:
            p, claim = said[e.values, e.baseline_values]
            assert e.p == pytest.approx(p, rel=1e-6)
            assert (e.verdict in (Verdict.BETTER, Verdict.WORSE)) == claim
        compared += len(different)
    assert compared > 60


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore:The MLE may be on the boundary")
@pytest.mark.parametrize("student", ["w32", "w48", "w64"])
def test_a_mixed_model_with_random_seeds_agrees_where_seeds_are_shared(student: str) -> None:
    """Its standard error is that of the paired differences wherever the variance between seeds is not zero."""
    import statsmodels.formula.api as smf

    table, found = published("s10", "test_loss")
    part = table[(table["student"] == student) & table["axis_teacher"].isin(["none", "0.7M"])]
    part = part.assign(kd=(part["axis_teacher"] != "none").astype(float))
    model = smf.mixedlm("test_loss ~ kd", part, groups=part["seed"]).fit(reml=True)
    (effect,) = (e for e in found.effects if (e.stratum, e.arm) == ((student,), "0.7M"))
    assert effect.uncertainty is not None
    assert effect.difference == pytest.approx(model.params["kd"], rel=1e-4)
    assert effect.uncertainty.error == pytest.approx(model.bse["kd"], rel=0.02)
