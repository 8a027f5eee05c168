"""One fit as a minimisation: Huber on log residuals, summed, over the free parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pdstudy.analysis.data.points import Points
from pdstudy.analysis.errors import AnalysisError
from pdstudy.analysis.laws.base import Array, Columns, Index, Law

CHUNK = 120_000
"""Most elements of one array in a batch: bounds memory, and keeps the working set in the processor's cache."""


@dataclass(frozen=True)
class Constraint:
    """Fixed and tied parameters: `theta = free @ mix + offset`, mix being (k_free, k)."""

    mix: Array
    offset: Array
    lower: Array
    upper: Array
    names: tuple[str, ...]

    @classmethod
    def make(cls, law: Law, fixed: Mapping[str, float], tied: Sequence[tuple[str, ...]]) -> Constraint:
        """The free parameters of a law.

        Raises:
            AnalysisError: a name the law hasn't, a parameter both fixed and tied, or nothing left to fit.
        """
        named = [*fixed, *(n for group in tied for n in group)]
        for name in named:
            if name not in law.names:
                raise AnalysisError(f"{law.name} has no parameter {name!r}; it has {', '.join(law.names)}")
            if named.count(name) > 1:
                raise AnalysisError(f"{name!r} is fixed or tied twice; name it once")
        low, high = law.bounds()
        leader = {name: group[0] for group in tied for name in group}
        for name, first in leader.items():
            if law.parameters[law.names.index(name)].log != law.parameters[law.names.index(first)].log:
                raise AnalysisError(f"{first!r} and {name!r} can't be tied: one is a coefficient, one an exponent")
        free = [n for n in law.names if n not in fixed and leader.get(n, n) == n]
        if not free:
            raise AnalysisError(f"every parameter of {law.name} is fixed; nothing is left to fit")
        mix, offset = np.zeros((len(free), len(law.names))), np.zeros(len(law.names))
        for j, name in enumerate(law.names):
            if name in fixed:
                offset[j] = law.parameters[j].internal(fixed[name])
                if not np.isfinite(offset[j]):
                    raise AnalysisError(f"{name} = {fixed[name]} can't be fixed there: it must be positive")
            else:
                mix[free.index(leader.get(name, name)), j] = 1.0
        index = [law.names.index(n) for n in free]
        return cls(mix, offset, low[index], high[index], tuple(free))

    @property
    def plain(self) -> bool:
        """Nothing is fixed or tied."""
        return self.mix.shape[0] == self.mix.shape[1]

    def full(self, free: Array) -> Array:
        """Free parameters (S, k_free) as all parameters (S, k)."""
        return free if self.plain else free @ self.mix + self.offset

    def reduce(self, theta: Array) -> Array:
        """All parameters (S, k) as free ones; tied ones take their mean."""
        return theta if self.plain else (theta @ self.mix.T) / self.mix.sum(axis=1)


@dataclass(frozen=True)
class Sample:
    """Weights and targets (ln loss) of a fit, each (n,) for all rows of a batch or (S, n), one per row.

    `columns` are those of the law that differ between rows, (S, n) each; the others are the points'.
    """

    weights: Array
    target: Array
    columns: Columns = field(default_factory=dict)

    def take(self, rows: Index | slice) -> Sample:
        """The sample for these rows of a batch."""
        return Sample(
            self.weights if self.weights.ndim == 1 else self.weights[rows],
            self.target if self.target.ndim == 1 else self.target[rows],
            {c: v[rows] for c, v in self.columns.items()},
        )


@dataclass(frozen=True)
class Objective:
    """Data, law, Huber threshold and constraint. `delta` is in log-loss units (nats per nat: relative error)."""

    law: Law
    points: Points
    delta: float
    constraint: Constraint

    @property
    def size(self) -> int:
        """Number of free parameters."""
        return len(self.constraint.names)

    @property
    def sample(self) -> Sample:
        """The points as they are."""
        return Sample(self.points.weights, self.points.log_loss)

    def slices(self, rows: int) -> Iterator[slice]:
        """Ranges of parameter vectors that are evaluated together."""
        step = max(1, CHUNK // len(self.points.loss))
        return (slice(i, min(i + step, rows)) for i in range(0, rows, step))

    def residuals(self, free: Array) -> Array:
        """ln predicted - ln measured loss, (S, n)."""
        with np.errstate(all="ignore"):
            value, _ = self.law.log_loss(self.constraint.full(free), self.points.x)
        return np.nan_to_num(value - self.points.log_loss, nan=1e6, posinf=1e6, neginf=-1e6)

    def huber(self, residuals: Array) -> Array:
        """r^2/2 within delta, delta (|r| - delta/2) beyond."""
        clipped = np.clip(residuals, -self.delta, self.delta)
        return clipped * (residuals - 0.5 * clipped)

    def evaluate(self, free: Array, sample: Sample) -> tuple[Array, Array]:
        """Objective (S,) and gradient (S, k_free)."""
        with np.errstate(all="ignore"):
            value, derivatives = self.law.log_loss(self.constraint.full(free), {**self.points.x, **sample.columns})
            residual = value - sample.target
            pull = np.clip(residual, -self.delta, self.delta)
            residual -= 0.5 * pull
            pull *= sample.weights
            # einsum and not a matrix product: BLAS sums in an order that depends on the batch, einsum row by row.
            objective = np.einsum("sn,sn->s", pull, residual)
            gradient = np.stack([np.einsum("sn,sn->s", pull, d) for d in derivatives], axis=1)
        if not self.constraint.plain:
            gradient = gradient @ self.constraint.mix.T
        bad = ~np.isfinite(objective) | ~np.isfinite(gradient).all(axis=1)
        objective[bad], gradient[bad] = np.inf, 0.0
        return objective, gradient

    def curvature(self, free: Array, sample: Sample) -> Array:
        """Gauss-Newton Hessian with the weights of iterated least squares, (S, k_free, k_free).

        Pure second derivatives would see only the points within delta (16 % of Chinchilla's at 1e-3).
        """
        with np.errstate(all="ignore"):
            value, derivatives = self.law.log_loss(self.constraint.full(free), {**self.points.x, **sample.columns})
            residual = np.abs(value - sample.target)
            share = sample.weights * np.minimum(1.0, self.delta / np.maximum(residual, 1e-300))
            jacobian = np.stack([np.broadcast_to(d, residual.shape) for d in derivatives], axis=1)
        jacobian = np.nan_to_num(jacobian, nan=0.0, posinf=0.0, neginf=0.0)
        if not self.constraint.plain:
            jacobian = np.einsum("jk,skn->sjn", self.constraint.mix, jacobian)
        return np.einsum("sjn,skn->sjk", jacobian * np.nan_to_num(share)[:, None, :], jacobian)
