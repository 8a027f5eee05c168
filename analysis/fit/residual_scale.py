"""How the noise of runs changes with their loss: small models scatter more than large ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from pdstudy.analysis.fit.fit_result import Fit
from pdstudy.analysis.fit.minimise import inverse
from pdstudy.analysis.laws.base import Array

LEVEL = 0.05
"""Level of the test below which residuals are taken to scatter differently at different losses (no unit)."""


@dataclass(frozen=True)
class ResidualScale:
    """Scale of log residuals, relative to that in the middle of the runs: `exp(slope (ln loss - centre))`."""

    slope: float
    centre: float
    low: float
    high: float

    def at(self, log_loss: Array) -> Array:
        """Relative scale at predicted ln losses; beyond the runs that of the nearest one."""
        return np.exp(self.slope * (np.clip(log_loss, self.low, self.high) - self.centre))


def measure_scale(fit: Fit) -> ResidualScale:
    """The slope that maximises the likelihood of Laplace residuals, or none where a test does not see it.

    The test is Koenker's of |residual| against ln predicted loss: it holds whatever the tails are.
    """
    size = np.maximum(np.abs(fit.residuals), 1e-12)
    at = fit.points.log_loss - fit.residuals
    centre = float(at.mean())
    low, high = float(at.min()), float(at.max())
    spread = at - centre
    if not (high > low and np.ptp(size) > 0):
        return ResidualScale(0.0, centre, low, high)
    share = np.corrcoef(size, at)[0, 1] ** 2
    if stats.chi2.sf(len(size) * share, 1) > LEVEL:
        return ResidualScale(0.0, centre, low, high)
    reach = 3.0 / (high - low)  # a factor of e^3 over the range of losses is more than any table showed
    found = optimize.minimize_scalar(
        lambda slope: np.log(np.mean(size * np.exp(-slope * spread))), bounds=(-reach, reach), method="bounded"
    )
    return ResidualScale(float(found.x), centre, low, high)


def free_residuals(fit: Fit) -> Array:
    """Log residuals as large as errors of new runs: each over the root of what the fit left free, 1 - leverage."""
    _, derivatives = fit.law.log_loss(fit.theta[None, :], fit.points.x)
    jacobian = fit.problem.constraint.mix @ np.stack([np.broadcast_to(d, (1, len(fit.points)))[0] for d in derivatives])
    weighted = jacobian * fit.points.weights
    leverage = np.einsum("jn,jk,kn->n", jacobian, inverse((weighted @ jacobian.T)[None])[0], weighted)
    return fit.residuals / np.sqrt(np.clip(1 - leverage, 0.1, 1.0))
