"""Fit a law to points by a global search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pdstudy.analysis.data.points import Points, points
from pdstudy.analysis.errors import AnalysisError, DataError, TooFewRuns
from pdstudy.analysis.fit.fit_result import Fit
from pdstudy.analysis.fit.minimise import Solution, minimise
from pdstudy.analysis.fit.objective import Constraint, Objective
from pdstudy.analysis.laws.base import Array, Law

DELTA = 1e-3
"""Huber threshold on log residuals of Hoffmann et al. and most others (relative error of the loss)."""

POLISHED = 24
"""Number of starts that are minimised, of all those whose objective is evaluated."""

APART = 0.15
"""Share of the range of all starts, in any one parameter, by which two starts are apart (no unit)."""


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
    duplicates: str = "refuse",
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
        else points(table, law, loss=loss, columns=columns, weights=weights, cluster=cluster, duplicates=duplicates)
    )
    problem = Objective(law, data, delta, Constraint.make(law, fixed or {}, tied))
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
    elif not solution.decrement[best] <= 1e-5 and solution.objective[best] > 1e-24:
        ok = False
        reason = (
            f"the best of {len(chosen)} minimisations still had {solution.decrement[best]:.1e} of its objective to gain"
        )
    order = np.argsort(solution.objective, kind="stable")
    rest = np.argsort(values, kind="stable")[:400]
    pool = np.concatenate([solution.free[order], starts[rest]])
    return Fit(problem, solution, len(starts), pool, ok, reason, _find_apart(starts, starts[chosen]))


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


def _find_apart(starts: Array, chosen: Array) -> NDArray[np.bool_]:
    """Which of the chosen starts differ from each one before that does, by `APART` of the range of all starts."""
    span = np.maximum(np.ptp(starts, axis=0), 1e-12)
    kept: list[int] = []
    for i, start in enumerate(chosen):
        if not kept or np.abs((chosen[kept] - start) / span).max(axis=1).min() > APART:
            kept.append(i)
    return np.isin(np.arange(len(chosen)), kept)


def _choose(starts: Array, values: Array) -> Array:
    """Half the best starts, half the best of those that differ from all chosen so far."""
    order = [int(i) for i in np.argsort(values, kind="stable") if np.isfinite(values[i])]
    chosen = order[: POLISHED // 2]
    span = np.maximum(np.ptp(starts, axis=0), 1e-12)
    for i in order[POLISHED // 2 :]:
        if len(chosen) == POLISHED:
            break
        if np.abs((starts[chosen] - starts[i]) / span).max(axis=1).min() > APART:
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
