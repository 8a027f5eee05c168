"""Laws of one more choice beside size and tokens: sparsity, vocabulary, parallel streams; and optimal settings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pdstudy.analysis.laws.base import Array, Columns, Law, Parameter, coefficient, exponent, floor
from pdstudy.analysis.laws.joint import log_sum
from pdstudy.analysis.laws.powers import SumOfPowers, Term
from pdstudy.analysis.laws.project import coefficients, grid

SPARSITY = SumOfPowers(
    "sparsity",
    (
        Term("a_S", (("R", "b_S"), ("N", "b_N"))),
        Term("c_S", (("N", "b_N"),)),
        Term("B", (("D", "b_D"),)),
    ),
    source="Frantar et al. 2023, eq. 2, with R = 1 / (1 - S), N the non-zero parameters, B = a_D^b_D",
    note="R is dense over non-zero parameters, 1 / (1 - sparsity): --derive 'R=1/(1-S)'.",
)


FINE_GRAINED = SumOfPowers(
    "fine-grained",
    (
        Term("g", (("G", "gamma"), ("N", "alpha"))),
        Term("a", (("N", "alpha"),)),
        Term("b", (("D", "beta"),)),
    ),
    source="Krajewski et al. 2024 (fine-grained mixtures of experts), eq. 5, with c written E; N total parameters",
    note="G is the granularity of the experts; N counts all experts, at one ratio of total to active parameters.",
)


class Vocabulary(Law):
    """`ln L = -E + A_1 N^-alpha_1 + A_2 V^-alpha_2 + B D^-beta`, L the perplexity over that of a unigram model.

    Its logarithm, the published unigram-normalised loss, is below zero and has the published objective: Huber on its
    own residuals.
    """

    name = "vocabulary"
    columns = ("N", "V", "D")
    parameters = (
        floor("E"),
        coefficient("A_1"),
        coefficient("A_2"),
        coefficient("B"),
        exponent("alpha_1", r"\alpha_1"),
        exponent("alpha_2", r"\alpha_2"),
        exponent("beta"),
    )
    formula = r"\ln L = -E + A_1 N^{-\alpha_1} + A_2 V^{-\alpha_2} + B D^{-\beta}"
    source = "Tao et al. 2024, eq. 7; N without embeddings, V parameters of embeddings, D tokens"
    note = "L is exp of the unigram-normalised loss L_u: --derive 'L=exp(Lu)'. As published: --tie alpha_1,beta."

    def log_loss(self, theta: Array, x: Columns) -> tuple[Array, Sequence[Array]]:
        logs = [np.log(x[c]) for c in self.columns]
        level = np.exp(theta[:, 0, None]) + 0 * logs[0]
        terms = [np.exp(theta[:, j + 1, None] - theta[:, j + 4, None] * ln) for j, ln in enumerate(logs)]
        return sum(terms, -level), [-level, *terms, *(-term * ln for term, ln in zip(terms, logs))]

    def starts(self, x: Columns, loss: Array) -> Array:
        """For given exponents ln L is linear in E and the coefficients."""
        outer = grid(*[np.linspace(0.05, 1.4, 9)] * 3)
        keep = np.linspace(0, len(loss) - 1, min(len(loss), 400)).astype(int)
        logs = [np.log(x[c][keep]) for c in self.columns]
        basis = [-np.ones((len(outer), len(keep)))]
        basis += [np.exp(-outer[:, j, None] * (ln - ln.mean())) for j, ln in enumerate(logs)]
        target = np.log(loss[keep])
        found = coefficients(np.stack(basis, axis=-1), target, np.ones_like(target))
        found = np.log(np.maximum(found, 1e-3 * max(float(np.ptp(target)), 1e-3)))
        for j, ln in enumerate(logs):
            found[:, j + 1] += outer[:, j] * ln.mean()
        return np.column_stack([found, outer])


class Parallel(Law):
    """`E + (A / (N (k ln P + 1)))^alpha`: P streams in parallel are worth k ln P more parameters."""

    name = "parallel"
    columns = ("N", "P")
    parameters = (
        floor("E"),
        coefficient("A"),
        exponent("alpha"),
        Parameter("k", "k", log=True, lower=1e-4, upper=100.0),
    )
    formula = r"L = E + \left(\frac{A}{N (k \ln P + 1)}\right)^{\alpha}"
    source = "Chen et al. 2025 (ParScale), eq. 5"

    def log_loss(self, theta: Array, x: Columns) -> tuple[Array, Sequence[Array]]:
        e, a, alpha = (theta[:, j, None] for j in range(3))
        more = np.exp(theta[:, 3, None]) * np.log(x["P"])
        inner = a - np.log(x["N"]) - np.log1p(more)
        total, level = log_sum(e + 0 * inner, alpha * inner)
        reach = 1 - level
        return total, [level, reach * alpha, reach * inner, -reach * alpha * more / (1 + more)]

    def starts(self, x: Columns, loss: Array) -> Array:
        """For given alpha and k it is linear in E and A^alpha."""
        outer = grid(np.linspace(0.05, 1.5, 24), np.geomspace(0.01, 5, 16))
        alpha, k = outer[:, :1], outer[:, 1:]
        size = np.log(x["N"]) + np.log1p(k * np.log(x["P"]))
        centre = size.mean(axis=1, keepdims=True)
        basis = np.stack([np.ones_like(size), np.exp(-alpha * (size - centre))], axis=-1)
        found = np.log(np.maximum(coefficients(basis, loss, 1 / loss), 1e-3 * loss.min()))
        return np.column_stack([found[:, 0], found[:, 1] / alpha[:, 0] + centre[:, 0], alpha, np.log(k)])


class PowerProduct(Law):
    """`c prod_x x^p_x` with exponents of either sign: how an optimal setting moves with scale. No floor, convex fit."""

    def __init__(self, name: str, columns: Sequence[str], *, source: str, note: str = "") -> None:
        self.name, self.columns, self.source, self.note = name, tuple(columns), source, note
        self.parameters = (
            coefficient("c"),
            *(Parameter(f"p_{x}", f"p_{{{x}}}", lower=-10.0, upper=10.0, resolution=0.1) for x in columns),
        )
        self.identified_by = {x: (f"p_{x}",) for x in columns}
        self.formula = "c" + "".join(rf"\,{x}^{{p_{{{x}}}}}" for x in columns)

    def log_loss(self, theta: Array, x: Columns) -> tuple[Array, Sequence[Array]]:
        logs = [np.log(x[c]) for c in self.columns]
        value = theta[:, :1] + sum((theta[:, j + 1, None] * ln for j, ln in enumerate(logs)), np.zeros(1))
        return value, [np.ones_like(value), *(np.broadcast_to(ln, value.shape) for ln in logs)]

    def starts(self, x: Columns, loss: Array) -> Array:
        """Least squares, and that with each exponent turned a little round the middle of the data."""
        logs = np.stack([np.log(x[c]) for c in self.columns], axis=1)
        basis = np.column_stack([np.ones(len(loss)), logs])
        best = np.linalg.lstsq(basis, np.log(loss), rcond=None)[0]
        rows = [best]
        for j, centre in enumerate(logs.mean(axis=0)):
            for step in (-0.3, 0.3):
                rows.append(best.copy())
                rows[-1][j + 1] += step
                rows[-1][0] -= step * centre
        return np.array(rows)


STEP_RATE = PowerProduct(
    "step-rate", ("N", "D"), source="Li et al. 2025 (Predictable Scale I, Step Law): 1.79 N^-0.713 D^0.307",
    note="The loss column holds the optimal learning rate of each N and D: --lowest LOSS --per N,D keeps its run.",
)  # fmt: skip

STEP_BATCH = PowerProduct(
    "step-batch", ("D",), source="Li et al. 2025 (Predictable Scale I, Step Law): 0.58 D^0.571, in tokens",
    note="The column of the loss holds the optimal batch in tokens: --lowest LOSS --per N,D keeps its run.",
)  # fmt: skip
