"""Uncertainty of a fit by resampling runs, with a search in every resample."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from pdstudy.analysis.errors import AnalysisError, TooFewRuns
from pdstudy.analysis.fit.fit_result import Fit
from pdstudy.analysis.fit.identifiability import find_narrow, not_identified
from pdstudy.analysis.fit.minimise import minimise
from pdstudy.analysis.fit.objective import Objective, Sample
from pdstudy.analysis.fit.residual_scale import free_residuals, measure_scale
from pdstudy.analysis.laws.base import Array, Index
from pdstudy.analysis.shown import Shown

_BLOCK = 100
# Resamples drawn by one generator, so that the first 1,000 of 4,000 are those of a bootstrap of 1,000.

SHARED_DRAW = 10
"""Resamples that share one draw of columns which are estimates themselves, one after another."""

Estimates = Callable[[np.random.Generator], Mapping[str, Array]]
"""Draws columns of the law that are estimates themselves, (n,) each, from their own uncertainty."""


DOUBTFUL = 0.05
"""Share of resamples without convergence above which intervals are doubtful: as much as a tail of theirs (no unit)."""

BASINS = 6
"""Points of the grid that each resample of a rugged surface is minimised from, beside the fit's minima."""


@dataclass(frozen=True)
class Bootstrap(Shown):
    """Resampled parameters of a fit.

    `theta` is (B, k) in fitted form. `failed` resamples didn't converge; they are counted, kept and shown, since
    dropping them would make intervals too narrow.
    """

    fit: Fit
    theta: Array
    objective: Array
    failed: int
    at_bound: int
    method: str
    units: int
    seed: int
    noise_scale: Array
    """The noise of the runs in each resample over its estimate (B,): of residuals, as few of them tell it."""

    @property
    def doubt(self) -> str:
        """Why the intervals are doubtful, as a sentence; empty where enough resamples converged."""
        share = self.failed / len(self.theta)
        if share <= DOUBTFUL:
            return ""
        return f"{share:.0%} of resamples did not converge: intervals of this law on these runs are doubtful"

    @property
    def draws(self) -> dict[str, Array]:
        """Resampled parameters by name, in their own units, each (B,)."""
        natural = self.fit.law.natural(self.theta)
        return {name: natural[:, j] for j, name in enumerate(self.fit.law.names)}

    def errors(self) -> dict[str, float]:
        """Standard error of each parameter in its own units; coefficients also as 'ln A', whose tails are lighter.

        At the noise as it was estimated: Student's t widens intervals, which quantiles are of, and no standard error.
        """
        widening = float(np.sqrt((self.noise_scale**2).mean()))
        found = {name: float(values.std(ddof=1)) / widening for name, values in self.draws.items()}
        for j, p in enumerate(self.fit.law.parameters):
            if p.log:
                found[f"ln {p.name}"] = float(self.theta[:, j].std(ddof=1)) / widening
        return found

    def intervals(self, level: float = 0.95) -> dict[str, tuple[float, float]]:
        """Percentile interval of each parameter."""
        return {name: interval(values, level) for name, values in self.draws.items()}

    def derived(self, quantity: Callable[[Mapping[str, Array]], Array], level: float = 0.95) -> tuple[float, float]:
        """Percentile interval of any function of the parameters (by name, each an array)."""
        return interval(np.asarray(quantity(self.draws)), level)

    def to_frame(self, level: float = 0.95) -> pd.DataFrame:
        """One row per parameter: `parameter`, `value`, `error`, `low`, `high`; NaN where it is not identified."""
        bounds, errors, best = self.intervals(level), self.errors(), self.fit.parameters
        unknown = {u.parameter for u in not_identified(self.fit)}
        nan = float("nan")
        rows = [
            (n, best[n], *((nan, nan, nan) if n in unknown else (errors[n], *bounds[n]))) for n in self.fit.law.names
        ]
        return pd.DataFrame(rows, columns=["parameter", "value", "error", "low", "high"])

    def band(self, x: Mapping[str, object], level: float = 0.95, *, prediction: bool = False) -> tuple[Array, Array]:
        """Lower and upper loss at `x`.

        The confidence band holds the law's curve; the prediction band (`prediction=True`) holds the loss of one more
        run, so it adds a resampled log residual to each draw.
        """
        law = self.fit.law
        columns = {c: np.atleast_1d(np.asarray(x[c], dtype=np.float64)) for c in law.columns}
        values = law.log_loss(self.theta, columns)[0]
        if prediction:
            # Residuals of small models are larger than those of large ones, where a test shows it.
            scale = measure_scale(self.fit)
            residuals = free_residuals(self.fit) / scale.at(self.fit.points.log_loss - self.fit.residuals)
            rng = np.random.default_rng([self.seed, len(residuals), 1])
            here = scale.at(law.log_loss(self.fit.theta[None, :], columns)[0])
            values = values + rng.choice(residuals, size=values.shape) * here * self.noise_scale[:, None]
        tail = (1 - level) / 2
        low, high = np.quantile(np.exp(values), [tail, 1 - tail], axis=0)
        return low, high


def interval(values: Array, level: float) -> tuple[float, float]:
    """Percentile interval of draws."""
    tail = (1 - level) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def bootstrap(
    fit: Fit, n: int = 4000, seed: int = 0, *, residual: bool = False, indices: Index | None = None,
    estimates: Estimates | None = None,
) -> Bootstrap:  # fmt: skip
    """Resample and fit again.

    Pairs by default: runs are drawn with replacement (whole clusters when the points have some), as weights on one
    design. `residual=True` keeps the design and resamples log residuals, widened by Student's t, whose degrees of
    freedom are those that the fit left: for small fixed designs. Each resample begins
    from every distinct minimum of the fit, or from a point of the grid where that is better.

    Args:
        n: number of resamples. seed: equal seeds give equal numbers. indices: (n, runs) resamples drawn by the caller,
            to repeat someone's published ones. estimates: draws the columns that are estimates themselves (a loss
            predicted by another law), one for every ten resamples; taken as exact they would narrow the intervals.

    Raises:
        TooFewRuns: fewer than 2k + 2 independent runs (clusters): percentiles would be far too narrow.
        AnalysisError: the fit failed, or n is below 100.
    """
    if n < 100 and indices is None:
        raise AnalysisError(f"{n} resamples can't give a percentile interval; take 1000 or more (4000 is usual)")
    labels = pd.factorize(pd.Series(list(fit.points.clusters), dtype=object))[0]
    units, k = int(labels.max()) + 1, fit.problem.size
    if units < 2 * k + 2:
        kind = "runs" if units == len(labels) else f"clusters (of {len(labels)} rows)"
        raise TooFewRuns(
            f"no intervals: {units} {kind} for {k} free parameters; at least {2 * k + 2} are needed. "
            "Add runs, fix or tie parameters, or report the fit without intervals"
        )
    free, objective, decrement, scales = [], [], [], []
    base = fit.problem.sample
    count = n if indices is None else len(indices)
    block = _BLOCK if estimates is None else SHARED_DRAW
    for first in range(0, count, block):
        many = min(block, count - first)
        drawn: Index
        if indices is not None:
            drawn = np.asarray(indices)[first : first + many]
        else:
            drawn = np.random.default_rng([seed, first // block]).integers(0, units, (block, units))[:many]
        scale = _draw_noise_scale(fit, [seed, first // block, 2], block)[:many] if residual else np.ones(many)
        sample = (
            _resample_residuals(fit, base, drawn, scale) if residual else _resample_pairs(base, drawn, labels, units)
        )
        problem = fit.problem
        if estimates is not None:
            x = {**fit.points.x, **estimates(np.random.default_rng([seed, first // block, 1]))}
            problem = replace(problem, points=replace(fit.points, x=x))
        solved = minimise_resamples(fit, problem, sample, many)
        free.append(solved[0])
        objective.append(solved[1])
        decrement.append(solved[2])
        scales.append(scale)
    found = np.concatenate(free)
    constraint = fit.problem.constraint
    hit = ((found <= constraint.lower) | (found >= constraint.upper)).any(axis=1)
    method = "residuals" if residual else ("pairs" if units == len(labels) else "clusters")
    method += ", estimated columns drawn anew" if estimates is not None else ""
    return Bootstrap(
        fit, constraint.full(found), np.concatenate(objective), int((np.concatenate(decrement) > 1e-5).sum()),
        int(hit.sum()), method, units, seed, np.concatenate(scales),
    )  # fmt: skip


def _resample_pairs(base: Sample, drawn: Index, labels: Index, units: int) -> Sample:
    """Resampled runs as weights: how often each was drawn."""
    offset = units * np.arange(len(drawn))[:, None]
    counts = np.bincount((drawn + offset).ravel(), minlength=units * len(drawn)).reshape(len(drawn), units)
    return Sample(counts[:, labels] * base.weights, base.target)


def _draw_noise_scale(fit: Fit, seed: list[int], many: int) -> Array:
    """True noise over that of the residuals, by their degrees of freedom: what makes normal draws Student's t."""
    dof = len(fit.points) - fit.problem.size
    return np.sqrt(dof / np.random.default_rng(seed).chisquare(dof, many))


def _resample_residuals(fit: Fit, base: Sample, drawn: Index, scale: Array) -> Sample:
    """The law's curve plus resampled residuals, blown up by the degrees of freedom that the fit used."""
    residuals = fit.residuals - fit.residuals.mean()
    residuals = residuals * np.sqrt(len(residuals) / (len(residuals) - fit.problem.size))
    return Sample(base.weights, base.target - fit.residuals + residuals[drawn % len(residuals)] * scale[:, None])


def minimise_resamples(fit: Fit, problem: Objective, sample: Sample, many: int) -> tuple[Array, Array, Array]:
    """The best minimum of each resample: from each distinct minimum of the fit, and from the grid where it is ahead.

    `problem` is the fit's, or that with columns drawn anew.
    """
    minima = _distinct_starts(fit)
    residuals = problem.residuals(fit.pool)
    if sample.target.ndim == 1:
        scores = problem.huber(residuals) @ np.broadcast_to(sample.weights, (many, residuals.shape[1])).T
    else:
        moved = sample.target - problem.sample.target
        scores = np.stack([problem.huber(residuals - shift) @ sample.weights for shift in moved], axis=1)
    ahead = scores.argmin(axis=0)
    best: tuple[Array, Array, Array] | None = None
    for start in minima:
        begin = np.repeat(start[None, :], many, axis=0)
        if best is None:
            # Where a point of the grid is better than every minimum, another basin may have opened: start there.
            other = scores.min(axis=0) < scores[: fit.polished].min(axis=0)
            begin[other] = fit.pool[ahead[other]]
        solution = minimise(problem, begin, sample)
        if best is None:
            best = (solution.free, solution.objective, solution.decrement)
            continue
        lower = solution.objective < best[1]
        for old, new in zip(best, (solution.free, solution.objective, solution.decrement)):
            old[lower] = new[lower]
    assert best is not None
    if fit.law.rugged or find_narrow(fit):
        for begin in _choose_basins(fit, scores):
            solution = minimise(problem, begin, sample)
            lower = solution.objective < best[1]
            for old, new in zip(best, (solution.free, solution.objective, solution.decrement)):
                old[lower] = new[lower]
    return best


def _choose_basins(fit: Fit, scores: Array) -> list[Array]:
    """Starts of each resample, (S, k) each: the best points of the grid that differ from one another.

    A point of the grid that is not minimised is no match for a minimum, though a lower one may lie below it.
    """
    points = fit.pool[fit.polished :]
    span = np.maximum(np.ptp(points, axis=0), 1e-12)
    chosen = np.empty((BASINS, scores.shape[1]), dtype=int)
    for s in range(scores.shape[1]):
        order = np.argsort(scores[fit.polished :, s], kind="stable")
        mine = [int(order[0])]
        for i in order[1:]:
            if len(mine) == BASINS:
                break
            if np.abs((points[mine] - points[i]) / span).max(axis=1).min() > 0.1:
                mine.append(int(i))
        chosen[:, s] = (mine * BASINS)[:BASINS]
    return [points[row] for row in chosen]


def _distinct_starts(fit: Fit) -> list[Array]:
    """Starting points of a resample: one per distinct minimum, at most four."""
    found = []
    for minimum in fit.minima[:4]:
        found.append(fit.problem.constraint.reduce(fit.law.internal(minimum.parameters)[None, :])[0])
    return found
