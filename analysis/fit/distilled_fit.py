"""A law of distilled students fitted beside the law of the same students without a teacher, which gives L_M.

L_M is that law's prediction at a student's size and tokens. The loss of one matched run would enter with its noise at
the power 1/f1, some eleven; the law averages over all runs, and what it leaves uncertain is carried: each resample of
the students' law has a resample of the law of L_M of its own, in the fit and in every prediction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pdstudy.analysis.data.points import points
from pdstudy.analysis.errors import AnalysisError, TooFewRuns
from pdstudy.analysis.fit.bootstrap import SHARED_DRAW, Bootstrap, bootstrap
from pdstudy.analysis.fit.fit_result import Fit
from pdstudy.analysis.fit.joint_fit import RESAMPLES, JointFit, steady_fit
from pdstudy.analysis.fit.lack_of_fit import LackOfFit, lack_of_fit
from pdstudy.analysis.laws import DISTILLATION, Law
from pdstudy.analysis.laws.base import Array
from pdstudy.analysis.laws.taught import TaughtLaw
from pdstudy.analysis.shown import Shown


@dataclass(frozen=True)
class DistilledFit(Shown):
    """A law of L_S(N, D, L_T) fitted to students, with the law of L_M and the resamples of both, draw by draw."""

    fit: Fit
    supervised: JointFit
    bootstrap: Bootstrap | None
    supervised_theta: Array
    """The law of L_M in each resample, in fitted form (B, k)."""
    refused: str
    lack: LackOfFit | None

    @property
    def law(self) -> TaughtLaw:
        """Both laws as one."""
        return TaughtLaw(self.fit.law, self.supervised.fit.law)

    def theta(self, *, drawn: bool = False) -> Array:
        """The parameters of both laws in fitted form, (1, k), or in each resample, (B, k)."""
        if drawn and self.bootstrap:
            return np.concatenate([self.bootstrap.theta, self.supervised_theta], axis=1)
        return np.concatenate([self.fit.theta, self.supervised.fit.theta])[None, :]

    def matched_loss(self, n: Array, d: Array, theta: Array | None = None) -> Array:
        """L_M at these sizes and tokens, (m,), or for each of `theta`, (B, m)."""
        law = self.supervised.fit.law
        one = theta is None
        found = law.log_loss(self.supervised.fit.theta[None, :] if theta is None else theta, {"N": n, "D": d})[0]
        return np.exp(found[0] if one else found)

    def losses(self, n: Array, d: Array, teacher_loss: Array, *, drawn: bool = False) -> Array:
        """L_S at these places, (m,), or in each resample, (B, m)."""
        x = {"N": n, "D": d, "LT": teacher_loss}
        found = np.exp(self.law.log_loss(self.theta(drawn=drawn), x)[0])
        return found if drawn else found[0]

    def predict(self, x: Mapping[str, object] | pd.DataFrame) -> pd.DataFrame:
        """One row per place of `x` (N, D, LT): these, `LM`, `predicted`, the 95 % interval `low`, `high` of one more
        run there, and that of the law's surface, `curve_low`, `curve_high`. NaN without resamples."""
        at = {c: np.atleast_1d(np.asarray(x[c], dtype=np.float64)) for c in ("N", "D", "LT")}
        found = pd.DataFrame(at).assign(LM=self.matched_loss(at["N"], at["D"]))
        found["predicted"] = self.losses(at["N"], at["D"], at["LT"])
        for prefix, prediction in (("", True), ("curve_", False)):
            low = high = np.full(len(found), np.nan)
            if self.bootstrap:
                drawn = {**at, "LM": self.matched_loss(at["N"], at["D"], self.supervised_theta)}
                low, high = self.bootstrap.band(drawn, prediction=prediction)
            found[f"{prefix}low"], found[f"{prefix}high"] = low, high
        return found


def distilled_fit(
    table: pd.DataFrame,
    supervised: JointFit,
    *,
    law: Law = DISTILLATION,
    loss: str = "loss",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> DistilledFit:
    """Fit a law of distilled students to a table with the columns N, D, LT (the teacher's loss) and the student's loss.

    Raises:
        DataError, TooFewRuns: as `fit`. AnalysisError: the fit did not converge.
    """
    at = {c: table[c].to_numpy(dtype=np.float64) for c in ("N", "D")}
    data = points(table.assign(LM=supervised.fit.predict(at)), law, loss=loss, duplicates="keep")
    fitted = steady_fit(data, law)
    if not (supervised.bootstrap and resamples):
        refused = supervised.refused and f"the law of L_M has none: {supervised.refused}"
        return DistilledFit(fitted, supervised, None, np.empty((0, 0)), refused, lack_of_fit(fitted))
    drawn = supervised.bootstrap.theta
    order: list[int] = []

    def draw(rng: np.random.Generator) -> Mapping[str, Array]:
        order.append(int(rng.integers(len(drawn))))
        logs = supervised.fit.law.log_loss(drawn[order[-1]][None, :], {c: data.x[c] for c in ("N", "D")})[0]
        return {"LM": np.exp(logs[0])}

    try:
        resampled = bootstrap(fitted, resamples, seed, residual=True, estimates=draw)
    except TooFewRuns as error:
        return DistilledFit(fitted, supervised, None, np.empty((0, 0)), str(error), lack_of_fit(fitted))
    theta = drawn[np.repeat(order, SHARED_DRAW)[:resamples]]
    return DistilledFit(fitted, supervised, resampled, theta, "", lack_of_fit(fitted))


def check_teachers(table: pd.DataFrame) -> None:
    """Raises `AnalysisError` where a student of the table has no teacher's loss."""
    missing = table["LT"].isna()
    if missing.any():
        raise AnalysisError(
            f"the loss of the teacher is not known for {int(missing.sum())} of {len(table)} students: it is that of "
            "the teacher's own evaluation on the split, which `run` makes"
        )
