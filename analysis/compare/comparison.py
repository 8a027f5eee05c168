"""The result of a comparison: each arm's difference to its baseline, with intervals and verdict."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import pandas as pd

from pdstudy.analysis.compare.uncertainty import Uncertainty
from pdstudy.analysis.shown import Shown


class Verdict(StrEnum):
    """The verdict on one arm against its baseline."""

    BETTER = "better"
    WORSE = "worse"
    EQUIVALENT = "equivalent"
    """Shown to lie within the stated margin: two one-sided tests at 5 %, adjusted for the family (Holm)."""
    WITHIN_NOISE = "within noise"
    """Neither a difference nor equivalence is shown."""
    SAME = "same computation"
    """Every paired difference is exactly zero: the arms did the same computation."""
    NO_SPREAD = "no interval"
    """One seed, or seeds whose differences agree to the last digit."""


@dataclass(frozen=True)
class Effect:
    """One arm against its baseline within one stratum.

    `difference` is arm minus baseline in the metric's unit (in per cent of the baseline when `relative`). `low` and
    `high` bound it at the comparison's level, by itself. `p` and `verdict` count the whole family (Holm), and so do
    `family_low` and `family_high`: the interval at the level of the effect's step, which excludes zero exactly where
    the verdict is better or worse. NaN bounds mean that no interval can be given.
    """

    arm: str
    baseline: str
    stratum: tuple[object, ...]
    values: tuple[float, ...]
    """The arm's metric by seed, in the order of `baseline_values`."""
    baseline_values: tuple[float, ...]
    difference: float
    uncertainty: Uncertainty | None
    """None where no interval can be given."""
    low: float = float("nan")
    high: float = float("nan")
    p: float = float("nan")
    family_low: float = float("nan")
    family_high: float = float("nan")
    verdict: Verdict = Verdict.NO_SPREAD

    @property
    def seeds(self) -> int:
        return len(self.values)

    @property
    def value(self) -> float:
        """Mean over seeds."""
        return sum(self.values) / len(self.values)

    @property
    def baseline_value(self) -> float:
        """Mean over seeds."""
        return sum(self.baseline_values) / len(self.baseline_values)

    @property
    def dof(self) -> int:
        """Degrees of freedom of the part over seeds; 0 without an interval."""
        return self.uncertainty.seeds_dof if self.uncertainty else 0


@dataclass(frozen=True)
class Comparison(Shown):
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
    family: int = 0
    """Different computations that the verdicts are adjusted for, those of other comparisons beside this one counted."""

    def to_frame(self) -> pd.DataFrame:
        """One row per effect: stratum columns, arm, baseline, seeds, value, baseline_value, difference, low, high, p,
        dof, verdict, family_low, family_high, error_seeds, error_text (standard errors)."""
        rows = []
        for e in self.effects:
            row: dict[str, object] = dict(zip(self.within, e.stratum))
            row |= {"arm": e.arm, "baseline": e.baseline, "seeds": e.seeds, "value": e.value}
            row |= {"baseline_value": e.baseline_value, "difference": e.difference, "low": e.low, "high": e.high}
            row |= {"p": e.p, "dof": e.dof, "verdict": e.verdict.value}
            row |= {"family_low": e.family_low, "family_high": e.family_high}
            row["error_seeds"] = e.uncertainty.seeds if e.uncertainty else float("nan")
            rows.append(row | {"error_text": e.uncertainty.text if e.uncertainty else float("nan")})
        return pd.DataFrame(rows)

    def caption(self) -> str:
        """How the numbers were made, for a caption."""
        seeds = sorted({e.seeds for e in self.effects})
        n = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
        unit = " in per cent of the baseline" if self.relative else ""
        text = (
            f"Difference of {self.metric} to the baseline{unit}, paired by seed (n = {n} "
            f"seed{'s' if seeds[-1] > 1 else ''}); {self.level:.0%} t intervals, each from the spread of its own "
            f"differences, {self.parts()}; verdicts and outer intervals adjusted for {self.family} different "
            f"comparison{'s' if self.family != 1 else ''} (Holm): an outer interval excludes zero exactly where a "
            "difference is claimed"
        )
        text += f"; equivalence margin {self.margin:g}" if self.margin is not None else ""
        return ". ".join([text, *(w[:1].upper() + w[1:] for w in self.warnings)]) + "."

    def parts(self) -> str:
        """Where the intervals' uncertainty comes from."""
        known = [e for e in self.effects if e.uncertainty]
        with_text = [e for e in known if e.uncertainty and e.uncertainty.text_dof]
        if known and len(with_text) == len(known):
            return "over seeds and over the text"
        if not with_text:
            return "over seeds alone (the text is taken as it is: no losses by sequence)"
        lacking = [" ".join(map(str, (*e.stratum, e.arm))) for e in known if e not in with_text]
        return f"over seeds and over the text, but over seeds alone for {', '.join(lacking)} (no losses by sequence)"
