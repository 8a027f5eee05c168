"""Scaling laws as small objects: formula, parameters with bounds, gradient, starting points, source.

Each predicts a loss from columns of a table; fitting them is `pdstudy.analysis.fit`."""

from collections.abc import Iterable

from pdstudy.analysis.laws.architecture import (
    FINE_GRAINED,
    SPARSITY,
    STEP_BATCH,
    STEP_RATE,
    Parallel,
    PowerProduct,
    Vocabulary,
)
from pdstudy.analysis.laws.base import Array, Columns, Law, Parameter, check_gradient, coefficient, exponent
from pdstudy.analysis.laws.distillation import (
    DISTILLATION_PUBLISHED,
    GAMMA_PUBLISHED,
    DistillationFull,
    DistillationLimit,
    stable,
)
from pdstudy.analysis.laws.farseer import Farseer
from pdstudy.analysis.laws.joint import Gamma, Kaplan
from pdstudy.analysis.laws.law_text import parse_law
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
from pdstudy.analysis.laws.routed_experts import JointExperts, RoutedExperts, saturating_experts

GAMMA = Gamma()
KAPLAN = Kaplan()
REPEATS = Repeats()
DISTILLATION = DistillationLimit()
DISTILLATION_FULL = DistillationFull()
FARSEER = Farseer()
MOE = JointExperts()
ROUTED = RoutedExperts()
VOCABULARY = Vocabulary()
PARALLEL = Parallel()

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
    FARSEER,
    MOE,
    ROUTED,
    FINE_GRAINED,
    SPARSITY,
    VOCABULARY,
    PARALLEL,
    STEP_RATE,
    STEP_BATCH,
)
"""Every law that ships, in the order of the documentation."""


def laws_of(columns: Iterable[str]) -> tuple[Law, ...]:
    """The laws of a loss in exactly these quantities that are compared with one another.

    Each surface once ('overtraining' is 'tied'), and not Farseer's, whose nine parameters extrapolate anywhere.
    """
    wanted = set(columns)
    if len(wanted) == 1:
        (column,) = wanted
        return power_law(column), power_law(column, floor=False)
    return tuple(
        law for law in ALL
        if set(law.columns) == wanted and law not in (OVERTRAINING, FARSEER) and not isinstance(law, PowerProduct)
    )  # fmt: skip


__all__ = [
    "ALL",
    "DISTILLATION",
    "DISTILLATION_FULL",
    "DISTILLATION_PUBLISHED",
    "FARSEER",
    "FINE_GRAINED",
    "GAMMA",
    "GAMMA_PUBLISHED",
    "HOFFMANN",
    "KAPLAN",
    "MOE",
    "OVERTRAINING",
    "PARALLEL",
    "REPEATS",
    "ROUTED",
    "SPARSITY",
    "STEP_BATCH",
    "STEP_RATE",
    "TIED",
    "VOCABULARY",
    "WIDTH_DEPTH",
    "WIDTH_DEPTH_SIZE",
    "Array",
    "Columns",
    "Farseer",
    "Gamma",
    "JointExperts",
    "Kaplan",
    "Law",
    "Parallel",
    "Parameter",
    "PowerProduct",
    "Repeats",
    "RoutedExperts",
    "SumOfPowers",
    "Term",
    "Vocabulary",
    "check_gradient",
    "coefficient",
    "exponent",
    "laws_of",
    "parse_law",
    "power_law",
    "saturating_experts",
    "stable",
    "token_worth",
]
