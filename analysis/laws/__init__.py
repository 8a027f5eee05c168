"""Scaling laws as small objects: formula, parameters with bounds, gradient, starting points, source.

Each predicts a loss from columns of a table; fitting them is `pdstudy.analysis.fit`."""

from pdstudy.analysis.laws.base import Array, Columns, Law, Parameter, check_gradient, coefficient, exponent
from pdstudy.analysis.laws.distillation import (
    DISTILLATION_PUBLISHED,
    GAMMA_PUBLISHED,
    DistillationFull,
    DistillationLimit,
    stable,
)
from pdstudy.analysis.laws.joint import Gamma, Kaplan
from pdstudy.analysis.laws.powers import (
    HOFFMANN,
    OVERTRAINING,
    TIED,
    WIDTH_DEPTH,
    WIDTH_DEPTH_SIZE,
    SumOfPowers,
    Term,
    power_law,
)
from pdstudy.analysis.laws.repeats import Repeats, token_worth

GAMMA = Gamma()
KAPLAN = Kaplan()
REPEATS = Repeats()
DISTILLATION = DistillationLimit()
DISTILLATION_FULL = DistillationFull()

ALL: tuple[Law, ...] = (
    power_law("N"),
    power_law("N", floor=False),
    HOFFMANN,
    TIED,
    OVERTRAINING,
    GAMMA,
    KAPLAN,
    REPEATS,
    DISTILLATION,
    DISTILLATION_FULL,
    WIDTH_DEPTH,
    WIDTH_DEPTH_SIZE,
)
"""Every law that ships, in the order of the documentation."""

__all__ = [
    "ALL",
    "DISTILLATION",
    "DISTILLATION_FULL",
    "DISTILLATION_PUBLISHED",
    "GAMMA",
    "GAMMA_PUBLISHED",
    "HOFFMANN",
    "KAPLAN",
    "OVERTRAINING",
    "REPEATS",
    "TIED",
    "WIDTH_DEPTH",
    "WIDTH_DEPTH_SIZE",
    "Array",
    "Columns",
    "Gamma",
    "Kaplan",
    "Law",
    "Parameter",
    "Repeats",
    "SumOfPowers",
    "Term",
    "check_gradient",
    "coefficient",
    "exponent",
    "power_law",
    "stable",
    "token_worth",
]
