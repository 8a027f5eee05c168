"""The test whether a law fits the means of replicated runs, against the scatter of the replicates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from pdstudy.analysis.fit.fit_result import Fit

LEVEL = 0.05
"""A law is rejected below this p."""


@dataclass(frozen=True)
class LackOfFit:
    """F test of lack of fit (Draper and Smith, Applied Regression Analysis, 3rd ed., sec. 2.1), on log losses.

    `f` is the mean square of what the law misses of the means, over that of replicates about their means; `dof` are the
    degrees of freedom of the two.
    """

    f: float
    dof: tuple[int, int]
    p: float

    @property
    def rejected(self) -> bool:
        return self.p < LEVEL

    def describe(self) -> str:
        """The test as a sentence."""
        shown = f"lack of fit F({self.dof[0]}, {self.dof[1]}) = {self.f:.3g}, p = {self.p:.2g}"
        if self.rejected:
            return f"{shown}: the law is rejected, it misses means by more than equal runs differ"
        return f"{shown}: not rejected"


def lack_of_fit(fit: Fit) -> LackOfFit | None:
    """The test of a fit whose table has several runs at some places; None where it has none, or no more places than the
    law has parameters, so that there is nothing to miss."""
    places = pd.factorize(pd.Series(list(zip(*(fit.points.x[c] for c in fit.law.columns), strict=True))))[0]
    count, runs = int(places.max()) + 1, len(places)
    free = len(fit.free)
    if count <= free or runs <= count:
        return None
    losses = pd.Series(fit.points.log_loss)
    pure = float(((losses - losses.groupby(places).transform("mean")) ** 2).sum())
    missed = float(np.square(pd.Series(fit.residuals).groupby(places).transform("mean")).sum())
    dof = (count - free, runs - count)
    f = (missed / dof[0]) / (pure / dof[1]) if pure > 0 else float("inf")
    return LackOfFit(f, dof, float(stats.f.sf(f, *dof)))
