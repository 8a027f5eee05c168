"""Fits of scaling laws: global search, bootstrap intervals, identifiability, hold-out.

Knows nothing of compute-optimal allocation (`scaling`) and draws nothing (`figures`, `tables`)."""

from pdstudy.analysis.fit.bootstrap import Bootstrap, bootstrap, interval
from pdstudy.analysis.fit.choice import LawChoice, choose_law, largest_runs
from pdstudy.analysis.fit.distilled_fit import DistilledFit, distilled_fit
from pdstudy.analysis.fit.findings import as_data, parameter_frame, warnings
from pdstudy.analysis.fit.fit import DELTA, fit
from pdstudy.analysis.fit.fit_result import Fit, FitMinimum
from pdstudy.analysis.fit.given_law import GivenLaw, judge_law
from pdstudy.analysis.fit.holdout import HeldOutErrors, akaike, hold_out, leave_one, select
from pdstudy.analysis.fit.identifiability import NotIdentified, influence, not_identified, profile
from pdstudy.analysis.fit.joint_fit import JointFit, joint_fit
from pdstudy.analysis.fit.lack_of_fit import LackOfFit, lack_of_fit
from pdstudy.analysis.fit.outliers import leave_out_outliers
from pdstudy.analysis.fit.residual_scale import ResidualScale, measure_scale
from pdstudy.analysis.fit.size_fit import size_fit

__all__ = [
    "DELTA",
    "Bootstrap",
    "DistilledFit",
    "Fit",
    "FitMinimum",
    "GivenLaw",
    "HeldOutErrors",
    "JointFit",
    "LackOfFit",
    "LawChoice",
    "NotIdentified",
    "ResidualScale",
    "akaike",
    "as_data",
    "bootstrap",
    "choose_law",
    "distilled_fit",
    "fit",
    "hold_out",
    "influence",
    "interval",
    "joint_fit",
    "judge_law",
    "lack_of_fit",
    "largest_runs",
    "leave_one",
    "leave_out_outliers",
    "measure_scale",
    "not_identified",
    "parameter_frame",
    "profile",
    "select",
    "size_fit",
    "warnings",
]
