"""Searches over spaces of runs: declared beside studies, carried out by the same plans, workers and workspace.

A file that declares a search needs the names below, whose import does not import Optuna. Carrying one out is
`pdstudy search`; it trains nothing by itself.
"""

from __future__ import annotations

from pdstudy.search.objectives import AtMost, Calibration, Compute, Loss, SecondsPerToken
from pdstudy.search.search import Search
from pdstudy.search.space import Choice, Integer, Level, Log, Simplex, Uniform
from pdstudy.search.strategy import GP, TPE, Final, Halving, Random

__all__ = [
    "GP",
    "TPE",
    "AtMost",
    "Calibration",
    "Choice",
    "Compute",
    "Final",
    "Halving",
    "Integer",
    "Level",
    "Log",
    "Loss",
    "Random",
    "Search",
    "SecondsPerToken",
    "Simplex",
    "Uniform",
]
