"""How far a prediction is from the runs, and what other laws that fit as well predict there."""

from __future__ import annotations

from collections.abc import Mapping
from weakref import WeakKeyDictionary

import numpy as np

from pdstudy.analysis.data.points import Points
from pdstudy.analysis.errors import AnalysisError
from pdstudy.analysis.fit.fit import fit
from pdstudy.analysis.fit.fit_result import Fit
from pdstudy.analysis.laws import laws_of
from pdstudy.analysis.laws.base import Array

NEAR = 1.1
"""Factor beyond the runs within which a prediction still counts as inside them (no unit)."""

AS_GOOD = 1.1
"""Factor of the fit's rms residual within which another law fits as well (no unit)."""

_OTHERS: WeakKeyDictionary[Fit, tuple[Fit, ...]] = WeakKeyDictionary()


def measure_distance(points: Points, x: Mapping[str, object]) -> list[str]:
    """One sentence per quantity of `x` that is beyond the runs; empty inside their ranges."""
    found = []
    for name, values in points.x.items():
        at = np.atleast_1d(np.asarray(x[name], dtype=np.float64))
        for end, factor, word in (
            (values.max(), at.max() / values.max(), "largest"),
            (values.min(), values.min() / at.min(), "smallest"),
        ):
            if factor > NEAR:
                how = f"{factor:.3g} times the {word}" if word == "largest" else f"1/{factor:.3g} of the {word}"
                found.append(f"{name} is {how} of the runs ({end:.3g})")
    return found


def fit_other_laws(fitted: Fit) -> tuple[Fit, ...]:
    """Other laws of the same quantities, fitted to the same runs, with rms residuals of at most `AS_GOOD` the fit's.

    They tell by how much the choice of a law moves an extrapolation, which no bootstrap of one law can.
    """
    if fitted not in _OTHERS:
        found = []
        for law in laws_of(fitted.law.columns):
            if law.name == fitted.law.name:
                continue
            try:
                other = fit(fitted.points, law, delta=fitted.problem.delta)
                if other.ok and rms(other.residuals) <= AS_GOOD * rms(fitted.residuals):
                    found.append(other)
            except AnalysisError:  # too few runs for a law with more parameters
                continue
        _OTHERS[fitted] = tuple(found)
    return _OTHERS[fitted]


def rms(errors: Array) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(errors**2)))
