"""Simulated studies: losses drawn from an assumed law at a design's runs, and the law fitted to each of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pdstudy.analysis.data.points import Points
from pdstudy.analysis.design.design_targets import DesignTarget
from pdstudy.analysis.errors import AnalysisError
from pdstudy.analysis.fit.bootstrap import minimise_resamples
from pdstudy.analysis.fit.fit import fit
from pdstudy.analysis.fit.fit_result import Fit
from pdstudy.analysis.fit.joint_fit import STEADY
from pdstudy.analysis.fit.objective import Sample
from pdstudy.analysis.laws.base import Array, Columns, Law

_BLOCK = 250
# Studies drawn by one generator, so that the first 250 of 1,000 are those of a simulation of 250.

UNFINISHED = 1e-5
"""Relative decrease left of an objective above which a fit did not converge (no unit)."""


@dataclass(frozen=True)
class StudySpread:
    """A quantity over simulated studies: its true value, standard deviation with Monte Carlo error (`relative` ones
    where the estimate is a logarithm), and the ends of the range that holds 95 % of the studies, in its own units."""

    name: str
    relative: bool
    value: float
    error: float
    monte_carlo: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Simulation:
    """Refitted parameters of simulated studies: `theta` (B, k) in fitted form, the true ones `truth` (k,).

    `failed` studies have a fit that did not converge; they are counted and kept.
    """

    law: Law
    truth: Array
    theta: Array
    failed: int

    def parameter(self, name: str) -> StudySpread:
        """The spread of one parameter, in its own units."""
        j = self.law.names.index(name)
        values = self.law.natural(self.theta)[:, j]
        return _spread(name, False, float(self.law.natural(self.truth)[j]), values, values)

    def target(self, target: DesignTarget) -> StudySpread:
        """The spread of a target."""
        estimates = target.estimate(self.law, self.theta)
        true = target.value(float(target.estimate(self.law, self.truth[None, :])[0]))
        return _spread(
            target.name, target.logarithmic, true, estimates, np.exp(estimates) if target.logarithmic else estimates
        )

    def unknown(self) -> tuple[str, ...]:
        """Parameters that 95 % of the studies don't find within `Parameter.reach`: not identified."""
        own = self.law.natural(self.truth)
        far = np.quantile(np.abs(self.theta - self.truth), 0.95, axis=0)
        return tuple(p.name for p, f, v in zip(self.law.parameters, far, own) if f > p.reach(float(v)))


def simulate(
    law: Law, theta: Array, x: Columns, noise: float, *, draws: int = 1000, seed: int = 0, threshold: float = STEADY
) -> Simulation:
    """Draw losses at the runs `x` from the law with `theta` (k,) and Gaussian noise of ln loss, and fit each anew.

    Every fit is the package's own, with its global search; the first of a thousand are those of a hundred.

    Raises:
        AnalysisError: too few runs for the law, or fewer than 100 draws.
    """
    base = fit_exact(law, theta, x, threshold * noise)
    found, left = [], []
    for errors in draw_errors(len(base.points), noise, draws, seed):
        refitted, decrement = refit(base, Sample(base.problem.sample.weights, base.problem.sample.target + errors))
        found.append(refitted)
        left.append(decrement)
    return Simulation(law, theta, np.concatenate(found), int((np.concatenate(left) > UNFINISHED).sum()))


def draw_errors(runs: int, noise: float, draws: int, seed: int) -> Iterator[Array]:
    """Errors of ln loss of so many simulated studies, in blocks of (b, runs). Raises `AnalysisError` below 100."""
    if draws < 100:
        raise AnalysisError(f"{draws} simulated studies can't tell a standard deviation; take 100 or more")
    for block in range(0, draws, _BLOCK):
        many = min(_BLOCK, draws - block)
        yield noise * np.random.default_rng([seed, block]).standard_normal((_BLOCK, runs))[:many]


def fit_exact(law: Law, theta: Array, x: Columns, delta: float) -> Fit:
    """The fit of losses without noise at the runs `x`, from which those of simulated studies begin."""
    exact = np.exp(law.log_loss(theta[None, :], x)[0][0])
    rows = tuple(range(len(exact)))
    columns = {c: np.asarray(x[c], dtype=np.float64) for c in law.columns}
    return fit(Points(columns, exact, np.ones(len(exact)), rows, rows), law, delta=delta)


def refit(base: Fit, sample: Sample) -> tuple[Array, Array]:
    """The parameters (b, k) of each row of a sample, and what its fit still had to gain (b,)."""
    free, _, decrement = minimise_resamples(base, base.problem, sample, len(sample.target))
    return base.problem.constraint.full(free), decrement


def _spread(name: str, relative: bool, true: float, estimates: Array, own: Array) -> StudySpread:
    """The standard error of a standard deviation follows from the fourth moment: tails of fits are heavy."""
    error = float(estimates.std(ddof=1))
    fourth = float(np.mean((estimates - estimates.mean()) ** 4)) / max(error, 1e-75) ** 4
    monte_carlo = 0.5 * error * np.sqrt(max(fourth - 1, 0.0) / len(estimates))
    low, high = np.quantile(own, [0.025, 0.975])
    return StudySpread(name, relative, true, error, float(monte_carlo), float(low), float(high))
