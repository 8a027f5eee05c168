"""Prices of sets of runs, of which those of one family share a trunk: with WSD, budgets are branches of one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pdstudy.analysis.laws.base import Array


@dataclass(frozen=True, eq=False)
class RunPrices:
    """Prices of candidates, (M,) each: FLOPs of their trunks from the start, and of all that is their own.

    Runs of one family (an integer) share trunks: each goes on from the longest one up to its own that is there.
    `there` has the trunks of finished runs by family, in FLOPs. A run that shares nothing has no trunk.
    """

    family: NDArray[np.int64]
    trunk: Array
    own: Array
    there: Mapping[int, Sequence[float]]

    @classmethod
    def apart(cls, flops: Array) -> RunPrices:
        """Prices of runs that share nothing."""
        return cls(np.arange(len(flops)), np.zeros(len(flops)), np.asarray(flops, dtype=float), {})

    @cached_property
    def _base(self) -> Array:
        """For each candidate the longest trunk of its family up to its own that is there, (M,)."""
        rows = zip(self.family.tolist(), self.trunk.tolist())
        return np.array([max((t for t in self.there.get(f, ()) if t <= own), default=0.0) for f, own in rows])

    @cached_property
    def _chain(self) -> NDArray[np.intp]:
        """For each candidate its chain: those that go on from the same trunk are on the way of the longest, (M,)."""
        return np.unique(np.stack([self.family, self._base], axis=1), axis=0, return_inverse=True)[1].reshape(-1)

    def _tops(self, chosen: Sequence[int]) -> Array:
        """FLOPs of each chain from its base to the longest trunk that is chosen."""
        tops = np.zeros(len(self.own))
        picked = list(chosen)
        np.maximum.at(tops, self._chain[picked], (self.trunk - self._base)[picked])
        return tops

    def marginal(self, chosen: Sequence[int]) -> Array:
        """Addition of each candidate to the price of those that are chosen, (M,)."""
        return np.maximum(self.trunk - self._base - self._tops(chosen)[self._chain], 0.0) + self.own

    def total(self, chosen: Sequence[int]) -> float:
        """FLOPs of a set of candidates."""
        return float(self._tops(chosen).sum() + self.own[list(chosen)].sum())
