"""Laws of mixtures of experts: active parameters, number of experts, and tokens.

Both count experts by Clark et al.'s saturating transform, which is E_start for a dense model and at most E_max:

    1 / E^ = 1 / (E - 1 + 1 / (1 / E_start - 1 / E_max)) + 1 / E_max
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pdstudy.analysis.laws.base import Array, Columns, Law, Parameter, coefficient, floor
from pdstudy.analysis.laws.project import coefficients, grid

_ENDS = (
    Parameter("E_start", r"E_\mathrm{start}", log=True, lower=0.5, upper=50.0),
    Parameter("E_max", r"E_\mathrm{max}", log=True, lower=60.0, upper=1e6),
)


def saturating_experts(experts: Array, start: Array, end: Array) -> tuple[Array, Array, Array]:
    """ln of the effective number of experts, and its derivatives by ln E_start and ln E_max."""
    gap = 1 / start - 1 / end
    reach = experts - 1 + 1 / gap
    inverse = 1 / reach + 1 / end
    shared = 1 / (reach * gap) ** 2
    return -np.log(inverse), shared / start / inverse, (1 - shared) / end / inverse


class RoutedExperts(Law):
    """`log10 L = a log10 N + b log10 E^ + c log10 N log10 E^ + d` at one number of tokens; N is active parameters."""

    name = "routed"
    columns = ("N", "X")
    parameters = (
        Parameter("a", "a", lower=-2.0, upper=2.0),
        Parameter("b", "b", lower=-5.0, upper=5.0),
        Parameter("c", "c", lower=-1.0, upper=1.0, resolution=0.005),
        Parameter("d", "d", lower=-20.0, upper=20.0),
        *_ENDS,
    )
    formula = r"\log_{10} L = a \log_{10} N + b \log_{10} \hat E + c \log_{10} N \log_{10} \hat E + d"
    source = "Clark et al. 2022, eq. 2 and 9; X is the number of experts (1: dense)"

    def log_loss(self, theta: Array, x: Columns) -> tuple[Array, Sequence[Array]]:
        a, b, c, d = (theta[:, j, None] for j in range(4))
        start, end = np.exp(theta[:, 4, None]), np.exp(theta[:, 5, None])
        ln_n, ten = np.log(x["N"]), np.log(10.0)
        ln_e, by_start, by_end = saturating_experts(x["X"], start, end)
        slope = b + c * ln_n / ten
        value = a * ln_n + slope * ln_e + d * ten
        one = np.ones_like(value)
        return value, [ln_n * one, ln_e, ln_n * ln_e / ten, ten * one, slope * by_start, slope * by_end]

    def starts(self, x: Columns, loss: Array) -> Array:
        """For given E_start and E_max the law is linear."""
        rows = []
        for start, end in grid(np.array([1.0, 1.5, 2.5, 4.0, 8.0]), np.geomspace(100, 3000, 6)):
            ln_e = saturating_experts(x["X"], np.array(start), np.array(end))[0]
            n, e = np.log10(x["N"]), ln_e / np.log(10.0)
            basis = np.stack([n, e, n * e, np.ones_like(n)], axis=1)
            rows.append([*np.linalg.lstsq(basis, np.log10(loss), rcond=None)[0], np.log(start), np.log(end)])
        return np.array(rows)


class JointExperts(Law):
    """`a E^^delta N^(alpha + gamma ln E^) + b E^^omega D^(beta + zeta ln E^) + c`; N is active parameters."""

    name = "moe"
    columns = ("N", "D", "X")
    parameters = (
        floor("c"),
        coefficient("a"),
        coefficient("b"),
        *(Parameter(n, rf"\{n}", lower=-3.0, upper=3.0, resolution=0.05) for n in ("alpha", "beta", "delta", "omega")),
        *(Parameter(n, rf"\{n}", lower=-0.5, upper=0.5, resolution=0.005) for n in ("gamma", "zeta")),
        *_ENDS,
    )
    formula = (
        r"L = a \hat E^{\delta} N^{\alpha + \gamma \ln \hat E} + b \hat E^{\omega} D^{\beta + \zeta \ln \hat E} + c"
    )
    source = "Ludziejewski et al. 2025 (Joint MoE scaling laws); X is the number of experts (1: dense)"
    note = (
        "Exponents carry their sign as published: alpha and beta are below zero. Total parameters follow from N and X."
    )

    def log_loss(self, theta: Array, x: Columns) -> tuple[Array, Sequence[Array]]:
        c, a, b, alpha, beta, delta, omega, gamma, zeta, start, end = (theta[:, j, None] for j in range(11))
        ln_n, ln_d = np.log(x["N"]), np.log(x["D"])
        ln_e, by_start, by_end = saturating_experts(x["X"], np.exp(start), np.exp(end))
        size = np.exp(a + delta * ln_e + (alpha + gamma * ln_e) * ln_n)
        data = np.exp(b + omega * ln_e + (beta + zeta * ln_e) * ln_d)
        total = np.exp(c) + size + data
        size, data = size / total, data / total
        by_e = size * (delta + gamma * ln_n) + data * (omega + zeta * ln_d)
        return np.log(total), [
            np.exp(c) / total,
            size,
            data,
            size * ln_n,
            data * ln_d,
            size * ln_e,
            data * ln_e,
            size * ln_e * ln_n,
            data * ln_e * ln_d,
            by_e * by_start,
            by_e * by_end,
        ]

    def starts(self, x: Columns, loss: Array) -> Array:
        """For given exponents, E_start and E_max it is linear in a, b and c; the cross terms begin at zero."""
        powers = np.array([-0.15, -0.3, -0.5])
        shifts = np.array([-0.3, 0.0, 0.3])
        outer = grid(powers, powers, shifts, shifts, np.array([1.5, 4.0]), np.array([100.0, 600.0]))
        alpha, beta, delta, omega, start, end = (outer[:, j, None] for j in range(6))
        ln_n, ln_d = np.log(x["N"]), np.log(x["D"])
        ln_e = saturating_experts(x["X"], start, end)[0]
        size = delta * ln_e + alpha * (ln_n - ln_n.mean())
        data = omega * ln_e + beta * (ln_d - ln_d.mean())
        basis = np.stack([np.ones_like(size), np.exp(size), np.exp(data)], axis=-1)
        found = coefficients(basis, loss, 1 / loss)
        found = np.log(np.maximum(found, 1e-3 * loss.min()))
        found[:, 1] -= alpha[:, 0] * ln_n.mean()
        found[:, 2] -= beta[:, 0] * ln_d.mean()
        none = np.zeros((len(outer), 2))
        return np.column_stack([found, outer[:, :4], none, np.log(outer[:, 4:])])
