"""The result of a comparison: each arm's difference to its baseline, with interval and verdict."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import pandas as pd


class Verdict(StrEnum):
    """The verdict on one arm against its baseline."""

    BETTER = "better"
    WORSE = "worse"
    EQUIVALENT = "equivalent"
    """Shown to lie within the stated margin: two one-sided tests at 5 %, adjusted for the number of arms (Holm)."""
    WITHIN_NOISE = "within noise"
    """Neither a difference nor equivalence is shown."""
    SAME = "same computation"
    """Every paired difference is exactly zero: the arms did the same computation."""
    NO_SPREAD = "no interval"
    """One seed, and no other arm to take a spread from; or seeds that agree to the last digit."""


@dataclass(frozen=True)
class Effect:
    """One arm against its baseline within one stratum.

    `difference` is arm minus baseline in the metric's unit (in per cent of the baseline when `relative`); `low` and
    `high` bound it at the comparison's level; `p` is adjusted for the number of arms compared (Holm). NaN bounds mean
    that no interval can be given.
    """

    arm: str
    baseline: str
    stratum: tuple[object, ...]
    seeds: int
    value: float
    baseline_value: float
    difference: float
    low: float
    high: float
    p: float
    dof: int
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """All effects of one table, with how they were computed."""

    effects: tuple[Effect, ...]
    metric: str
    within: tuple[str, ...]
    level: float
    lower_is_better: bool
    relative: bool
    margin: float | None
    unpaired: tuple[str, ...]
    """Runs without a partner of equal seed, left out and named."""
    warnings: tuple[str, ...]

    def to_frame(self) -> pd.DataFrame:
        """One row per effect: stratum columns, arm, baseline, seeds, value, difference, low, high, p, dof, verdict."""
        rows = []
        for e in self.effects:
            row: dict[str, object] = dict(zip(self.within, e.stratum))
            row |= {"arm": e.arm, "baseline": e.baseline, "seeds": e.seeds, "value": e.value}
            row |= {"baseline_value": e.baseline_value, "difference": e.difference, "low": e.low, "high": e.high}
            rows.append(row | {"p": e.p, "dof": e.dof, "verdict": e.verdict.value})
        return pd.DataFrame(rows)

    def caption(self) -> str:
        """How the numbers were made, for a caption."""
        seeds = sorted({e.seeds for e in self.effects})
        n = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
        unit = " in per cent of the baseline" if self.relative else ""
        text = (
            f"Difference of {self.metric} to the baseline{unit}, paired by seed (n = {n} "
            f"seed{'s' if seeds[-1] > 1 else ''}); {self.level:.0%} t intervals from the pooled spread of the paired "
            "differences; verdicts adjusted for the number of arms (Holm)"
        )
        text += f"; equivalence margin {self.margin:g}" if self.margin is not None else ""
        return ". ".join([text, *(w[:1].upper() + w[1:] for w in self.warnings)]) + "."
