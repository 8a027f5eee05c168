"""A law with given coefficients, published ones say, judged on a table: nothing is fitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pdstudy.analysis.data.points import Points
from pdstudy.analysis.errors import AnalysisError
from pdstudy.analysis.fit.log_errors import LogErrors
from pdstudy.analysis.laws.base import Array, Law
from pdstudy.analysis.shown import Shown


@dataclass(frozen=True)
class GivenLaw(LogErrors, Shown):
    """A law, its coefficients and the runs that it is judged on; `errors` are ln measured - ln predicted, (n,)."""

    law: Law
    parameters: Mapping[str, float]
    points: Points
    delta: float
    errors: Array

    @property
    def objective(self) -> float:
        """Weighted sum of Huber(log error), to compare with that of a fit at the same delta."""
        clipped = np.clip(self.errors, -self.delta, self.delta)
        return float(self.points.weights @ (clipped * (self.errors - 0.5 * clipped)))

    def to_frame(self) -> pd.DataFrame:
        """One row per run: the law's columns, measured and predicted loss, error in per cent."""
        frame = pd.DataFrame(dict(self.points.x), index=list(self.points.rows))
        predicted = self.points.loss / np.exp(self.errors)
        return frame.assign(measured=self.points.loss, predicted=predicted, error=100 * np.expm1(-self.errors))


def judge_law(points: Points, law: Law, values: Mapping[str, float], *, delta: float) -> GivenLaw:
    """Errors of a law with these coefficients (in their own units) on runs.

    Raises:
        AnalysisError: a coefficient is missing, unknown or without a logarithm where it needs one.
    """
    if set(values) != set(law.names):
        raise AnalysisError(f"{law.name} has the parameters {', '.join(law.names)}; given were {', '.join(values)}")
    bad = [n for n, v in zip(law.names, law.internal(values)) if not np.isfinite(v)]
    if bad:
        raise AnalysisError(f"{bad[0]} = {values[bad[0]]:g}: it must be positive")
    return GivenLaw(law, dict(values), points, delta, points.log_loss - np.log(law.predict(values, points.x)))
