"""Joint laws in N and D that aren't sums of power terms: the gamma form and Kaplan's."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

import numpy as np

from pdstudy.analysis.laws.base import Array, Columns, Law, coefficient, exponent, floor
from pdstudy.analysis.laws.project import coefficients, grid


def log_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """ln(e^a + e^b) and the share of the first, without overflow."""
    # One exp and one log: numpy's logaddexp is three times slower, and this is the inner loop of a fit.
    ahead = a >= b
    rest = np.exp(-np.abs(a - b))
    share = 1.0 / (1.0 + rest)
    return np.maximum(a, b) + np.log(1.0 + rest), np.where(ahead, share, rest * share)


class Gamma(Law):
    """`E + (A N^-alpha + B D^-beta)^gamma`: Busbridge et al.'s supervised law."""

    name = "gamma"
    columns = ("N", "D")
    identified_by = MappingProxyType({"N": ("A", "alpha"), "D": ("B", "beta")})
    parameters = (
        floor("E"),
        coefficient("A"),
        coefficient("B"),
        exponent("alpha"),
        exponent("beta"),
        exponent("gamma"),
    )
    formula = r"L = E + \left(A N^{-\alpha} + B D^{-\beta}\right)^{\gamma}"
    source = "Busbridge et al. 2025, eq. 7"
    note = (
        "In-sample criteria like this form; hold-outs decide: on Chinchilla's runs the tied form predicts better, on "
        "other ladders this one does (--law auto)."
    )

    def log_loss(self, theta: Array, x: Columns) -> tuple[Array, Sequence[Array]]:
        ln_n, ln_d = np.log(x["N"]), np.log(x["D"])
        e, a, b, alpha, beta, gamma = (theta[:, j, None] for j in range(6))
        inner, share = log_sum(a - alpha * ln_n, b - beta * ln_d)
        total, floor = log_sum(e + 0 * inner, gamma * inner)
        reach = 1.0 - floor
        pull = reach * gamma
        return total, [
            floor,
            pull * share,
            pull * (1 - share),
            -pull * share * ln_n,
            -pull * (1 - share) * ln_d,
            reach * inner,
        ]

    def starts(self, x: Columns, loss: Array) -> Array:
        """For given E, gamma and exponents, (L - E)^(1/gamma) is linear in A and B."""
        axis = np.linspace(0.1, 0.9, 6)
        outer = grid(np.array([0.4, 0.6, 0.8, 0.95]) * loss.min(), axis, axis, np.array([0.4, 0.6, 0.8, 1.0, 1.3]))
        keep = np.linspace(0, len(loss) - 1, min(len(loss), 400)).astype(int)
        ln_n, ln_d, y = np.log(x["N"][keep]), np.log(x["D"][keep]), loss[keep]
        floor, alpha, beta, gamma = (outer[:, j, None] for j in range(4))
        shift = np.stack([alpha[:, 0] * ln_n.mean(), beta[:, 0] * ln_d.mean()], axis=1)
        basis = np.stack([np.exp(-alpha * (ln_n - ln_n.mean())), np.exp(-beta * (ln_d - ln_d.mean()))], axis=-1)
        target = (y - floor) ** (1 / gamma)
        weight = gamma * (y - floor) / (y * target)  # turns an error of the target into one of ln L
        found = coefficients(basis, target, weight)
        found = np.log(np.maximum(found, 1e-3 * found.max(axis=1, keepdims=True))) + shift
        return np.column_stack([np.log(outer[:, 0]), found, outer[:, 1:]])


class Kaplan(Law):
    """`[(N_c/N)^(alpha_N/alpha_D) + D_c/D]^alpha_D`: no floor; N without embeddings."""

    name = "kaplan"
    columns = ("N", "D")
    identified_by = MappingProxyType({"N": ("N_c", "alpha_N"), "D": ("D_c", "alpha_D")})
    parameters = (
        coefficient("N_c"),
        coefficient("D_c"),
        exponent("alpha_N", r"\alpha_N"),
        exponent("alpha_D", r"\alpha_D"),
    )
    formula = r"L = \left[(N_c/N)^{\alpha_N/\alpha_D} + D_c/D\right]^{\alpha_D}"
    source = "Kaplan et al. 2020, eq. 1.5"

    def log_loss(self, theta: Array, x: Columns) -> tuple[Array, Sequence[Array]]:
        n, d, alpha_n, alpha_d = (theta[:, j, None] for j in range(4))
        ratio, above = alpha_n / alpha_d, n - np.log(x["N"])
        inner, share = log_sum(ratio * above, d - np.log(x["D"]))
        return alpha_d * inner, [alpha_n * share, alpha_d * (1 - share), share * above, inner - share * ratio * above]

    def starts(self, x: Columns, loss: Array) -> Array:
        """For given exponents, L^(1/alpha_D) is linear in N_c^(alpha_N/alpha_D) and D_c."""
        outer = grid(np.geomspace(0.02, 0.6, 19), np.geomspace(0.02, 0.6, 19))
        keep = np.linspace(0, len(loss) - 1, min(len(loss), 400)).astype(int)
        ln_n, ln_d, y = np.log(x["N"][keep]), np.log(x["D"][keep]), np.log(loss[keep])
        ratio, alpha_d = outer[:, :1] / outer[:, 1:], outer[:, 1:]
        basis = np.stack([np.exp(-ratio * (ln_n - ln_n.mean())), np.exp(ln_d.mean() - ln_d) + 0 * ratio], axis=-1)
        target = np.exp((y - y.mean()) / alpha_d)
        found = coefficients(basis, target, alpha_d / target)
        found = np.log(np.maximum(found, 1e-3 * found.max(axis=1, keepdims=True))) + y.mean() / alpha_d
        big_n = found[:, 0] / ratio[:, 0] + ln_n.mean()
        return np.column_stack([big_n, found[:, 1] + ln_d.mean(), outer])
