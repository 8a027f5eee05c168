"""Coverage of 95 % intervals and rate of false verdicts of error models of a comparison, by design.

`python -m tests.analysis.coverage_by_design [--simulations 20000]` prints both for all designs: `own` is what `compare`
does; the others are the models that it was chosen from. With `--text` the designs in which the text is a sample, too.

A design has K arms beside the baseline and n seeds; all true differences are zero. Baseline and arms correlate by
seed with rho, arms among each other with its square. Coverage is the mean over arms and, in brackets, of the worst arm;
a false verdict is any claim of a difference in a study (Holm over its arms).
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from pdstudy.analysis.compare.uncertainty import Uncertainty, text_error

Array = npt.NDArray[np.float64]

SPREADS = {
    "equal": (1.0, 1.0, 1.0),
    "baseline 3x": (3.0, 1.0, 1.0),
    "baseline 10x": (10.0, 1.0, 1.0),
    "arms 3x": (1.0, 3.0, 3.0),
    "one arm 10x": (1.0, 10.0, 1.0),
}
"""Standard deviation over seeds of the baseline, of the first arm and of the others."""

CORRELATIONS = (-0.9, -0.5, 0.0, 0.5, 0.9)

MODELS = ("own", "pooled", "Box", "Welch", "unpaired")


@dataclass(frozen=True)
class Design:
    """K arms, n seeds, a row of `SPREADS`, the correlation of baseline and arms by seed."""

    arms: int
    seeds: int
    spreads: str
    rho: float

    def draw(self, simulations: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Losses of the baseline [S, n] and of the arms [S, K, n]."""
        base, first, rest = SPREADS[self.spreads]
        shared = rng.normal(size=(simulations, 1, self.seeds))
        own = rng.normal(size=(simulations, self.arms, self.seeds))
        scale = np.array([first] + [rest] * (self.arms - 1))[:, None]
        return base * shared[:, 0], scale * (self.rho * shared + np.sqrt(1 - self.rho**2) * own)


DESIGNS = tuple(
    Design(arms, seeds, spreads, rho)
    for arms, seeds, spreads, rho in itertools.product((5, 13), (3, 5), SPREADS, CORRELATIONS)
)


def p_values(model: str, base: Array, arms: Array) -> Array:
    """Two-sided p of each arm's difference [S, K] by one of `MODELS`.

    own: paired t of the arm alone. pooled: paired, variances pooled over arms as if independent. Box: the same with
    Box's degrees of freedom for correlated arms, (tr S)^2 / tr S^2. Welch: baseline's and arm's own variance.
    unpaired: the baseline's own variance and the arms' pooled one; both with Satterthwaite's degrees of freedom.
    """
    k, n = arms.shape[1:]
    d = arms - base[:, None]
    mean = d.mean(axis=2)
    of_base, of_arms = base.var(axis=1, ddof=1)[:, None], arms.var(axis=2, ddof=1)
    own = d.var(axis=2, ddof=1)
    if model == "own":
        variance, dof = own / n, np.array(n - 1.0)
    elif model == "pooled":
        variance, dof = own.mean(axis=1, keepdims=True) / n, np.array(k * (n - 1.0))
    elif model == "Box":
        left = d - mean[:, :, None]
        squared = ((left @ left.transpose(0, 2, 1) / (n - 1)) ** 2).sum(axis=(1, 2))
        trace = own.sum(axis=1)
        # An unbiased tr(Sigma^2) for n - 1 degrees of freedom (Himeno and Yamada 2014).
        unbiased = ((n - 1) ** 2 / ((n + 1) * (n - 2))) * (squared - trace**2 / (n - 1)) if n > 2 else squared
        share = np.clip(trace**2 / np.maximum(unbiased, 1e-12), 1, k)
        variance, dof = own.mean(axis=1, keepdims=True) / n, (n - 1) * share[:, None]
    else:
        arm, arm_dof = (of_arms, n - 1) if model == "Welch" else (of_arms.mean(axis=1, keepdims=True), k * (n - 1))
        variance = (of_base + arm) / n
        dof = (of_base + arm) ** 2 / (of_base**2 / (n - 1) + arm**2 / arm_dof)
    found: Array = 2 * special.stdtr(dof, -np.abs(mean) / np.sqrt(variance))
    return found


def simulate(design: Design, model: str, simulations: int, seed: int = 0) -> tuple[float, float, float]:
    """Mean coverage over arms, that of the worst arm, and the share of studies with a false verdict."""
    p = p_values(model, *design.draw(simulations, np.random.default_rng(seed)))
    covered = (p > 0.05).mean(axis=0)
    # The first step of Holm's procedure decides whether there is any claim.
    return float(covered.mean()), float(covered.min()), float((p.min(axis=1) < 0.05 / design.arms).mean())


@dataclass(frozen=True)
class TextDesign:
    """One arm, n seeds, Q sequences; standard deviations of a seed's difference, of a sequence's, of both together, and
    the correlation of neighbouring sequences."""

    seeds: int
    sequences: int
    by_seed: float
    by_text: float
    both: float
    neighbours: float = 0.0

    def draw(self, rng: np.random.Generator) -> Array:
        """Differences [n, Q]; the true mean is zero."""

        def noise(rows: int) -> Array:
            steps = rng.normal(size=(rows, self.sequences))
            for i in range(1, self.sequences):
                steps[:, i] = self.neighbours * steps[:, i - 1] + np.sqrt(1 - self.neighbours**2) * steps[:, i]
            return steps

        seeds = self.by_seed * rng.normal(size=(self.seeds, 1))
        return seeds + self.by_text * noise(1) + self.both * noise(self.seeds)


TEXT_DESIGNS = tuple(
    TextDesign(seeds, 256, by_seed, by_text, both, neighbours)
    for seeds, (by_seed, by_text, both), neighbours in itertools.product(
        (3, 5),
        ((0.02, 0.0, 0.06), (0.02, 0.16, 0.06), (0.01, 0.16, 0.06), (0.004, 0.16, 0.06), (0.0, 0.16, 0.06)),
        (0.0, 0.3),
    )
)
"""Sizes as in the mini studies: .16 over 256 sequences is a standard error of .01 by the text alone."""


def simulate_text(design: TextDesign, simulations: int, seed: int = 0) -> tuple[float, float]:
    """Coverage of the interval with both parts, and of that over seeds alone."""
    rng = np.random.default_rng(seed)
    both = alone = 0
    for _ in range(simulations):
        table = design.draw(rng)
        means = table.mean(axis=1)
        error = float(means.std(ddof=1)) / np.sqrt(design.seeds)
        middle = abs(float(means.mean()))
        both += Uncertainty(error, design.seeds - 1, *text_error(list(table))).reach(0.05) > middle
        alone += Uncertainty(error, design.seeds - 1).reach(0.05) > middle
    return both / simulations, alone / simulations


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--text", action="store_true", help="the designs in which the text is a sample, too")
    args = parser.parse_args()
    if args.text:
        for each in TEXT_DESIGNS:
            both, alone = simulate_text(each, args.simulations, args.seed)
            print(f"{each}: {both:.3f} with both parts, {alone:.3f} over seeds alone")
        return
    print(f"{'K':>2} {'n':>2} {'spreads':13} {'rho':>5}  " + "  ".join(f"{m:^20}" for m in MODELS))
    for each in DESIGNS:
        cells = []
        for model in MODELS:
            covered, worst, wrong = simulate(each, model, args.simulations, args.seed)
            cells.append(f"{covered:.3f} ({worst:.3f}) {wrong:.3f}")
        print(
            f"{each.arms:2} {each.seeds:2} {each.spreads:13} {each.rho:5.1f}  " + "  ".join(f"{c:^20}" for c in cells)
        )


if __name__ == "__main__":
    main()
