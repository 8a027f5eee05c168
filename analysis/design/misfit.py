"""A law's smooth misfit: a Gaussian process over the logarithms of its columns.

No law holds exactly, and errors that nearby runs share (of a rate tuned per size, say) do not average out. With a
misfit, runs near a target tell more of it than those far away, predictions follow the runs near them, and intervals
hold where the law alone would be too sure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pdstudy.analysis.laws.base import Array, Columns

ANCHORS = 80
"""Places that carry the misfit, at most."""


def correlation(one: Array, other: Array, length: float) -> Array:
    """Squared-exponential correlation of places (n, c) and (m, c), (n, m)."""
    return np.asarray(np.exp(-0.5 * ((one[:, None] - other[None]) ** 2).sum(axis=-1) / length**2))


@dataclass(frozen=True, eq=False)
class Misfit:
    """A Gaussian process of standard deviation `size` (of ln loss) and correlation `length` over standardised ln
    columns, carried by anchors."""

    centre: Array
    scale: Array
    anchors: Array
    size: float
    length: float

    @classmethod
    def over(cls, places: Sequence[Columns], size: float, length: float) -> Misfit:
        """A misfit that matters at these places: its anchors are those of them that are far from one another."""
        everywhere = np.concatenate([_logs(x) for x in places])
        centre, scale = everywhere.mean(axis=0), np.maximum(everywhere.std(axis=0), 1e-9)
        standard = (everywhere - centre) / scale
        chosen = [0]
        distance = ((standard - standard[0]) ** 2).sum(axis=1)
        while len(chosen) < min(ANCHORS, len(standard)) and distance.max() > 1e-6:
            chosen.append(int(np.argmax(distance)))
            distance = np.minimum(distance, ((standard - standard[chosen[-1]]) ** 2).sum(axis=1))
        return cls(centre, scale, standard[chosen], size, length)

    def places(self, x: Columns) -> Array:
        """Standardised logarithms of the columns, (n, c)."""
        return np.asarray((_logs(x) - self.centre) / self.scale)

    def features(self, x: Columns) -> Array:
        """Functions whose sum with standard normal weights is the process at `x`, (n, B)."""
        values, vectors = np.linalg.eigh(correlation(self.anchors, self.anchors, self.length))
        kept = values > 1e-4 * values[-1]
        root = vectors[:, kept] / np.sqrt(values[kept])
        return np.asarray(self.size * correlation(self.places(x), self.anchors, self.length) @ root)


def _logs(x: Columns) -> Array:
    return np.log(np.stack(list(x.values()), axis=1))
