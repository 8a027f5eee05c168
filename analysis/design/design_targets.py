"""Quantities that a study is to tell: losses at a point, the best size at a budget, its exponent."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pdstudy.analysis.errors import AnalysisError, NoMinimum
from pdstudy.analysis.laws.base import Array, Columns, Law
from pdstudy.analysis.scaling.allocation import Flops, best_sizes, six_n

STEP = 1e-4
"""Step of the differences that give a target's gradient, in the fitted form of a parameter (no unit)."""


class DesignTarget(ABC):
    """A function of a law's parameters whose uncertainty is of interest."""

    logarithmic: bool = True
    """Whether errors are relative: `estimate` is the logarithm of the quantity."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The quantity in words."""

    @abstractmethod
    def estimate(self, law: Law, theta: Array) -> Array:
        """Its value, or the logarithm of that, for each parameter vector (S, k) in fitted form: (S,)."""

    def place(self, law: Law, theta: Array) -> Columns | None:
        """The columns at which the law's misfit would move it; None where it is no loss."""
        return None

    def value(self, estimate: float) -> float:
        """The quantity in its own units."""
        return float(np.exp(estimate)) if self.logarithmic else float(estimate)

    def gradient(self, law: Law, theta: Array) -> Array:
        """Derivatives of the estimate by the parameters (k,) in fitted form, by central differences: (k,)."""
        step = STEP * np.eye(len(theta))
        return (self.estimate(law, theta + step) - self.estimate(law, theta - step)) / (2 * STEP)


@dataclass(frozen=True)
class LossAt(DesignTarget):
    """The law's loss at one point, such as a size and a number of tokens."""

    at: Mapping[str, float]

    @property
    def name(self) -> str:
        return "loss at " + ", ".join(f"{c} {v:.3g}" for c, v in self.at.items())

    def estimate(self, law: Law, theta: Array) -> Array:
        missing = [c for c in law.columns if c not in self.at]
        if missing:
            raise AnalysisError(f"{self.name}: {law.name} needs {', '.join(law.columns)}; missing: {missing[0]}")
        return law.log_loss(theta, {c: np.array([float(self.at[c])]) for c in law.columns})[0][:, 0]

    def place(self, law: Law, theta: Array) -> Columns | None:
        return {c: np.array([float(self.at[c])]) for c in law.columns}


@dataclass(frozen=True)
class BestSize(DesignTarget):
    """N*, the size of the lowest loss at a budget of FLOPs."""

    budget: float
    flops: Flops = six_n

    @property
    def name(self) -> str:
        return f"N* at C {self.budget:.3g}"

    def estimate(self, law: Law, theta: Array) -> Array:
        ln_n, _, _ = best_sizes(law, theta, self.budget, self.flops)
        return ln_n


@dataclass(frozen=True)
class BestLoss(DesignTarget):
    """The lowest loss at a budget of FLOPs, at the best size."""

    budget: float
    flops: Flops = six_n

    @property
    def name(self) -> str:
        return f"lowest loss at C {self.budget:.3g}"

    def estimate(self, law: Law, theta: Array) -> Array:
        return best_sizes(law, theta, self.budget, self.flops)[1]

    def place(self, law: Law, theta: Array) -> Columns | None:
        n = np.exp(best_sizes(law, theta[None, :], self.budget, self.flops)[0])
        return {"N": n, "D": self.budget / self.flops(n)}


@dataclass(frozen=True)
class SizeExponent(DesignTarget):
    """a, the exponent of N* as a power of compute: beta / (alpha + beta), at 6 N FLOPs per token."""

    logarithmic = False

    @property
    def name(self) -> str:
        return "a, exponent of N*"

    def estimate(self, law: Law, theta: Array) -> Array:
        if not exponent_targets(law):
            raise AnalysisError(f"{law.name} has no exponents alpha and beta, whose ratio is that of N*")
        alpha, beta = (theta[:, law.names.index(name)] for name in ("alpha", "beta"))
        return beta / (alpha + beta)


def exponent_targets(law: Law) -> tuple[SizeExponent, ...]:
    """The exponent of N* where the law leaves it open; tied exponents fix it at 1/2."""
    return (SizeExponent(),) if {"alpha", "beta"} <= set(law.names) else ()


def usual_targets(law: Law, theta: Array, budget: float, flops: Flops) -> tuple[DesignTarget, ...]:
    """The lowest loss and N* at a budget, and the exponent of N* where the law leaves it open.

    Raises:
        NoMinimum: the law has no best size there.
    """
    return *optimum_targets(law, theta, budget, flops), *exponent_targets(law)


def optimum_targets(law: Law, theta: Array, budget: float, flops: Flops) -> tuple[BestLoss, BestSize]:
    """The lowest loss and N* at a budget.

    Raises:
        NoMinimum: the law has no best size there.
    """
    if not best_sizes(law, theta[None, :], budget, flops)[2][0]:
        raise NoMinimum(f"{law.name} has no best size at C = {budget:g} between 1e3 and 1e16 parameters")
    return BestLoss(budget, flops), BestSize(budget, flops)
