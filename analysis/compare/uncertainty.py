"""Standard errors of a difference between two arms, over seeds and over the text, and the t intervals they make.

A difference of means over n seeds and B blocks of text has the variance s^2/n + t^2/B, where s^2 is that of the seeds'
differences (what seeds and text do together included) and t^2 what the blocks' differences have in common over seeds:
the components of a two-way table without replicates (Searle, Casella and McCulloch, Variance Components, 1992, ch. 4).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

BLOCKS = 32
"""Blocks of consecutive sequences of an evaluation, at most: documents run over several sequences, so that neighbours'
losses are not independent."""


@dataclass(frozen=True)
class Uncertainty:
    """Independent parts of a difference's standard error, in its unit, each with its degrees of freedom.

    With one part intervals and p values are Student's. With two, half-widths add in quadrature, each at the t quantile
    of its own degrees of freedom. That covers .95 to .98 at a nominal .95, where Satterthwaite's degrees of freedom, at
    the levels that a family needs, miss up to three times too often (n = 3; `tests.analysis.coverage_by_design`).
    """

    seeds: float
    seeds_dof: int
    text: float = 0.0
    text_dof: int = 0

    @property
    def error(self) -> float:
        """Standard error of the difference."""
        return math.hypot(self.seeds, self.text)

    def reach(self, alpha: float) -> float:
        """Half-width of the interval that misses the true difference with probability `alpha`."""
        seeds = self.seeds * -special.stdtrit(self.seeds_dof, alpha / 2)
        text = self.text * -special.stdtrit(self.text_dof, alpha / 2) if self.text else 0.0
        return math.hypot(seeds, text)

    def p(self, difference: float) -> float:
        """Two-sided p of no difference: the `alpha` whose interval ends at zero."""
        if not self.text:
            return float(2 * special.stdtr(self.seeds_dof, -abs(difference) / self.seeds))
        if difference == 0:
            return 1.0
        least = math.log(1e-15)
        if self.reach(math.exp(least)) < abs(difference):
            return math.exp(least)
        found = optimize.brentq(lambda x: self.reach(math.exp(x)) - abs(difference), least, 0.0, xtol=1e-12)
        return math.exp(float(found))

    def p_beyond(self, difference: float, margin: float) -> float:
        """One-sided p of a difference as large as `margin` or larger, in either direction: the larger of the two."""
        inside = margin - abs(difference)
        return self.p(inside) / 2 if inside > 0 else 1 - self.p(inside) / 2


def text_error(differences: Sequence[npt.NDArray[np.float64]]) -> tuple[float, int]:
    """Standard error of the mean over text, and its degrees of freedom, of differences by sequence [n seeds][Q].

    What is left of the blocks' mean square when seeds and text together (the residual) is taken off; 0 where that is
    more. Needs two seeds and two sequences; fewer give (0, 0).
    """
    length = min(map(len, differences))
    count = min(BLOCKS, length)
    if len(differences) < 2 or count < 2:
        return 0.0, 0
    parts = np.array_split(np.stack(differences), count, axis=1)
    table = np.stack([part.mean(axis=1) for part in parts], axis=1)  # [n, B]
    by_block = table.mean(axis=0)
    rest = table - table.mean(axis=1, keepdims=True) - by_block + table.mean()
    residual = float((rest**2).sum()) / ((len(table) - 1) * (count - 1))
    shared = float(by_block.var(ddof=1)) - residual / len(table)
    return math.sqrt(max(0.0, shared) / count), count - 1
