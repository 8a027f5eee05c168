"""Scaling laws as small objects, and those known by name to the command line."""

from analysis.laws.base import Array, Columns, Law, Parameter, check_gradient, coefficient, exponent
from analysis.laws.powers import (
    HOFFMANN,
    OVERTRAINING,
    TIED,
    WIDTH_DEPTH,
    WIDTH_DEPTH_SIZE,
    SumOfPowers,
    Term,
    power_law,
)

__all__ = [
    "HOFFMANN",
    "OVERTRAINING",
    "TIED",
    "WIDTH_DEPTH",
    "WIDTH_DEPTH_SIZE",
    "Array",
    "Columns",
    "Law",
    "Parameter",
    "SumOfPowers",
    "Term",
    "check_gradient",
    "coefficient",
    "exponent",
    "power_law",
]
