"""Prediction of held-out runs: the check that leads the choice of a law."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pdstudy.analysis.data.points import Points
from pdstudy.analysis.errors import AnalysisError, DataError, TooFewRuns
from pdstudy.analysis.fit.bootstrap import bootstrap
from pdstudy.analysis.fit.extrapolation import rms
from pdstudy.analysis.fit.fit import DELTA, fit
from pdstudy.analysis.fit.fit_result import Fit
from pdstudy.analysis.fit.log_errors import LogErrors
from pdstudy.analysis.laws.base import Array, Law
from pdstudy.analysis.shown import Shown


@dataclass(frozen=True)
class HeldOutErrors(LogErrors, Shown):
    """A law fitted to some runs, and its predictions of the others.

    `errors` are ln measured - ln predicted of the held-out runs (relative errors). `coverage` is the share of them in
    the 95 % prediction band and `half_width` the band's mean half-width relative to the loss, NaN without a bootstrap.
    """

    fit: Fit
    test: Points
    errors: Array
    coverage: float
    half_width: float

    @property
    def training_rms(self) -> float:
        """Root mean square of the log residuals of the runs that were fitted."""
        return rms(self.fit.residuals)

    def to_frame(self) -> pd.DataFrame:
        """One row per held-out run: the law's columns, measured and predicted loss, error in per cent."""
        frame = pd.DataFrame(dict(self.test.x), index=list(self.test.rows))
        predicted = self.test.loss / np.exp(self.errors)
        return frame.assign(measured=self.test.loss, predicted=predicted, error=100 * np.expm1(-self.errors))


def hold_out(
    data: Points,
    law: Law,
    test: NDArray[np.bool_],
    *,
    delta: float = DELTA,
    fixed: Mapping[str, float] | None = None,
    tied: Sequence[tuple[str, ...]] = (),
    resamples: int = 0,
    seed: int = 0,
) -> HeldOutErrors:
    """Fit the runs where `test` is False and predict the others.

    Args:
        test: boolean per run. delta, fixed, tied: as `fit`. resamples: bootstraps for the coverage of the prediction
            band (0: none), with their seed.

    Raises:
        DataError: nothing on one side. TooFewRuns, AnalysisError: as `fit`.
    """
    mask = np.asarray(test, dtype=bool)
    if not mask.any() or mask.all():
        raise DataError(f"{int(mask.sum())} of {len(mask)} runs are held out; there must be some on both sides")
    trained = fit(data.take(np.flatnonzero(~mask)), law, delta=delta, fixed=fixed, tied=tied)
    if not trained.ok:
        raise AnalysisError(f"{law.name} was not fitted without the held-out runs: {trained.reason}")
    held = data.take(np.flatnonzero(mask))
    errors = held.log_loss - np.log(trained.predict(held.x))
    coverage = half_width = float("nan")
    if resamples:
        try:
            low, high = bootstrap(trained, resamples, seed).band(held.x, prediction=True)
            half_width = float(np.mean(0.5 * np.log(high / low)))
            coverage = float(((held.loss >= low) & (held.loss <= high)).mean())
        except TooFewRuns:  # errors are worth having without a band
            pass
    return HeldOutErrors(trained, held, errors, coverage, half_width)


def leave_one(
    data: Points,
    law: Law,
    groups: Sequence[object],
    *,
    delta: float = DELTA,
    fixed: Mapping[str, float] | None = None,
    tied: Sequence[tuple[str, ...]] = (),
) -> pd.DataFrame:
    """Leave out one group (size, teacher) at a time and predict it.

    Returns:
        one row per group: `left_out`, `runs`, `rms`, `mean`, `worst` (log errors), and each parameter of the fit
        without it; a group that can't be left out has NaN and the reason in `failed`.
    """
    rows = []
    for name in dict.fromkeys(groups):
        mask = np.array([g == name for g in groups])
        row: dict[str, object] = {"left_out": name, "runs": int(mask.sum()), "failed": ""}
        try:
            held = hold_out(data, law, mask, delta=delta, fixed=fixed, tied=tied)
            row |= {"rms": held.rms, "mean": held.mean, "worst": held.worst, **held.fit.parameters}
        except (AnalysisError, TooFewRuns) as error:
            row["failed"] = str(error)
        rows.append(row)
    return pd.DataFrame(rows)


def akaike(fitted: Fit, *, corrected: bool = False) -> float:
    """Akaike's criterion with weighted Laplace residuals whose scale is fitted too; comparable on equal runs only.

    `corrected` for few runs (AICc): infinite where there are no more than k + 2 runs for k parameters and the scale.
    """
    n, k = len(fitted.points), fitted.problem.size + 1
    scale = float(np.average(np.abs(fitted.residuals), weights=fitted.points.weights))
    value = 2 * n * (np.log(2 * max(scale, 1e-300)) + 1) + 2 * k
    if corrected:
        value += 2 * k * (k + 1) / (n - k - 1) if n > k + 1 else np.inf
    return float(value)


def select(
    data: Points, laws: Sequence[Law], tests: dict[str, NDArray[np.bool_]], *, delta: float = DELTA
) -> pd.DataFrame:
    """Compare laws, led by hold-out.

    Args:
        tests: name of each hold-out to its mask (True: held out).

    Returns:
        one row per law, best mean hold-out rms first: `law`, `k`, `objective`, `akaike`, `agree`, and `rms NAME` per
        hold-out. In-sample criteria prefer forms that predict worse; they are shown beside, not used.
    """
    rows = []
    for law in laws:
        usable = replace(data, x={c: data.x[c] for c in law.columns})
        fitted = fit(usable, law, delta=delta)
        row: dict[str, object] = {"law": law.name, "k": fitted.problem.size, "objective": fitted.objective}
        row |= {"akaike": akaike(fitted), "agree": f"{fitted.agreeing}/{fitted.polished}"}
        held = {f"rms {name}": hold_out(usable, law, mask, delta=delta).rms for name, mask in tests.items()}
        rows.append(row | held | {"_order": float(np.mean(list(held.values())) if held else fitted.objective)})
    return pd.DataFrame(rows).sort_values("_order", kind="stable").drop(columns="_order").reset_index(drop=True)
