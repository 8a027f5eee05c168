"""Designs of studies: what runs will tell about a law before they are made, and which to make next.

Fits nothing but simulated losses (`fit`); prices are the caller's."""

from pdstudy.analysis.design.choose_runs import RunChoice, choose_runs
from pdstudy.analysis.design.design_targets import BestLoss, BestSize, DesignTarget, LossAt, SizeExponent, usual_targets
from pdstudy.analysis.design.information import Posterior, assumed, fitted, huber_inflation, weak_prior
from pdstudy.analysis.design.run_pool import Design, NextRuns, RunPool, TargetInterval, better_designs, next_runs
from pdstudy.analysis.design.run_prices import RunPrices
from pdstudy.analysis.design.simulate import Simulation, StudySpread, simulate
from pdstudy.analysis.design.taught_study import TaughtStudy, assumed_study, foretell_unknown, simulate_study
from pdstudy.analysis.design.taught_targets import BestTeacherLoss, Crossover

__all__ = [
    "BestLoss",
    "BestSize",
    "BestTeacherLoss",
    "Crossover",
    "Design",
    "DesignTarget",
    "LossAt",
    "NextRuns",
    "Posterior",
    "RunChoice",
    "RunPool",
    "RunPrices",
    "Simulation",
    "SizeExponent",
    "StudySpread",
    "TargetInterval",
    "TaughtStudy",
    "assumed",
    "assumed_study",
    "better_designs",
    "choose_runs",
    "fitted",
    "foretell_unknown",
    "huber_inflation",
    "next_runs",
    "simulate",
    "simulate_study",
    "usual_targets",
    "weak_prior",
]
