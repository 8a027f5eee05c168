"""A stated rule for outliers, whose effect is stated with the result."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pdstudy.analysis.errors import AnalysisError
from pdstudy.analysis.fit.fit import search
from pdstudy.analysis.fit.fit_result import Fit

NORMAL = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation (no unit)."""


def leave_out_outliers(fitted: Fit, factor: float) -> Fit:
    """The same fit without the runs whose |log residual| is above `factor` x 1.4826 x the median |log residual|.

    Once, by the residuals of the first fit. The points of the second carry a warning that names the rule, the runs and
    the first fit's parameters, so that what the rule did can be seen.

    Raises:
        AnalysisError: a factor that isn't above 2, or too few runs left.
    """
    if not factor > 2:
        raise AnalysisError(
            f"outliers beyond {factor:g} standard deviations: below 2 that is no rule for outliers; 5 is usual"
        )
    size = np.abs(fitted.residuals)
    limit = factor * NORMAL * float(np.median(size))
    kept = np.flatnonzero(size <= limit)
    rule = f"|log residual| > {factor:g} x {NORMAL} x median = {limit:.3g}"
    points = fitted.points
    if len(kept) == len(points):
        said = f"no run is an outlier by the rule {rule}"
        return replace(
            fitted, problem=replace(fitted.problem, points=replace(points, warnings=(*points.warnings, said)))
        )
    if len(kept) <= fitted.problem.size:
        raise AnalysisError(
            f"the rule {rule} leaves {len(kept)} runs for {fitted.problem.size} parameters; take a larger factor"
        )
    rows = [str(points.rows[i]) for i in np.flatnonzero(size > limit)]
    more = f" and {len(rows) - 8} more" if len(rows) > 8 else ""
    before = ", ".join(f"{n} {v:.5g}" for n, v in fitted.parameters.items())
    said = (
        f"{len(rows)} of {len(points)} runs left out by the rule {rule}: rows {', '.join(rows[:8])}{more}; "
        f"with them {before}"
    )
    left = points.take(kept)
    return search(replace(fitted.problem, points=replace(left, warnings=(*points.warnings, said))))
