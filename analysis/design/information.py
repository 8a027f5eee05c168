"""Fisher information of runs about a law's parameters: standard errors to first order, and what stays unknown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from pdstudy.analysis.design.design_targets import DesignTarget
from pdstudy.analysis.design.misfit import Misfit
from pdstudy.analysis.errors import AnalysisError
from pdstudy.analysis.fit.fit_result import Fit
from pdstudy.analysis.fit.joint_fit import STEADY
from pdstudy.analysis.laws.base import Array, Columns, Law


def jacobian(law: Law, theta: Array, x: Columns) -> Array:
    """Derivatives of ln loss at `x` by the parameters (k,) in fitted form, (n, k)."""
    value, derivatives = law.log_loss(theta[None, :], x)
    return np.stack([np.broadcast_to(d, value.shape)[0] for d in derivatives], axis=1)


def huber_inflation(threshold: float) -> float:
    """Variance of Huber's estimator relative to least squares under Gaussian noise; pi/2 for a tiny threshold.

    `threshold` is delta over the noise's standard deviation (Huber 1964, eq. 18 of the asymptotic variance).
    """
    inside = 2 * stats.norm.cdf(threshold) - 1
    tails = 2 * threshold**2 * stats.norm.sf(threshold)
    return float((inside - 2 * threshold * stats.norm.pdf(threshold) + tails) / inside**2)


@dataclass(frozen=True, eq=False)
class Posterior:
    """A law's parameters as runs leave them: Gaussian in fitted form about `theta` (k,).

    `precision` is the inverse covariance (k, k), `noise` the standard deviation of ln loss of one run, `dof` the
    degrees of freedom behind that (infinite where it is assumed), `threshold` Huber's in the fits, over the noise.
    With a misfit of the law `precision` is that of the parameters and the misfit's weights together, (k + B, k + B),
    and `weights` (B,) are the means of those.
    """

    law: Law
    theta: Array
    precision: Array
    noise: float
    dof: float = np.inf
    threshold: float = STEADY
    misfit: Misfit | None = None
    weights: Array | None = None

    @property
    def covariance(self) -> Array:
        """Covariance of the parameters (and of the misfit's weights)."""
        return np.asarray(np.linalg.inv(self.precision), dtype=np.float64)

    def scaled(self, x: Columns) -> Array:
        """The jacobian at `x` over the noise: squares of its rows add up to precision, (n, k)."""
        rows = self._extended(jacobian(self.law, self.theta, x), x)
        return rows / (self.noise * huber_inflation(self.threshold) ** 0.5)

    def _extended(self, rows: Array, x: Columns | None) -> Array:
        """Derivatives by the parameters (n, k) with those by the misfit's weights, none where there is no place `x`."""
        if self.misfit is None or self.weights is None:
            return rows
        more = np.zeros((len(rows), len(self.weights)))
        if x is not None:
            more = self.misfit.features({c: x[c] for c in self.law.columns})
        return np.concatenate([rows, more], axis=1)

    def slopes(self, targets: Sequence[DesignTarget]) -> Array:
        """Gradients of targets, (T, k); with those by the misfit's weights)."""
        found = []
        for target in targets:
            row = target.gradient(self.law, self.theta)[None, :]
            found.append(self._extended(row, target.place(self.law, self.theta))[0])
        return np.stack(found)

    def estimate(self, target: DesignTarget) -> float:
        """A target's most probable value, or the logarithm of that, the misfit at its place included."""
        law_alone = float(target.estimate(self.law, self.theta[None, :])[0])
        place = target.place(self.law, self.theta)
        if self.misfit is None or self.weights is None or place is None:
            return law_alone
        return law_alone + float(self.misfit.features(place)[0] @ self.weights)

    def after(self, x: Columns) -> Posterior:
        """The parameters as further runs at `x` would leave them, whatever their losses will be."""
        rows = self.scaled(x)
        return replace(self, precision=self.precision + rows.T @ rows)

    def error(self, target: DesignTarget) -> float:
        """Standard error of a target's estimate (relative where that is a logarithm)."""
        (slope,) = self.slopes([target])
        return float(np.sqrt(slope @ self.covariance @ slope))

    def interval(self, target: DesignTarget, level: float = 0.95) -> tuple[float, float, float]:
        """The target, and the ends of its interval, in its own units."""
        middle = self.estimate(target)
        width = float(stats.t.ppf(0.5 + level / 2, self.dof)) * self.error(target)
        return target.value(middle), target.value(middle - width), target.value(middle + width)

    def unknown(self) -> tuple[str, ...]:
        """Parameters whose 95 % intervals reach as far as `Parameter.reach`: a fit will call them not identified."""
        width = 1.96 * np.sqrt(np.diag(self.covariance))[: len(self.theta)]
        own = self.law.natural(self.theta)
        return tuple(p.name for p, w, v in zip(self.law.parameters, width, own) if w > p.reach(float(v)))


def weak_prior(law: Law, theta: Array) -> Array:
    """Precision of next to no knowledge about the parameters, (k, k): a standard deviation of `Parameter.reach`.

    It bounds what runs leave open, and hardly moves what they tell.
    """
    reach = [p.reach(float(v)) for p, v in zip(law.parameters, law.natural(theta))]
    return np.diag(1.0 / np.maximum(reach, 1e-3) ** 2)


def assumed(law: Law, theta: Array, x: Columns, noise: float, threshold: float = STEADY) -> Posterior:
    """The parameters as runs at `x` would leave them if the law held with `theta` and this noise of ln loss."""
    if not 0 < noise < 1:
        raise AnalysisError(f"the noise of ln loss is {noise:g}; it must be above 0 and below 1 (.003 is 0.3 %)")
    return Posterior(law, theta, weak_prior(law, theta), noise, threshold=threshold).after(x)


def fitted(fit: Fit) -> Posterior:
    """The parameters as a fit leaves them; the noise is that of its residuals.

    Raises:
        AnalysisError: the fit failed, fixes or ties parameters, or has no residual to tell the noise.
    """
    law, size, runs = fit.law, fit.problem.size, len(fit.points)
    if not fit.problem.constraint.plain:
        raise AnalysisError(f"{law.name} was fitted with fixed or tied parameters; fit it without for a design")
    theta = fit.theta
    noise = float(np.sqrt(np.sum(fit.residuals**2) / (runs - size)))
    if not noise > 1e-9:
        raise AnalysisError(f"{law.name} leaves no residuals on {runs} runs; their noise is not known")
    start = Posterior(law, theta, weak_prior(law, theta), noise, runs - size, fit.problem.delta / noise)
    return start.after(fit.points.x)
