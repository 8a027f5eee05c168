"""Designs of studies of distillation: the two laws as one, first-order errors, simulated studies, what is unknown."""

import numpy as np
import pytest

from pdstudy.analysis.design.design_targets import LossAt
from pdstudy.analysis.design.simulate import draw_errors, fit_exact, refit
from pdstudy.analysis.design.taught_study import (
    TaughtStudy,
    assumed_study,
    foretell_unknown,
    ranges_missing,
    simulate_study,
)
from pdstudy.analysis.design.taught_targets import BestTeacherLoss, Crossover
from pdstudy.analysis.errors import AnalysisError
from pdstudy.analysis.fit.minimise import minimise
from pdstudy.analysis.fit.objective import Sample
from pdstudy.analysis.laws import DISTILLATION, HOFFMANN
from pdstudy.analysis.laws.base import check_gradient
from pdstudy.analysis.laws.taught import TaughtLaw
from tests.analysis.coverage_of_laws import STUDENT, TEACHERS, true_best_teacher, true_crossover, true_students
from tests.analysis.made_study import BUDGETS, SIZES, TRUE, ladder

LAW = TaughtLaw(DISTILLATION, HOFFMANN)


def coefficients(**changes: float) -> np.ndarray:
    return np.concatenate([DISTILLATION.internal({**STUDENT, **changes}), HOFFMANN.internal(TRUE)])


THETA = coefficients()


def designed(teachers: int, sizes: int, budgets: int) -> TaughtStudy:
    """So many students of 54k to 450k parameters and .66M to 5.3M tokens under teachers of 3.5 to 2.7 nats, beside the
    ladder of seven sizes."""
    runs = ladder(0.0, np.random.default_rng(0), most=1e14)
    losses = np.linspace(TEACHERS[0], TEACHERS[-1], teachers)
    n = np.full(teachers, 1e6)
    tokens = (TRUE["B"] / (losses - TRUE["E"] - TRUE["A"] * n ** -TRUE["alpha"])) ** (1 / TRUE["beta"])
    some = [float(SIZES[f"w{w}"].parameters().non_embedding) for w in (32, 48, 64, 96)]
    lengths = [float(d) for d in BUDGETS.values()][:4]
    at = np.geomspace(some[0], some[-1], sizes) if sizes != 4 else np.array(some)
    d = np.geomspace(lengths[0], lengths[-1], budgets)
    students = [v.ravel() for v in np.meshgrid(at, d, np.arange(teachers), indexing="ij")]
    return TaughtStudy(
        alone={c: np.array([float(run[c]) for run in runs]) for c in ("N", "D")},
        teachers={"N": n, "D": tokens},
        among=np.full(teachers, -1),
        students={"N": students[0], "D": students[1]},
        teacher=students[2].astype(int),
    )


def test_the_two_laws_as_one_have_their_losses_and_derivatives() -> None:
    study = designed(3, 3, 3)
    places = study.places(LAW, THETA)
    assert study.teacher_losses(LAW, THETA) == pytest.approx(np.linspace(3.5, 2.7, 3))
    true = true_students(places["N"], places["D"], places["LT"])
    assert np.exp(LAW.log_loss(THETA[None], places)[0][0]) == pytest.approx(true["loss"].to_numpy(), rel=1e-12)
    assert np.exp(LAW.log_matched(THETA[None], places)[0]) == pytest.approx(true["LM"].to_numpy(), rel=1e-12)
    assert check_gradient(LAW, THETA[None], places) < 1e-5
    assert LAW.names[:3] + LAW.names[8:10] == ("A'", "B'", "alpha'", "E", "A")
    with pytest.raises(AnalysisError, match="fitted in two steps"):
        LAW.starts(places, true["loss"].to_numpy())


def test_crossovers_and_best_teachers_are_those_of_fine_grids() -> None:
    tokens = np.array([0.66e6, 5.28e6])
    for n, t in ((1e5, 3.5), (1e5, 3.1), (4e5, 3.3)):
        target = Crossover(n, t, tokens)
        assert target.end(LAW, THETA) == ""
        assert target.value(target.estimate(LAW, THETA[None])[0]) == pytest.approx(true_crossover(n, t), rel=5e-3)
    assert Crossover(1e5, 3.1, tokens / 1000).end(LAW, THETA) == "distilled"
    assert Crossover(1e5, 3.5, tokens).end(LAW, coefficients(A=5000.0, B=1e6)) == "trained"
    for n, d in ((53536.0, 0.66e6), (53536.0, 2.64e6), (1e5, 2e6)):
        best = BestTeacherLoss(n, d, np.array(TEACHERS))
        assert best.estimate(LAW, THETA[None])[0] == pytest.approx(true_best_teacher(n, d), abs=1e-3)
    assert BestTeacherLoss(480096.0, 2.64e6, np.array(TEACHERS)).end(LAW, THETA) == "lowest"
    assert BestTeacherLoss(53536.0, 0.66e6, np.array([2.5, 2.6])).end(LAW, THETA) == "highest"
    with pytest.raises(AnalysisError, match="hoffmann has no teacher"):
        Crossover(1e5, 3.0, tokens).estimate(HOFFMANN, HOFFMANN.internal(TRUE)[None])


@pytest.mark.slow
def test_first_order_errors_are_those_of_the_two_fits_without_noise() -> None:
    """Against the estimator itself: how far both fits move, one after the other, for a small error of each run."""
    study, small = designed(4, 3, 3), 1e-6
    runs, students = len(study.alone["N"]), len(study.teacher)
    taught, alone = LAW.split(THETA)
    places = study.places(LAW, THETA)
    exact = LAW.log_loss(THETA[None], places)[0]
    shift = small * np.concatenate([np.eye(runs + students), -np.eye(runs + students)])
    base = fit_exact(HOFFMANN, alone, study.alone, 0.01)
    fitted = refit(base, Sample(base.points.weights, base.points.log_loss + shift[:, :runs]))[0]
    matched = np.exp(HOFFMANN.log_loss(fitted, study.students)[0])
    of_students = fit_exact(
        DISTILLATION, taught, {**places, "LM": np.exp(LAW.log_matched(THETA[None], places)[0])}, 0.01
    )
    sample = Sample(np.ones(students), exact + shift[:, runs:], {"LM": matched})
    moved = np.concatenate([refit(of_students, sample)[0], fitted], axis=1)
    influence = (moved[: runs + students] - moved[runs + students :]) / (2 * small)
    known = assumed_study(study, LAW, THETA, 1e-3)
    for j, name in enumerate(LAW.names):
        error = 1e-3 * np.sqrt((influence[:, j] ** 2).sum())
        assert np.sqrt(known.covariance[j, j]) == pytest.approx(error, rel=0.03), name


def test_a_row_of_a_batch_may_have_columns_of_its_own() -> None:
    """Fits of several designs in one batch are those of each by itself."""
    x = {"N": np.repeat(np.geomspace(1e5, 1e6, 4), 4), "D": np.tile(np.geomspace(1e6, 1e7, 4), 4)}
    theta = HOFFMANN.internal(TRUE)
    base = fit_exact(HOFFMANN, theta, x, 0.01)
    scales = np.array([1.0, 1.1, 0.8])
    sample = Sample(base.points.weights, np.tile(base.points.log_loss, (3, 1)), {"N": scales[:, None] * x["N"]})
    start = np.tile(theta, (3, 1))
    found = minimise(base.problem, start, sample).free
    # A N^-alpha with N larger by s is that with A larger by s^alpha.
    assert found[:, 1] == pytest.approx(theta[1] + theta[3] * np.log(scales), abs=1e-5)
    assert found[:, [0, 2, 3, 4]] == pytest.approx(start[:, [0, 2, 3, 4]], abs=1e-5)


def test_studies_that_are_too_small_say_what_they_lack() -> None:
    study = designed(3, 3, 3)
    assert ranges_missing(study) == ""
    assert ranges_missing(study.without(study.teacher == 1)) == "teachers (2)"
    few = study.without(study.students["N"] > study.students["N"].min())
    assert ranges_missing(few.without(few.students["D"] > few.students["D"].min())) == (
        "students (3), sizes (1), token budgets (1)"
    )


def test_errors_of_fewer_studies_are_the_first_of_more() -> None:
    (many,), (few,) = (list(draw_errors(7, 0.01, draws, 3)) for draws in (250, 120))
    assert np.array_equal(many[:120], few)


@pytest.mark.slow
def test_simulated_studies_have_the_spread_that_a_referee_found() -> None:
    """Against the standard deviations over six simulated studies of another simulation, whose A' and B' are not
    recorded: at A' 500, B' 2.4e4 (theirs as published) nearly all of its figures lie within the 95 % range of a
    deviation of six, .41 to 1.6 of the true one."""
    published = {
        (3, 4, 4): (0.43, 0.82, 0.43, 0.52, 0.008, 0.03, 0.06),
        (5, 4, 4): (0.056, 0.28, 0.16, 0.24, 0.004, 0.02, 0.016),
        (6, 5, 5): (0.020, 0.18, 0.12, 0.21, 0.004, 0.014, 0.009),
    }
    for b in (1e5, 24181.0):
        theta, within = coefficients(B=b), []
        for size, theirs in published.items():
            study = designed(*size)
            simulated = simulate_study(study, LAW, theta, 0.003, draws=500)
            known = assumed_study(study, LAW, theta, 0.003)
            losses = study.teacher_losses(LAW, theta)
            targets = (Crossover(1e5, 3.5, study.students["D"]), BestTeacherLoss(53536.0, 0.66e6, losses))
            held = LossAt({"N": 480096.0, "D": 10.56e6, "LT": 3.1})
            ours = [simulated.parameter(name) for name in ("alpha'", "beta'", "gamma'", "c0", "f1")]
            ours += [simulated.target(target) for target in targets]
            within += [0.41 * o.error < t < 1.6 * o.error for t, o in zip(theirs, ours, strict=True) if o.error]
            shown = "/".join(f"{o.error:.3g}" for o in ours)
            print(f"\nB' {b:g}, {size}: {shown}; theirs {theirs}")
            unknown = foretell_unknown(study, LAW, theta, 0.003)
            print(f"  held out {simulated.target(held).error:.2%}, failed {simulated.failed}; unknown {unknown}")
            assert simulated.target(held).error < 0.002
            for target in (held, targets[0]):
                assert 1 / 1.5 < known.error(target) / simulated.target(target).error < 1.5, target.name
        print(f"B' {b:g}: {np.mean(within):.2f} of the figures within the range of six studies")
    assert np.mean(within) > 0.6
