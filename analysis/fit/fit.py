"""Fit a law to points: global search, then an honest account of what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pdstudy.analysis.data.points import CONVENTION, Points, points
from pdstudy.analysis.errors import AnalysisError, DataError, TooFewRuns
from pdstudy.analysis.fit.minimise import Solution, inverse, minimise
from pdstudy.analysis.fit.objective import Constraint, Objective
from pdstudy.analysis.laws.base import Array, Law

if TYPE_CHECKING:
    from pdstudy.analysis.figures.plot import Plot
    from pdstudy.analysis.fit.identifiability import NotIdentified


DELTA = 1e-3
"""Huber threshold on log residuals that Hoffmann et al. and most others use."""


POLISHED = 24
"""Starts that are minimised, of all those whose objective is evaluated."""


AGREE = 1e-6
"""Starts agree when their objectives are within this relative distance of the best."""


@dataclass(frozen=True)
class FitMinimum:
    """One distinct minimum that the search found, in the law's own units."""

    objective: float
    parameters: Mapping[str, float]
    starts: int


@dataclass(frozen=True)
class Fit:
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
        best = self.solution.objective[self._best()]
        return int((self.solution.objective <= best * (1 + AGREE) + 0.5e-18 * len(self.points)).sum())

    @property
    def polished(self) -> int:
        """How many starts were minimised."""
        return len(self.solution.objective)

    @property
    def gradient_norm(self) -> float:
        """What is left to gain, as a part of the objective: half the squared Newton decrement (no unit)."""
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

    @cached_property
    def unidentified(self) -> tuple[NotIdentified, ...]:
        """Parameters that the data don't tell, and why; found by profiles when first asked for."""
        from pdstudy.analysis.fit.identifiability import not_identified

        return not_identified(self)

    def summary(self) -> str:
        """The whole account as text."""
        from pdstudy.analysis.fit.summary import summary

        return summary(self)

    def to_frame(self) -> pd.DataFrame:
        """One row per parameter: `parameter`, `value`, `status`."""
        from pdstudy.analysis.fit.summary import parameter_frame

        return parameter_frame(self)

    def plot(self) -> Plot:
        """Predicted against measured loss, with relative errors."""
        from pdstudy.analysis.figures.fits import predicted_and_measured

        return predicted_and_measured(self)


def fit(
    table: pd.DataFrame | Points,
    law: Law,
    *,
    loss: str = "loss",
    columns: Mapping[str, str] | None = None,
    weights: str | None = None,
    cluster: str | None = None,
    delta: float = DELTA,
    fixed: Mapping[str, float] | None = None,
    tied: Sequence[tuple[str, ...]] = (),
) -> Fit:
    """Fit a law, by a search that reaches the optimum or says that it didn't.

    The objective is the sum over runs of Huber_delta(ln predicted - ln measured). It doesn't change its optimum when
    rows are duplicated, weights are scaled, or it is summed or averaged.

    Args:
        table: a table (see `points`) or points made before. delta: Huber threshold, in log-loss units.
        fixed: values held, in the parameter's own units. tied: groups of parameters held equal.

    Raises:
        DataError: the data can't carry the law. TooFewRuns: fewer runs than parameters + 1.
    """
    if not delta > 0:
        raise AnalysisError(f"delta is {delta}; the Huber threshold must be positive (1e-3 is usual)")
    data = (
        table
        if isinstance(table, Points)
        else points(table, law, loss=loss, columns=columns, weights=weights, cluster=cluster)
    )
    problem = Objective(law, data, delta, Constraint.of(law, fixed or {}, tied))
    _enough(problem)
    return search(problem)


def search(problem: Objective) -> Fit:
    """Evaluate every start, minimise the best and the most different, keep all that was learned."""
    law, data = problem.law, problem.points
    starts = problem.constraint.reduce(law.starts(data.x, data.loss))
    starts = np.clip(starts, problem.constraint.lower, problem.constraint.upper)
    starts = starts[np.isfinite(starts).all(axis=1)]
    values = np.concatenate([problem.evaluate(starts[s], problem.sample)[0] for s in problem.slices(len(starts))])
    chosen = _choose(starts, values)
    solution = _minimise(problem, starts[chosen])
    best = int(np.argmin(solution.objective))
    ok, reason = True, ""
    if not np.isfinite(solution.objective[best]):
        ok, reason = False, f"none of {len(starts)} starts has a finite objective; is this law meant for these columns?"
    elif solution.decrement[best] > 1e-5 and solution.objective[best] > 1e-24:
        ok = False
        reason = (
            f"the best of {len(chosen)} minimisations still had {solution.decrement[best]:.1e} of its objective to gain"
        )
    order = np.argsort(solution.objective, kind="stable")
    rest = np.argsort(values, kind="stable")[:400]
    pool = np.concatenate([solution.free[order], starts[rest]])
    return Fit(problem, solution, len(starts), pool, ok, reason)


def _minimise(problem: Objective, starts: Array) -> Solution:
    """From every start; where that doesn't converge, the best few again by way of ten times delta.

    With delta far below the residuals the objective is nearly piecewise linear; the smoother one leads close and the
    last steps are short. Not for every fit: it leads all starts into one of several minima.
    """
    solution = minimise(problem, starts, problem.sample, alike=True)
    order = np.argsort(solution.objective, kind="stable")[:3]
    if solution.decrement[order[0]] < 1e-7 or solution.objective[order[0]] < 1e-24:
        return solution
    coarse = minimise(replace(problem, delta=10 * problem.delta), starts, problem.sample, alike=True, rounds=3)
    near = coarse.free[np.argsort(coarse.objective, kind="stable")[:3]]
    further = minimise(problem, np.concatenate([solution.free[order], near]), problem.sample, alike=True, rounds=16)
    best = np.argsort(further.objective, kind="stable")[: len(order)]
    for old, new in (
        (solution.free, further.free),
        (solution.objective, further.objective),
        (solution.decrement, further.decrement),
    ):
        old[order] = new[best]
    return solution


def _choose(starts: Array, values: Array) -> Array:
    """Half the best starts, half the best of those that differ from all chosen so far."""
    order = [int(i) for i in np.argsort(values, kind="stable") if np.isfinite(values[i])]
    chosen = order[: POLISHED // 2]
    span = np.maximum(np.ptp(starts, axis=0), 1e-12)
    for i in order[POLISHED // 2 :]:
        if len(chosen) == POLISHED:
            break
        if np.abs((starts[chosen] - starts[i]) / span).max(axis=1).min() > 0.15:
            chosen.append(i)
    return np.array(chosen if chosen else [0])


def _enough(problem: Objective) -> None:
    law, data, needed = problem.law, problem.points, problem.size
    if len(data) < needed + 1:
        raise TooFewRuns(
            f"{len(data)} runs for the {needed} free parameters of {law.name}; a fit needs {needed + 1}, intervals "
            f"{2 * needed + 2}: add runs, fix parameters, or take a smaller law"
        )
    for c in law.columns:
        found = np.unique(data.x[c])
        if len(found) < 3 and problem.constraint.plain:
            shown = ", ".join(f"{v:g}" for v in found)
            raise DataError(
                f"{c} has only {len(found)} value(s) in these runs: {shown}; {law.name} needs at least 3 "
                f"to tell its exponent from its floor: add runs, fix parameters, or fit a law without {c}"
            )
