"""The interface of a scaling law: parameters with bounds, a log form with its gradient, and starting points."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Index = NDArray[np.integer]
Columns = Mapping[str, Array]


@dataclass(frozen=True)
class Parameter:
    """One parameter of a law.

    A parameter that is positive by its meaning (`log=True`: coefficients, floors, scales) is fitted as its natural
    logarithm: raw coefficients give a condition number of 3.5e11 and an optimiser that doesn't move them. `lower` and
    `upper` are in the parameter's own units; a fit that ends there is reported as being at a bound.
    """

    name: str
    latex: str
    log: bool = False
    lower: float = -np.inf
    upper: float = np.inf
    resolution: float = 0.0
    """Smallest distance in fitted form that the data must tell apart (0: the default of `reach`)."""

    def reach(self, value: float) -> float:
        """The distance from `value`, in fitted form, at which an identified parameter must fit worse.

        A factor of ten for what is fitted as a logarithm and half of the value otherwise, or `resolution`.
        """
        if self.log:
            return self.resolution or float(np.log(10.0))
        return max(0.5 * abs(value), self.resolution)

    def internal(self, value: float) -> float:
        """The fitted form of a value in its own units."""
        if self.log:
            return float(np.log(value)) if value > 0 else -np.inf
        return float(value)


def coefficient(name: str, latex: str | None = None) -> Parameter:
    """A positive coefficient, fitted as its logarithm; e^-30 to e^120 holds every published fit."""
    return Parameter(name, latex or name, log=True, lower=float(np.exp(-30)), upper=float(np.exp(120)))


def floor(name: str = "E", latex: str | None = None) -> Parameter:
    """An irreducible loss: as `coefficient`, but of use only where the data tell it apart from half as much again."""
    return replace(coefficient(name, latex), resolution=float(np.log(1.5)))


def exponent(name: str, latex: str | None = None) -> Parameter:
    """An exponent of a power law: positive (loss falls with scale) and at most 10."""
    return Parameter(name, latex or rf"\{name}", lower=1e-4, upper=10.0)


class Law(ABC):
    """A law that predicts the logarithm of a loss from columns of a table.

    To add one: a sum of power terms is one call of `SumOfPowers`; any other form gives the five attributes, `log_loss`
    and `starts` (some twelve lines; see `Kaplan`). `check_gradient` compares the derivatives with finite differences.
    """

    name: str
    """Name on the command line."""

    columns: tuple[str, ...]
    """The quantities it needs, such as N (parameters) and D (tokens); all positive."""

    parameters: tuple[Parameter, ...]

    formula: str
    """The law in LaTeX."""

    source: str
    """Who published it, with the equation."""

    identified_by: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    """Parameters that only the variation of a column identifies; they are flagged where that column hardly varies."""

    rugged: bool = False
    """Whether its surface has several basins, so that resamples are searched from more starts."""

    note: str = ""
    """A caveat that belongs beside any fit of it."""

    @abstractmethod
    def log_loss(self, theta: Array, x: Columns) -> tuple[Array, Sequence[Array]]:
        """ln of the predicted loss, and its derivative by each fitted parameter.

        `theta` is (S, k): S parameter vectors in fitted form. `x` maps each column to (n,), or to (S, n) where each
        vector has a design of its own; write `theta[:, j, None]` and both work. Returns (S, n) and k arrays of it.
        """

    @abstractmethod
    def starts(self, x: Columns, loss: Array) -> Array:
        """Where a search should begin, (G, k) in fitted form, from the data; never random."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters, in order."""
        return tuple(p.name for p in self.parameters)

    def bounds(self) -> tuple[Array, Array]:
        """Lower and upper bounds in fitted form, each (k,)."""
        low = [p.internal(p.lower) if np.isfinite(p.lower) or not p.log else -np.inf for p in self.parameters]
        return np.array(low), np.array([p.internal(p.upper) for p in self.parameters])

    def natural(self, theta: Array) -> Array:
        """Fitted parameters (..., k) in their own units."""
        logs = np.array([p.log for p in self.parameters])
        return np.where(logs, np.exp(np.where(logs, theta, 0.0)), theta)

    def internal(self, values: Mapping[str, float]) -> Array:
        """Values by name as fitted parameters (k,)."""
        missing = [n for n in self.names if n not in values]
        if missing:
            raise KeyError(f"{self.name} needs {', '.join(self.names)}; missing: {', '.join(missing)}")
        return np.array([p.internal(values[p.name]) for p in self.parameters])

    def predict(self, values: Mapping[str, float], x: Mapping[str, object]) -> Array:
        """Predicted loss at `x` with these parameters (in their own units)."""
        columns = {c: np.atleast_1d(np.asarray(x[c], dtype=np.float64)) for c in self.columns}
        return np.exp(self.log_loss(self.internal(values)[None, :], columns)[0][0])


def check_gradient(law: Law, theta: Array, x: Columns, step: float = 1e-6) -> float:
    """Largest difference between the law's derivatives and central differences, relative to the largest derivative."""
    _, derivatives = law.log_loss(theta, x)
    worst, size = 0.0, max(float(np.abs(d).max()) for d in derivatives)
    for j in range(theta.shape[1]):
        ahead, behind = theta.copy(), theta.copy()
        ahead[:, j] += step
        behind[:, j] -= step
        numeric = (law.log_loss(ahead, x)[0] - law.log_loss(behind, x)[0]) / (2 * step)
        worst = max(worst, float(np.abs(numeric - derivatives[j]).max()))
    return worst / size
