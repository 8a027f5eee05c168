"""Studies of distillation before their runs: what the law of students will tell, to first order and by simulation.

A study fits twice, as its page does: the law of runs without a teacher, which gives L_M, then the law of students,
beside the teachers' losses as they came out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pdstudy.analysis.design.information import Posterior, huber_inflation, jacobian, weak_prior
from pdstudy.analysis.design.simulate import UNFINISHED, Simulation, draw_errors, fit_exact, refit
from pdstudy.analysis.fit.fit_result import Fit
from pdstudy.analysis.fit.identifiability import foretell_not_identified
from pdstudy.analysis.fit.joint_fit import STEADY
from pdstudy.analysis.fit.objective import Sample
from pdstudy.analysis.laws import DISTILLATION
from pdstudy.analysis.laws.base import Array, Columns
from pdstudy.analysis.laws.taught import TaughtLaw


@dataclass(frozen=True, eq=False)
class TaughtStudy:
    """Runs of a study of distillation.

    `alone` has N and D of the runs without a teacher (S,); `teachers` those of the teachers (T,), which run without a
    teacher of its own each one is (T,), -1 for none of these, is `among`; `students` have N and D (n,) and `teacher`,
    the number of each one's teacher (n,).
    """

    alone: Mapping[str, Array]
    teachers: Mapping[str, Array]
    among: NDArray[np.integer]
    students: Mapping[str, Array]
    teacher: NDArray[np.integer]

    def without(self, dropped: NDArray[np.bool_]) -> TaughtStudy:
        """The study without some of its students (n,)."""
        students = {c: v[~dropped] for c, v in self.students.items()}
        return replace(self, students=students, teacher=self.teacher[~dropped])

    def teacher_losses(self, law: TaughtLaw, theta: Array) -> Array:
        """Losses of the teachers (T,) by the law of runs without one."""
        return np.exp(law.log_matched(theta[None, :], self.teachers)[0])

    def places(self, law: TaughtLaw, theta: Array) -> dict[str, Array]:
        """N, D and L_T of the students, (n,) each."""
        return {**self.students, "LT": self.teacher_losses(law, theta)[self.teacher]}


def assumed_study(study: TaughtStudy, law: TaughtLaw, theta: Array, noise: float) -> Posterior:
    """The parameters of both laws (k,) as the study would leave them, to first order.

    The students' law takes L_M from the other one, whose errors it therefore has, too. A teacher's own error moves the
    place of its students, which is known, and nothing else.
    """
    wide = noise * huber_inflation(STEADY) ** 0.5
    taught, alone = law.split(theta)
    prior = weak_prior(law.alone, alone)
    rows = jacobian(law.alone, alone, study.alone) / wide
    of_alone = np.linalg.inv(prior + rows.T @ rows)
    own, through = law.split(jacobian(law, theta, study.places(law, theta)) / wide)
    of_taught = np.linalg.inv(weak_prior(law.students, taught) + own.T @ own)
    pull = -of_taught @ own.T @ through
    across = pull @ of_alone
    covariance = np.block([[of_taught + across @ pull.T, across], [across.T, of_alone]])
    return Posterior(law, theta, np.linalg.inv(covariance), noise)


def simulate_study(
    study: TaughtStudy, law: TaughtLaw, theta: Array, noise: float, *, draws: int = 1000, seed: int = 0
) -> Simulation:
    """Draw losses of all runs with Gaussian noise of ln loss, and fit both laws anew, one after the other.

    Raises:
        AnalysisError: too few runs for either law, or fewer than 100 draws.
    """
    base, of_students = _fits(study, law, theta, noise)
    teachers = law.log_matched(theta[None, :], study.teachers)[0]
    runs, weights = len(base.points), np.ones(len(study.teacher))
    found, left = [], []
    for errors in draw_errors(runs + len(teachers) + len(weights), noise, draws, seed):
        first, others, last = np.split(errors, [runs, runs + len(teachers)], axis=1)
        fitted, unfinished = refit(base, Sample(base.points.weights, base.points.log_loss + first))
        own = np.where(study.among >= 0, first[:, study.among], others)
        met: Columns = {**study.students, "LT": np.exp(teachers + own)[:, study.teacher]}
        target = law.log_loss(theta[None, :], met)[0] + last
        drawn = {"LT": met["LT"], "LM": np.exp(law.alone.log_loss(fitted, study.students)[0])}
        of_taught, decrement = refit(of_students, Sample(weights, target, drawn))
        found.append(np.concatenate([of_taught, fitted], axis=1))
        left.append(np.maximum(unfinished, decrement))
    return Simulation(law, theta, np.concatenate(found), int((np.concatenate(left) > UNFINISHED).sum()))


def foretell_unknown(study: TaughtStudy, law: TaughtLaw, theta: Array, noise: float) -> tuple[str, ...]:
    """Parameters that a page of the study will call not identified, by the profiles that it takes."""
    base, of_students = _fits(study, law, theta, noise)
    students = dict(zip(law.students.names, law.names))
    found = [students[each.parameter] for each in foretell_not_identified(of_students, noise)]
    return (*found, *(each.parameter for each in foretell_not_identified(base, noise)))


def ranges_missing(study: TaughtStudy) -> str:
    """What the study has too few of for the law of students, in words; empty where it can be fitted."""
    counts = {"sizes": len(set(study.students["N"])), "token budgets": len(set(study.students["D"])),
              "teachers": len(set(study.teacher.tolist()))}  # fmt: skip
    few = [f"{what} ({count})" for what, count in counts.items() if count < 3]
    if len(study.teacher) <= len(DISTILLATION.names):
        few.insert(0, f"students ({len(study.teacher)})")
    return ", ".join(few)


def _fits(study: TaughtStudy, law: TaughtLaw, theta: Array, noise: float) -> tuple[Fit, Fit]:
    """Fits of both laws to losses without noise, that of runs without a teacher first."""
    taught, alone = law.split(theta)
    places = study.places(law, theta)
    columns = {**places, "LM": np.exp(law.log_matched(theta[None, :], places)[0])}
    first = fit_exact(law.alone, alone, study.alone, STEADY * noise)
    return first, fit_exact(law.students, taught, columns, STEADY * noise)
