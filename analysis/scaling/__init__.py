"""Conclusions from laws and isoFLOP runs: best sizes per budget, allocations, multipliers, distil-or-train scenarios.

Fits no law itself (`fit`)."""

from pdstudy.analysis.scaling.allocation import Allocation, TableFlops, TrueFlops, allocate, hoffmann_optimum, six_n
from pdstudy.analysis.scaling.budget_minimum import BudgetMinimum, Method
from pdstudy.analysis.scaling.compute_optimal import OptimalPath, compute_optimal
from pdstudy.analysis.scaling.crossover import BestTeacher, Estimate, best_teacher, crossover
from pdstudy.analysis.scaling.frontier import Frontier, exponents, frontier
from pdstudy.analysis.scaling.isoflop import IsoFlopFrontier, isoflop, methods_disagree, parabola_bias
from pdstudy.analysis.scaling.isoflop_profiles import at_budgets
from pdstudy.analysis.scaling.multiplier import Multiplier, multiplier
from pdstudy.analysis.scaling.rate_transfer import RateTransfer, best_rates
from pdstudy.analysis.scaling.scenarios import (
    Best,
    ComputeModel,
    Scenario,
    best_distilled,
    best_supervised,
    compare_scenarios,
    distil_or_train,
)
from pdstudy.analysis.scaling.spending import spend

__all__ = [
    "Allocation",
    "Best",
    "BestTeacher",
    "BudgetMinimum",
    "ComputeModel",
    "Estimate",
    "Frontier",
    "IsoFlopFrontier",
    "Method",
    "Multiplier",
    "OptimalPath",
    "RateTransfer",
    "Scenario",
    "TableFlops",
    "TrueFlops",
    "allocate",
    "at_budgets",
    "best_distilled",
    "best_rates",
    "best_supervised",
    "best_teacher",
    "compare_scenarios",
    "compute_optimal",
    "crossover",
    "distil_or_train",
    "exponents",
    "frontier",
    "hoffmann_optimum",
    "isoflop",
    "methods_disagree",
    "multiplier",
    "parabola_bias",
    "six_n",
    "spend",
]
