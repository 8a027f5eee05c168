"""Fits of scaling laws: global search, bootstrap intervals, identifiability, hold-out.

Knows nothing of compute-optimal allocation (`scaling`) and draws nothing (`figures`, `tables`)."""

from pdstudy.analysis.fit.bootstrap import Bootstrap, bootstrap, interval
from pdstudy.analysis.fit.findings import as_data, parameter_frame, warnings
from pdstudy.analysis.fit.fit import DELTA, fit
from pdstudy.analysis.fit.fit_result import Fit, FitMinimum
from pdstudy.analysis.fit.holdout import HoldOut, akaike, hold_out, leave_one, select
from pdstudy.analysis.fit.identifiability import NotIdentified, influence, not_identified, profile
from pdstudy.analysis.fit.size_fit import size_fit

__all__ = [
    "DELTA",
    "Bootstrap",
    "Fit",
    "FitMinimum",
    "HoldOut",
    "NotIdentified",
    "akaike",
    "as_data",
    "bootstrap",
    "fit",
    "hold_out",
    "influence",
    "interval",
    "leave_one",
    "not_identified",
    "parameter_frame",
    "profile",
    "select",
    "size_fit",
    "warnings",
]
