"""The result of a fit: optimum, other minima, residuals, and how much the search agrees with itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pdstudy.analysis.data.points import CONVENTION, Points
from pdstudy.analysis.errors import AnalysisError, DataError
from pdstudy.analysis.fit.minimise import Solution, inverse
from pdstudy.analysis.fit.objective import Objective
from pdstudy.analysis.laws.base import Array, Law
from pdstudy.analysis.shown import Shown

AGREE = 1e-6
"""Relative distance from the best objective within which starts agree (no unit)."""


@dataclass(frozen=True)
class FitMinimum:
    """One distinct minimum that the search found, in the law's own units."""

    objective: float
    parameters: Mapping[str, float]
    starts: int


@dataclass(frozen=True, eq=False)
class Fit(Shown):
    """A law fitted to points.

    `ok` is False when no start converged; then `reason` says so and every number raises `AnalysisError` with it.
    """

    problem: Objective
    solution: Solution
    searched: int
    pool: Array
    """Starts that a resample begins from (G, k_free), the optimum first."""
    ok: bool
    reason: str
    apart: NDArray[np.bool_]
    """Which of the minimised starts are apart from all before them, (polished,) booleans; the others are neighbours."""

    @property
    def law(self) -> Law:
        """The law that was fitted."""
        return self.problem.law

    @property
    def points(self) -> Points:
        """The points it was fitted to."""
        return self.problem.points

    def _best(self) -> int:
        if not self.ok:
            raise AnalysisError(f"{self.law.name} was not fitted: {self.reason}")
        return int(np.argmin(self.solution.objective))

    @property
    def free(self) -> Array:
        """The free parameters at the optimum, in fitted form (k_free,)."""
        return self.solution.free[self._best()]

    @property
    def theta(self) -> Array:
        """All parameters at the optimum, in fitted form (k,)."""
        return self.problem.constraint.full(self.free[None, :])[0]

    @property
    def parameters(self) -> dict[str, float]:
        """All parameters by name, in their own units."""
        return dict(zip(self.law.names, self.law.natural(self.theta).tolist()))

    @property
    def objective(self) -> float:
        """Sum over points of Huber(log residual); comparable at equal delta only."""
        return float(self.solution.objective[self._best()])

    @property
    def agreeing(self) -> int:
        """How many of the polished starts end at the best objective, within 1e-6 of it."""
        return int(self._agree().sum())

    @property
    def agreeing_apart(self) -> int:
        """How many of the starts that are apart from one another end there: neighbours agree by themselves."""
        return int((self._agree() & self.apart).sum())

    def _agree(self) -> NDArray[np.bool_]:
        best = self.solution.objective[self._best()]
        return np.asarray(self.solution.objective <= best * (1 + AGREE) + 0.5e-18 * len(self.points))

    @property
    def polished(self) -> int:
        """How many starts were minimised."""
        return len(self.solution.objective)

    @property
    def gradient_norm(self) -> float:
        """Predicted relative decrease that is left: half the squared Newton decrement over the objective (no unit)."""
        return float(self.solution.decrement[self._best()])

    @property
    def condition(self) -> float:
        """Condition number of the curvature, scaled to a unit diagonal (no unit)."""
        curvature = self.problem.curvature(self.free[None, :], self.problem.sample)[0]
        diagonal = np.sqrt(np.maximum(np.diag(curvature), 1e-300))
        values = np.linalg.eigvalsh(curvature / np.outer(diagonal, diagonal))
        return float(values[-1] / max(values[0], 1e-300))

    @property
    def at_bound(self) -> tuple[str, ...]:
        """Free parameters that ended at a bound of the law."""
        constraint = self.problem.constraint
        near = 1e-6 * np.maximum(1.0, np.abs(self.free))
        hit = (self.free <= constraint.lower + near) | (self.free >= constraint.upper - near)
        return tuple(n for n, h in zip(constraint.names, hit) if h)

    @property
    def residuals(self) -> Array:
        """ln measured - ln predicted loss, (n,)."""
        return -self.problem.residuals(self.free[None, :])[0]

    @property
    def minima(self) -> tuple[FitMinimum, ...]:
        """Distinct minima within 0.5 % of the best objective, best first (more than one: the surface is flat there)."""
        self._best()
        scale = np.sqrt(np.einsum("skk->sk", inverse(self.problem.curvature(self.free[None, :], self.problem.sample))))
        found: list[tuple[Array, float, int]] = []
        limit = self.objective * 1.005 + 1e-25
        for i in np.argsort(self.solution.objective, kind="stable"):
            here, value = self.solution.free[i], float(self.solution.objective[i])
            if value > limit:
                break
            for j, (there, first, count) in enumerate(found):
                # The curvature gives the unit: a hundredth of it apart is one minimum stopped at two places.
                if (
                    np.abs(here - there).max() < 1e-3
                    or (np.abs(here - there) < 0.01 * self.problem.delta * scale[0]).all()
                ):
                    found[j] = (there, first, count + 1)
                    break
            else:
                found.append((here, value, 1))
        named = []
        for free, value, count in found:
            natural = self.law.natural(self.problem.constraint.full(free[None, :]))[0]
            named.append(FitMinimum(value, dict(zip(self.law.names, natural.tolist())), count))
        return tuple(named)

    def predict(self, x: Mapping[str, object] | pd.DataFrame) -> Array:
        """Predicted loss at `x` (the law's columns by name).

        Raises:
            DataError: `x` says that its N is counted in another way than the fit's.
        """
        theirs = {str(v) for v in np.atleast_1d(np.asarray(x[CONVENTION]))} if CONVENTION in x else set()
        if theirs and self.points.convention and theirs != {self.points.convention}:
            raise DataError(
                f"N is {', '.join(sorted(theirs))} here, {self.points.convention} in the fit; convert it first"
            )
        return self.law.predict(self.parameters, {c: x[c] for c in self.law.columns})
