"""Conclusions from laws and isoFLOP runs: best sizes per budget, allocations, multipliers, distil-or-train scenarios.

Fits no law itself (`fit`)."""

from pdstudy.analysis.scaling.allocation import Allocation, TableFlops, TrueFlops, allocate, hoffmann_optimum, six_n
from pdstudy.analysis.scaling.budget_minimum import BudgetMinimum, Method
from pdstudy.analysis.scaling.frontier import Frontier, exponents, frontier
from pdstudy.analysis.scaling.isoflop import IsoFlopFrontier, isoflop, methods_disagree, parabola_bias
from pdstudy.analysis.scaling.multiplier import Multiplier, multiplier
from pdstudy.analysis.scaling.scenarios import (
    Best,
    ComputeModel,
    Scenario,
    best_distilled,
    best_supervised,
    compare_scenarios,
    distil_or_train,
)

__all__ = [
    "Allocation",
    "Best",
    "BudgetMinimum",
    "ComputeModel",
    "Frontier",
    "IsoFlopFrontier",
    "Method",
    "Multiplier",
    "Scenario",
    "TableFlops",
    "TrueFlops",
    "allocate",
    "best_distilled",
    "best_supervised",
    "compare_scenarios",
    "distil_or_train",
    "exponents",
    "frontier",
    "hoffmann_optimum",
    "isoflop",
    "methods_disagree",
    "multiplier",
    "parabola_bias",
    "six_n",
]
