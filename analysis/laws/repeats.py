"""The data-constrained law: repeated tokens, and parameters beyond what the unique tokens can use, are worth less."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

import numpy as np

from pdstudy.analysis.laws.base import Array, Columns, Law, Parameter, coefficient, exponent, floor
from pdstudy.analysis.laws.powers import HOFFMANN


def _decay(name: str, latex: str) -> Parameter:
    """A number of repeats after which more of them are worth little; between a hundredth and ten thousand."""
    return Parameter(name, latex, log=True, lower=0.01, upper=1e4)


class Repeats(Law):
    """Hoffmann's law in effective parameters and tokens.

    U is the number of unique tokens; D' = U_D (1 + R*_D (1 - exp(-R_D/R*_D))) with R_D = D/U_D - 1 repeats, and N'
    likewise from U_N, the compute-optimal N for U_D tokens, which depends on A, B, alpha and beta.
    """

    name = "repeats"
    columns = ("N", "D", "U")
    identified_by = MappingProxyType({"N": ("A", "alpha"), "D": ("B", "beta")})
    parameters = (
        floor("E"),
        coefficient("A"),
        coefficient("B"),
        exponent("alpha"),
        exponent("beta"),
        _decay("R_D", "R^*_D"),
        _decay("R_N", "R^*_N"),
    )
    formula = r"L = E + A\,N'^{-\alpha} + B\,D'^{-\beta},\quad X' = U_X + U_X R^*_X\left(1 - e^{-R_X/R^*_X}\right)"
    source = "Muennighoff et al. 2023, eq. 5 and 6"
    rugged = True
    note = (
        "The surface over R*_D and R*_N is flat and has many minima (three within 0.14 % on the published runs): read "
        "the list of minima and the profile before quoting either."
    )

    def log_loss(self, theta: Array, x: Columns) -> tuple[Array, Sequence[Array]]:
        e, a, b, alpha, beta, r_d, r_n = (theta[:, j, None] for j in range(7))
        n, d, unique = np.log(x["N"]), np.log(x["D"]), np.log(np.minimum(x["U"], x["D"]))
        g = (np.log(alpha / beta) + a - b) / (alpha + beta)
        best = g + (beta / alpha) * (unique + g)
        limited = best < n  # elsewhere U_N is N itself and nothing depends on G
        tokens, _, token_slope = _effective(unique + 0 * g, d, r_d)
        size, size_by_base, size_slope = _effective(np.where(limited, best, n), n, r_n)
        first, second = np.exp(a - alpha * size), np.exp(b - beta * tokens)
        floor = np.exp(e)
        total = floor + first + second
        share_a, share_b = first / total, second / total
        by_g = np.where(limited, size_by_base * (1 + beta / alpha), 0.0) / (alpha + beta)
        by_ratio = np.where(limited, size_by_base * (unique + g), 0.0)
        by_alpha = by_g * (1 / alpha - g) - by_ratio * beta / alpha**2
        by_beta = by_g * (-1 / beta - g) + by_ratio / alpha
        pull = -alpha * share_a
        return np.log(total), [
            floor / total,
            share_a + pull * by_g,
            share_b - pull * by_g,
            -share_a * size + pull * by_alpha,
            -share_b * tokens + pull * by_beta,
            -beta * share_b * token_slope,
            pull * size_slope,
        ]

    def starts(self, x: Columns, loss: Array) -> Array:
        """Hoffmann's starts (the six best by squared log error) on a grid of both decays."""
        surface = HOFFMANN.starts(x, loss)
        value = HOFFMANN.log_loss(surface, x)[0]
        surface = surface[np.argsort(((value - np.log(loss)) ** 2).sum(axis=1))[:6]]
        axis = np.log(np.geomspace(0.5, 500, 16))
        decays = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
        return np.concatenate([np.repeat(surface, len(decays), axis=0), np.tile(decays, (len(surface), 1))], axis=1)


def _effective(base: Array, amount: Array, log_decay: Array) -> tuple[Array, Array, Array]:
    """ln of the effective amount, and its derivatives by ln of the base and by ln of the decay R*."""
    decay = np.exp(log_decay)
    repeats = np.maximum(np.expm1(amount - base), 0.0)
    worn = np.exp(-repeats / decay)
    factor = 1 + decay * (1 - worn)
    by_base = 1 - worn * (1 + repeats) / factor
    by_decay = decay * (1 - worn - worn * repeats / decay) / factor
    return base + np.log(factor), by_base, by_decay


def token_worth(epochs: float, decay: float) -> float:
    """Mean worth of a token in `epochs` epochs over the same data, relative to a new token (R*_D = `decay`)."""
    return float((1 + decay * -np.expm1(-(epochs - 1) / decay)) / epochs)
