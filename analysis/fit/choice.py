"""The choice among a stated list of laws, by hold-out and beside it AICc, and how sure it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pdstudy.analysis.data.points import Points
from pdstudy.analysis.errors import AnalysisError
from pdstudy.analysis.fit.bootstrap import bootstrap
from pdstudy.analysis.fit.fit import DELTA, fit
from pdstudy.analysis.fit.holdout import akaike, hold_out
from pdstudy.analysis.laws.base import Array, Law
from pdstudy.analysis.shown import Shown

HELD_OUT = 0.2
"""Share of the runs that is held out where the caller names none: the largest ones."""


@dataclass(frozen=True)
class LawChoice(Shown):
    """Laws compared on the same runs, best first, and the one that predicts the held-out runs best.

    `frame` has one row per law: `law`, `k` parameters, `rms` of log errors held out, `training_rms`, `aicc` of the fit
    to all runs, its `weight` among the laws, `best`: the share of resamples, of the runs fitted and of those held out,
    in which it predicts best; and `failed`, why a law could not be compared.
    """

    law: Law
    frame: pd.DataFrame
    held_out: int
    rule: str

    @property
    def share(self) -> float:
        """Share of resamples in which the chosen law predicts best."""
        return float(self.frame["best"].iloc[0])

    @property
    def said(self) -> str:
        """How sure the choice is, in a sentence."""
        if self.frame["rms"].notna().sum() == 1:
            return f"{self.law.name} alone could be compared, so that nothing was chosen"
        by_fit = self.frame.iloc[int(self.frame["weight"].argmax())]
        sure = "sure" if self.share >= 0.95 else "likely" if self.share >= 0.8 else "unsure"
        agree = "AICc prefers it too" if by_fit["law"] == self.law.name else f"AICc prefers {by_fit['law']}"
        return (
            f"{self.law.name} predicts the {self.held_out} held-out runs ({self.rule}) best, in {self.share:.0%} of "
            f"resamples: {sure}; {agree} (weight {by_fit['weight']:.2f})"
        )


def largest_runs(data: Points) -> tuple[NDArray[np.bool_], str]:
    """The fifth of the runs with the largest product of all their quantities, as a mask, and that rule in words."""
    scale = np.sum([np.log(v) for v in data.x.values()], axis=0)
    limit = np.quantile(scale, 1 - HELD_OUT)
    return scale > limit, f"the fifth with the largest {' '.join(data.x)}"


def choose_law(
    data: Points, laws: Sequence[Law], *, test: NDArray[np.bool_] | None = None, rule: str = "", delta: float = DELTA,
    draws: int = 200, seed: int = 0,
) -> LawChoice:  # fmt: skip
    """Compare laws of the same quantities by the runs that each predicts without having seen them.

    Args:
        test: which runs are held out (default: `largest_runs`), with the `rule` in words. draws: resamples of both
            sides, the same for each law, for the share in which it is best.

    Raises:
        AnalysisError: no law can be fitted to the rest, with 2k + 2 runs or more there.
    """
    if test is None:
        test, rule = largest_runs(data)
    errors: dict[str, Array] = {}
    rows: list[dict[str, object]] = []
    for law in laws:
        row: dict[str, object] = {"law": law.name, "k": len(law.names), "failed": ""}
        try:
            fitted, held = fit(data, law, delta=delta), hold_out(data, law, test, delta=delta)
            drawn = bootstrap(held.fit, draws, seed)
            errors[law.name] = held.test.log_loss - law.log_loss(drawn.theta, held.test.x)[0]
            row |= {"rms": held.rms, "training_rms": held.training_rms, "aicc": akaike(fitted, corrected=True)}
        except AnalysisError as error:
            row["failed"] = str(error)
        rows.append(row)
    if not errors:
        raise AnalysisError("no law could be compared: " + "; ".join(f"{r['law']}: {r['failed']}" for r in rows))
    best = _best_shares(errors, [data.clusters[int(i)] for i in np.flatnonzero(test)], draws, seed)
    frame = pd.DataFrame(rows)
    frame["best"] = frame["law"].map(best)
    gap = frame["aicc"] - frame["aicc"].min()
    frame["weight"] = np.exp(-gap / 2) / np.exp(-gap / 2).sum()
    frame = frame.sort_values("rms", kind="stable", na_position="last").reset_index(drop=True)
    chosen = next(law for law in laws if law.name == frame["law"].iloc[0])
    return LawChoice(chosen, frame, int(np.sum(test)), rule or "as given")


def _best_shares(errors: Mapping[str, Array], clusters: Sequence[object], draws: int, seed: int) -> dict[str, float]:
    """How often each law has the lowest rms error: `errors` are (draws, held-out runs); their clusters are drawn."""
    labels = pd.factorize(pd.Series(list(clusters), dtype=object))[0]
    units = int(labels.max()) + 1
    drawn = np.random.default_rng([seed, 3]).integers(0, units, (draws, units))
    counts = np.stack([np.bincount(row, minlength=units)[labels] for row in drawn]).astype(float)
    squares = np.stack([(counts * e**2).sum(axis=1) for e in errors.values()])
    winner = squares.argmin(axis=0)
    return {name: float((winner == i).mean()) for i, name in enumerate(errors)}
