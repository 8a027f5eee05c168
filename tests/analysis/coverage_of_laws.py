"""Coverage of what pages say of a study's own laws, on simulated ladders and students, and rates of "not identified".

`python -m tests.analysis.coverage_of_laws [--draws 100] [--noise 0.003]` prints, for a ladder of seven sizes
(Hoffmann's law) and 5 teachers x 4 students x 4 budgets (80 runs, Busbridge's law, exponents as published):
coverage of the 95 % intervals of held-out losses (one more run), of the laws' curves, of the crossover and of the
best teacher; and for several designs the share of draws in which each parameter is flagged, beside the share in which
its estimate is farther from the truth than the distance that the flag is about.
"""

from __future__ import annotations

import argparse
from collections import defaultdict

import numpy as np
import pandas as pd

from pdstudy.analysis.fit.distilled_fit import DistilledFit, distilled_fit
from pdstudy.analysis.fit.fit_result import Fit
from pdstudy.analysis.fit.identifiability import not_identified
from pdstudy.analysis.fit.joint_fit import joint_fit
from pdstudy.analysis.laws import DISTILLATION, HOFFMANN, stable
from pdstudy.analysis.scaling.crossover import best_teacher, crossover
from tests.analysis.made_study import BUDGETS, SIZES, TRUE, ladder

STUDENT = {"A": 500.0, "B": 1e5, "alpha": 0.321, "beta": 0.637, "gamma": 0.764, "c0": 2.549,
           "k": stable(522.6, 0.09, 1.315), "f1": 0.09}  # fmt: skip
"""Busbridge et al.'s law with their exponents; A and B such that students of this size pass theirs teachers' help."""

TEACHERS = (3.5, 3.3, 3.1, 2.9, 2.7)
RESAMPLES = 300


def students() -> pd.DataFrame:
    """5 teachers x 4 students x 4 budgets without noise: N, D, LT, LM, loss."""
    sizes = [SIZES[s].parameters().non_embedding for s in ("w32", "w48", "w64", "w96")]
    n, d, t = (v.ravel() for v in np.meshgrid(sizes, list(BUDGETS.values())[:4], TEACHERS, indexing="ij"))
    return true_students(n.astype(float), d.astype(float), t)


def true_students(n: np.ndarray, d: np.ndarray, t: np.ndarray) -> pd.DataFrame:
    found = pd.DataFrame({"N": n, "D": d, "LT": t})
    found["LM"] = HOFFMANN.predict(TRUE, found)
    found["loss"] = DISTILLATION.predict(STUDENT, found)
    return found


def true_crossover(n: float, teacher_loss: float) -> float:
    """Tokens at which the true laws cross, by a fine grid."""
    d = np.geomspace(1e4, 5e8, 20000)
    at = true_students(np.full(len(d), n), d, np.full(len(d), teacher_loss))
    gap = (at["loss"] - at["LM"]).to_numpy()
    up = np.flatnonzero((gap[:-1] < 0) & (gap[1:] >= 0))
    return float(d[up[-1]]) if len(up) else float(np.inf if gap[-1] < 0 else 0.0)


def true_best_teacher(n: float, d: float) -> float:
    t = np.linspace(min(TEACHERS), max(TEACHERS), 2001)
    at = true_students(np.full(len(t), n), np.full(len(t), d), t)
    return float(t[at["loss"].argmin()])


def noisy(table: pd.DataFrame, noise: float, rng: np.random.Generator) -> pd.DataFrame:
    return table.assign(loss=table["loss"] * np.exp(noise * rng.standard_normal(len(table))))


def covered(low: object, high: object, true: object) -> np.ndarray:
    return (np.asarray(low) <= np.asarray(true)) & (np.asarray(true) <= np.asarray(high))


def check_predictions(draws: int, noise: float) -> dict[str, list[float]]:
    """Share covered, by draw, of each kind of statement."""
    runs = pd.DataFrame(ladder(0.0, np.random.default_rng(0), most=1e15))
    held = runs["labels"].map(lambda labels: labels["size"] == "w256")
    taught = students()
    largest = float(SIZES["w128"].parameters().non_embedding)
    unseen = true_students(np.full(3, largest), np.full(3, 10.56e6), np.array([3.3, 3.1, 2.9]))
    places = [(n, t) for n in sorted(set(taught["N"])) for t in (3.5, 3.3)]
    crossings = [true_crossover(n, t) for n, t in places]
    best = [(n, d, true_best_teacher(n, d)) for n in (53536.0, 480096.0) for d in (0.66e6, 2.64e6)]
    found = defaultdict(list)
    for draw in range(draws):
        rng = np.random.default_rng([7, draw])
        joint = joint_fit(noisy(runs[~held], noise, rng)[["N", "D", "loss"]], resamples=RESAMPLES, seed=draw)
        for name, truth, law in (("LM", runs[held], joint),):
            at, new = law.predict(truth), noisy(truth, noise, rng)["loss"]
            found[f"{name}: held-out run"].append(covered(at["low"], at["high"], new).mean())
            found[f"{name}: curve there"].append(covered(at["curve_low"], at["curve_high"], truth["loss"]).mean())
        fitted = distilled_fit(noisy(taught, noise, rng), joint, resamples=RESAMPLES, seed=draw)
        at, new = fitted.predict(unseen), noisy(unseen, noise, rng)["loss"]
        found["KD: held-out run"].append(covered(at["low"], at["high"], new).mean())
        found["KD: curve there"].append(covered(at["curve_low"], at["curve_high"], unseen["loss"]).mean())
        crossed = [crossover(fitted, n, t) for n, t in places]
        found["KD: crossover"].append(
            np.mean([covered(e.low, e.high, t) for e, t in zip(crossed, crossings) if 0 < t < np.inf])
        )
        _check_best(fitted, best, found)
    return found


def _check_best(fitted: DistilledFit, best: list[tuple[float, float, float]], found: dict[str, list[float]]) -> None:
    each = [(best_teacher(fitted, n, d), t) for n, d, t in best]
    inside = [covered(b.teacher_loss.low, b.teacher_loss.high, t) for b, t in each]
    found["KD: best teacher"].append(float(np.mean(inside)))


def check_flags(draws: int, noise: float) -> dict[str, dict[str, tuple[float, float]]]:
    """By design and parameter: share of draws flagged, and share whose estimate is beyond the flag's distance."""
    runs = pd.DataFrame(ladder(0.0, np.random.default_rng(0), most=1e15))
    few = runs[(runs["C"] <= 3e13) & (runs["N"] < 9e5)]
    alike = pd.concat([runs[runs["N"] == 213568].assign(N=float(n)) for n in (213568, 260000, 310000)])
    alike = alike.assign(loss=HOFFMANN.predict(TRUE, alike))
    designs = {
        f"{len(runs)} runs of seven sizes": (runs, noise),
        f"{len(few)} runs of five sizes": (few, noise),
        "the seven sizes, ten times the noise": (runs, 10 * noise),
        "three sizes within a factor of 1.5": (alike, noise),
    }
    found = {}
    for name, (table, level) in designs.items():
        flagged: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
        for draw in range(draws):
            made = noisy(table, level, np.random.default_rng([8, draw]))
            _judge(joint_fit(made[["N", "D", "loss"]], resamples=0).fit, flagged)
        found[name] = {p: (float(np.mean(v, axis=0)[0]), float(np.mean(v, axis=0)[1])) for p, v in flagged.items()}
    return found


def _judge(fit: Fit, flagged: dict[str, list[tuple[bool, bool]]]) -> None:
    unknown = {u.parameter for u in not_identified(fit)} | set(fit.at_bound)
    for parameter in fit.law.parameters:
        true = parameter.internal(TRUE[parameter.name])
        far = abs(parameter.internal(fit.parameters[parameter.name]) - true) > parameter.reach(true)
        flagged[parameter.name].append((parameter.name in unknown, far))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--noise", type=float, default=0.003)
    args = parser.parse_args()
    print(f"{args.draws} draws, noise {args.noise:g} of the loss, {RESAMPLES} resamples")
    for name, shares in check_predictions(args.draws, args.noise).items():
        error = np.std(shares) / np.sqrt(len(shares))
        print(f"  {name:<20} {np.mean(shares):.3f} +- {error:.3f}", flush=True)
    for design, flags in check_flags(args.draws, args.noise).items():
        said = ", ".join(f"{p} {a:.2f} ({b:.2f})" for p, (a, b) in flags.items())
        print(f"  flagged (estimate beyond the flag's distance), {design}: {said}", flush=True)


if __name__ == "__main__":
    main()
