"""A law of loss over parameters and tokens, fitted as small designed grids of runs need it, and its predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pdstudy.analysis.data.points import Points, points
from pdstudy.analysis.errors import AnalysisError, TooFewRuns
from pdstudy.analysis.fit.bootstrap import Bootstrap, bootstrap
from pdstudy.analysis.fit.choice import LawChoice, choose_law
from pdstudy.analysis.fit.fit import DELTA, fit
from pdstudy.analysis.fit.fit_result import Fit
from pdstudy.analysis.fit.lack_of_fit import LackOfFit, lack_of_fit
from pdstudy.analysis.fit.residual_scale import free_residuals
from pdstudy.analysis.laws import Law, laws_of
from pdstudy.analysis.laws.base import Array
from pdstudy.analysis.shown import Shown

AUTO = "auto"
"""The name of the choice among all laws of the same quantities."""

STEADY = 3.0
"""Huber threshold in robust standard deviations of the residuals (no unit): least squares that no run gone wrong bends.

Hoffmann's 1e-3 is a third of the noise of small models: nearly a least-absolute fit, whose predictions scatter more.
"""

RESAMPLES = 1000
"""Resamples behind the intervals of a page."""


@dataclass(frozen=True)
class JointFit(Shown):
    """A law fitted to runs, with its resamples or why there are none, and the test against replicates where there are
    some. `choice` is how the law was chosen, where it was."""

    fit: Fit
    bootstrap: Bootstrap | None
    refused: str
    lack: LackOfFit | None
    choice: LawChoice | None

    @property
    def noise(self) -> float:
        """Standard deviation of ln loss of one run about the law (robust)."""
        return robust_scale(free_residuals(self.fit))

    def predict(self, x: Mapping[str, object] | pd.DataFrame) -> pd.DataFrame:
        """One row per place of `x` (the law's columns): these, `predicted`, the 95 % interval `low`, `high` of one more
        run there, and that of the law's curve, `curve_low`, `curve_high`. NaN without resamples."""
        at = {c: np.atleast_1d(np.asarray(x[c], dtype=np.float64)) for c in self.fit.law.columns}
        found = pd.DataFrame(at).assign(predicted=self.fit.predict(at))
        for prefix, prediction in (("", True), ("curve_", False)):
            low = high = np.full(len(found), np.nan)
            if self.bootstrap:
                low, high = self.bootstrap.band(at, prediction=prediction)
            found[f"{prefix}low"], found[f"{prefix}high"] = low, high
        return found


def joint_fit(
    table: pd.DataFrame, law: Law | str = "hoffmann", *, loss: str = "loss", resamples: int = RESAMPLES, seed: int = 0
) -> JointFit:
    """Fit a law of N and D to a table of runs with these columns.

    The Huber threshold is `STEADY` times the noise of the runs themselves; intervals come from residuals resampled on
    the design as it is, widened by Student's t: both for tables of some thirty runs, each at its own place.

    Args:
        law: a law, the name of one, or "auto" for the one that predicts the largest fifth of the runs best.

    Raises:
        DataError, TooFewRuns: as `fit`. AnalysisError: no such law; the fit did not converge.
    """
    known = {each.name: each for each in laws_of(("N", "D"))}
    if isinstance(law, str) and law not in (*known, AUTO):
        raise AnalysisError(f"no law of N and D is called {law!r}; there are {', '.join((*known, AUTO))}")
    first = known["hoffmann"] if law == AUTO else known[law] if isinstance(law, str) else law
    data = points(table, first, loss=loss, duplicates="keep")
    choice = None
    if law == AUTO:
        choice = choose_law(data, list(known.values()), delta=steady_delta(data, first))
        first = choice.law
    fitted = steady_fit(data, first)
    resampled, refused = None, ""
    try:
        resampled = bootstrap(fitted, resamples, seed, residual=True) if resamples else None
    except TooFewRuns as error:
        refused = str(error)
    return JointFit(fitted, resampled, refused, lack_of_fit(fitted), choice)


def steady_fit(data: Points, law: Law) -> Fit:
    """A fit whose Huber threshold follows the noise of the runs. Raises `AnalysisError` where it did not converge."""
    fitted = fit(data, law, delta=steady_delta(data, law))
    if not fitted.ok:
        raise AnalysisError(f"{law.name} was not fitted: {fitted.reason}")
    return fitted


def steady_delta(data: Points, law: Law) -> float:
    """`STEADY` times the scale of a first fit's residuals, and at least the usual threshold."""
    first = fit(data, law)
    return max(DELTA, STEADY * robust_scale(free_residuals(first))) if first.ok else DELTA


def robust_scale(errors: Array) -> float:
    """Standard deviation of normal errors from their median size."""
    return float(1.4826 * np.median(np.abs(errors)))
