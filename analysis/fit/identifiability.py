"""Limits of a fit: profiles, parameters that the data don't identify, points that drive the result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
from scipy import stats

from pdstudy.analysis.fit.fit_result import Fit
from pdstudy.analysis.fit.minimise import inverse, minimise
from pdstudy.analysis.fit.objective import Objective, Sample
from pdstudy.analysis.laws.base import Array


@dataclass(frozen=True)
class NotIdentified:
    """A parameter whose number means nothing, and why."""

    parameter: str
    why: str


_KNOWN: WeakKeyDictionary[Fit, tuple[NotIdentified, ...]] = WeakKeyDictionary()
# Text, table and JSON all need them, and their profiles take longer than the fit.


def profile(fit: Fit, parameter: str, values: Sequence[float]) -> pd.DataFrame:
    """The lowest objective with one parameter held at each of these values, all others fitted again.

    Returns:
        columns `value`, `objective`, `rise` (relative to the optimum) and `excess` (likelihood-ratio statistic, to be
        compared with 3.84 for 95 %; see `excess`).
    """
    j = fit.problem.constraint.names.index(parameter)
    index = fit.law.names.index(parameter)
    at = np.array([fit.law.parameters[index].internal(v) for v in values])
    best = _profile(fit, j, at)
    rise = best / max(fit.objective, 1e-300) - 1
    return pd.DataFrame(
        {"value": list(values), "objective": best, "rise": rise, "excess": [excess(fit, b) for b in best]}
    )


def excess(fit: Fit, objective: float) -> float:
    """Twice the log likelihood lost at a higher objective, from the independent runs (clusters).

    Residuals beyond delta count as Laplace (2 n ln ratio), those within as Gaussian (n ln ratio); the median residual
    decides. An objective of zero (data without noise) is taken as residuals of 1e-9.
    """
    units = len(set(fit.points.clusters))
    per_run = 2.0 if np.median(np.abs(fit.residuals)) > fit.problem.delta else 1.0
    least = 0.5e-18 * len(fit.points)
    return float(per_run * units * np.log(max(objective, least) / max(fit.objective, least)))


def not_identified(fit: Fit) -> tuple[NotIdentified, ...]:
    """Free parameters that the data don't identify, by profiles; remembered as long as the fit lives.

    A parameter isn't identified when the profile likelihood of the fit at the distance of `Parameter.reach` on either
    side, or at a bound before it, is within its 95 % limit: ten times more or less of a coefficient, half as much again
    of a floor, half more or less of an exponent. Nor is it when its column spans less than a factor of two, because
    then A and alpha are an extrapolation over many powers of ten whatever the residuals say. Its number, standard
    error and interval mean nothing and are shown nowhere, in text, table and JSON alike.
    """
    if fit not in _KNOWN:
        _KNOWN[fit] = _find_not_identified(fit, lambda objective: excess(fit, objective))
    return _KNOWN[fit]


def foretell_not_identified(fit: Fit, noise: float) -> tuple[NotIdentified, ...]:
    """The same of a fit to losses without noise, for runs whose ln loss will have this standard deviation.

    At the distance of `reach` the likelihood lost without noise is the median of that over noisy studies, so that each
    of these parameters will be called not identified in half of such studies or more.
    """
    return _find_not_identified(fit, lambda objective: 2 * objective / noise**2)


def _find_not_identified(fit: Fit, lost: Callable[[float], float]) -> tuple[NotIdentified, ...]:
    """`lost` is twice the log likelihood lost at an objective."""
    found: list[NotIdentified] = []
    limit = float(stats.chi2.ppf(0.95, 1))
    constraint = fit.problem.constraint
    narrow = find_narrow(fit)
    for j, name in enumerate(constraint.names):
        parameter = fit.law.parameters[fit.law.names.index(name)]
        here = fit.free[j]
        reach = parameter.reach(here)
        # Beyond a bound the law has no meaning, so the profile stops there.
        ends = np.clip([here - reach, here + reach], constraint.lower[j], constraint.upper[j])
        flat = []
        for end in ends:
            if end == here or lost(float(_profile(fit, j, np.array([end]))[0])) < limit:
                flat.append(end)
        if name in narrow:
            found.append(NotIdentified(name, narrow[name]))
        elif flat:
            shown = ", ".join(f"{np.exp(v) if parameter.log else v:.4g}" for v in flat)
            found.append(NotIdentified(name, f"the data fit as well with {name} = {shown} (95 % likelihood ratio)"))
    return tuple(found)


def influence(fit: Fit, top: int = 10) -> pd.DataFrame:
    """The points (or clusters) that move the fit most when left out, each by fitting again without it.

    Returns:
        columns `left_out`, `shift` (length of the move in units of the objective's curvature) and one per parameter:
        the change of its value, in its own units. Candidates are ranked by a one-step estimate first.
    """
    labels, names = pd.factorize(pd.Series(list(fit.points.clusters), dtype=object))
    if len(names) == len(fit.points):
        names = pd.Index(list(fit.points.rows))
    problem, base = fit.problem, fit.problem.sample
    curvature = problem.curvature(fit.free[None, :], base)
    _, derivatives = problem.law.log_loss(problem.constraint.full(fit.free[None, :]), fit.points.x)
    jacobian = problem.constraint.mix @ np.stack([np.broadcast_to(d, (1, len(fit.points)))[0] for d in derivatives])
    pull = np.clip(-fit.residuals, -problem.delta, problem.delta) * base.weights
    score = np.stack([np.bincount(labels, pull * row, len(names)) for row in jacobian], axis=1)
    step = score @ inverse(curvature)[0]
    order = np.argsort(-np.einsum("uj,jk,uk->u", step, curvature[0], step), kind="stable")[: max(top * 3, 30)]
    weights = np.where(labels[None, :] == order[:, None], 0.0, base.weights)
    moved = minimise(problem, np.repeat(fit.free[None, :], len(order), axis=0), Sample(weights, base.target)).free
    change = moved - fit.free
    size = np.sqrt(np.einsum("uj,jk,uk->u", change, curvature[0], change) / max(fit.objective, 1e-300))
    natural = fit.law.natural(problem.constraint.full(moved)) - fit.law.natural(fit.theta)
    frame = pd.DataFrame(natural, columns=list(fit.law.names))
    frame.insert(0, "shift", size)
    frame.insert(0, "left_out", [names[i] for i in order])
    return frame.sort_values("shift", ascending=False, kind="stable").head(top).reset_index(drop=True)


def find_narrow(fit: Fit) -> dict[str, str]:
    """Parameters that only a column spanning less than a factor of two could tell."""
    found: dict[str, str] = {}
    for column, names in fit.law.identified_by.items():
        values = fit.points.x[column]
        span = float(values.max() / values.min())
        if span < 2:
            why = f"{column} spans only a factor of {span:.3g} ({len(np.unique(values))} values)"
            found |= {n: f"{why}: {n} is an extrapolation" for n in names}
    return found


def _profile(fit: Fit, j: int, at: Array) -> Array:
    """Lowest objective with free parameter j held at each value (in fitted form)."""
    constraint = fit.problem.constraint
    rest = np.arange(len(constraint.names)) != j
    if not rest.any():
        return np.array([fit.problem.evaluate(np.array([[v]]), fit.problem.sample)[0][0] for v in at])
    curvature = fit.problem.curvature(fit.free[None, :], fit.problem.sample)[0]
    # Along the valley of a quadratic the others move by this much per unit of the one held.
    # A parameter without any effect has no curvature, and so no valley.
    with np.errstate(all="ignore"):
        slope = np.nan_to_num(-inverse(curvature[rest][:, rest][None])[0] @ curvature[rest, j], posinf=0.0, neginf=0.0)
    other = fit.solution.free[np.argsort(fit.solution.objective)[: fit.agreeing + 2]][-2:, rest]
    best = np.empty(len(at))
    last = dict.fromkeys((-1.0, 1.0), (fit.free[j], fit.free[rest]))
    # Outward from the optimum, each step beginning where the last one ended.
    for i in np.argsort(np.abs(at - fit.free[j]), kind="stable"):
        side = 1.0 if at[i] >= fit.free[j] else -1.0
        where, values = last[side]
        held = replace(
            constraint,
            mix=constraint.mix[rest],
            offset=constraint.offset + at[i] * constraint.mix[j],
            lower=constraint.lower[rest],
            upper=constraint.upper[rest],
            names=tuple(n for n, r in zip(constraint.names, rest) if r),
        )
        problem = Objective(fit.law, fit.points, fit.problem.delta, held)
        starts = np.concatenate([[values, values + slope * (at[i] - where)], other])
        solved = minimise(problem, starts, problem.sample, alike=True, rounds=3)
        k = int(np.argmin(solved.objective))
        best[i], last[side] = solved.objective[k], (at[i], solved.free[k])
    return best
