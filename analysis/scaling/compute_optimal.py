"""Compute-optimal size and tokens from a law and, beside it, from profiles at equal compute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pdstudy.analysis.errors import AnalysisError
from pdstudy.analysis.fit.bootstrap import interval
from pdstudy.analysis.fit.joint_fit import JointFit
from pdstudy.analysis.scaling.allocation import Allocation, TableFlops, allocate, best_sizes
from pdstudy.analysis.scaling.isoflop import IsoFlopFrontier, isoflop
from pdstudy.analysis.scaling.isoflop_profiles import at_budgets
from pdstudy.analysis.shown import Shown

PUBLISHED = (
    ("Kaplan et al. 2020", 0.73, "non-embedding N, C = 6 N D"),
    ("Hoffmann et al. 2022, approach 1", 0.50, "envelope of training curves"),
    ("Hoffmann et al. 2022, approach 2", 0.49, "isoFLOP profiles"),
    ("Hoffmann et al. 2022, approach 3", 0.46, "their fit of the law"),
    ("Besiroglu et al. 2024", 0.513, "the law fitted again to their runs"),
    ("Llama 3, 2024", 0.47, "D* = 0.29 C^0.53, C = 6 N D"),
)
"""Exponents a of N* ~ C^a as published: whose, value, how."""


@dataclass(frozen=True)
class Exponent:
    """The exponent of N* or D* against compute by one method, with its 95 % interval (NaN without)."""

    method: str
    quantity: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class OptimalPath(Shown):
    """N* and D* over budgets by a law (`allocation`) and by profiles, None where these have no frontier (`lacking` says
    why), with the exponents of each over the same budgets."""

    allocation: Allocation
    profiles: IsoFlopFrontier | None
    lacking: str
    exponents: tuple[Exponent, ...]


def compute_optimal(joint: JointFit, table: pd.DataFrame, budgets: Sequence[float] = ()) -> OptimalPath:
    """The best size and tokens at each budget, FLOPs counted as in the table of runs (N, D, C, loss).

    Without budgets they are those of the profiles, or a grid of factor two over the runs.

    Raises:
        NoMinimum: the law has no best size.
    """
    flops = TableFlops.measure(*(table[c].to_numpy(dtype=float) for c in ("N", "D", "C")))
    profiles, lacking = None, ""
    wanted = list(budgets)
    try:
        rows = at_budgets(table, budgets)
        wanted = wanted or sorted(rows["C"].unique())
        profiles = isoflop(rows, tokens="D")
    except AnalysisError as error:
        lacking = str(error)
    wanted = wanted or list(np.geomspace(table["C"].min(), table["C"].max(), 6))
    plan = allocate(joint.fit, wanted, bootstrap=joint.bootstrap, flops=flops)
    found = _law_exponents(joint, flops, min(wanted), max(wanted))
    if profiles:
        for quantity, line in (("N*", profiles.size), ("D*", profiles.tokens)):
            found.append(Exponent(f"profiles ({profiles.method.value})", quantity, line.exponent, *line.interval()))
    return OptimalPath(plan, profiles, lacking, tuple(found))


def _law_exponents(joint: JointFit, flops: TableFlops, low: float, high: float) -> list[Exponent]:
    """Slopes of ln N* and ln D* between two budgets, of the law and of its resamples."""
    high = max(high, 1.01 * low)
    law, best = joint.fit.law, joint.fit.theta[None, :]
    theta = np.concatenate([best, joint.bootstrap.theta]) if joint.bootstrap else best
    ends = [best_sizes(law, theta, budget, flops)[0] for budget in (low, high)]
    tokens = [np.log(budget) - np.log(flops(np.exp(n))) for budget, n in zip((low, high), ends)]
    found = []
    for quantity, (first, last) in (("N*", ends), ("D*", tokens)):
        slopes = (last - first) / np.log(high / low)
        bounds = interval(slopes[1:], 0.95) if joint.bootstrap else (float("nan"), float("nan"))
        found.append(Exponent(f"law ({law.name})", quantity, float(slopes[0]), *bounds))
    return found
