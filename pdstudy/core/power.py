"""Power of a comparison paired by seed: the smallest difference that seeds show, and the seeds that a difference needs.

The two-sided t test of a mean difference has power 1 - F(t; n - 1, d sqrt(n) / sd), F the noncentral t distribution and
t the test's quantile (Cohen 1988, ch. 2). Over several comparisons the level is that of Holm's first step.
"""

from __future__ import annotations

import math

POWER = 0.8
"""Chance of a verdict where there is the difference."""


LEVEL = 0.05
"""Chance of some false verdict where there is none, over all comparisons."""


MOST_SEEDS = 1000
"""Seeds beyond which nobody goes."""


def smallest_effect(sd: float, seeds: int, comparisons: int = 1) -> float:
    """The smallest true difference that `seeds` seeds show with a chance of `POWER`, in the unit of `sd`, the standard
    deviation of paired differences over seeds; infinite for one seed."""
    from scipy import special  # here: the command line starts without it

    if seeds < 2:
        return math.inf
    quantile = -special.stdtrit(seeds - 1, LEVEL / comparisons / 2)
    return float(special.nctdtrinc(seeds - 1, 1 - POWER, quantile)) * sd / math.sqrt(seeds)


def seeds_needed(effect: float, sd: float, comparisons: int = 1) -> int | None:
    """The fewest seeds that show a difference of `effect`; None beyond `MOST_SEEDS`."""
    fitting = (n for n in range(2, MOST_SEEDS + 1) if smallest_effect(sd, n, comparisons) <= effect)
    return next(fitting, None)
