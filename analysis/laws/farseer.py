"""Farseer: a law whose exponent and coefficient of tokens depend on size."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

import numpy as np

from pdstudy.analysis.laws.base import Array, Columns, Law, Parameter
from pdstudy.analysis.laws.joint import log_sum
from pdstudy.analysis.laws.powers import HOFFMANN
from pdstudy.analysis.laws.project import grid


def _signed(name: str, limit: float) -> Parameter:
    return Parameter(name, name, lower=-limit, upper=limit)


class Farseer(Law):
    """`exp(s N^q + S) + exp(B N^b + Q) D^(-exp(A N^a + E))`: nine parameters, none of them positive by its meaning."""

    name = "farseer"
    columns = ("N", "D")
    identified_by = MappingProxyType({"N": ("s", "q", "B", "b", "A", "a")})
    parameters = (
        _signed("s", 1e3), _signed("q", 2.0), _signed("S", 50.0),
        _signed("B", 1e5), _signed("b", 2.0), _signed("Q", 100.0),
        _signed("A", 1e3), _signed("a", 2.0), _signed("E", 20.0),
    )  # fmt: skip
    formula = r"L = e^{s N^q + S} + e^{B N^b + Q}\,D^{-\exp(A N^a + E)}"
    source = "Li et al. 2025 (Predictable Scale II, Farseer)"
    rugged = True
    note = (
        "Each of its three functions of N has a coefficient, an exponent and a constant that replace one another over "
        "a short range of sizes: read its predictions, not its parameters."
    )

    def log_loss(self, theta: Array, x: Columns) -> tuple[Array, Sequence[Array]]:
        ln_n, ln_d = np.log(x["N"]), np.log(x["D"])
        s, q, s0, b, b_n, b0, a, a_n, a0 = (theta[:, j, None] for j in range(9))
        of_q, of_b, of_a = np.exp(q * ln_n), np.exp(b_n * ln_n), np.exp(a_n * ln_n)
        power = np.exp(a * of_a + a0)
        total, floor = log_sum(s * of_q + s0, b * of_b + b0 - power * ln_d)
        data = 1.0 - floor
        slope = -data * power * ln_d
        return total, [
            floor * of_q,
            floor * s * of_q * ln_n,
            floor,
            data * of_b,
            data * b * of_b * ln_n,
            data,
            slope * of_a,
            slope * a * of_a * ln_n,
            slope,
        ]

    def starts(self, x: Columns, loss: Array) -> Array:
        """Hoffmann's best starts: the floor follows E + A N^-alpha, coefficient and exponent of D bend a little."""
        surface = HOFFMANN.starts(x, loss)
        value = HOFFMANN.log_loss(surface, x)[0]
        surface = surface[np.argsort(((value - np.log(loss)) ** 2).sum(axis=1))[:3]]
        ln_n = np.unique(np.log(x["N"]))
        rows = []
        for e, a, b, alpha, beta in surface:
            floor = np.logaddexp(e, a - alpha * ln_n)
            bends = grid(
                np.array([-0.3, -0.1, 0.1, 0.3]), np.array([-0.3, -0.1, 0.1]), np.array([-1.0, 1.0]),
                np.array([-0.1, 0.15]), np.array([-0.15, 0.15]),
            )  # fmt: skip
            for q, b_n, reach_b, a_n, reach_a in bends:
                slope, level = np.polyfit(np.exp(q * ln_n), floor, 1)
                coefficient, constant = _bend(ln_n, b_n, reach_b, b)
                rate, base = _bend(ln_n, a_n, reach_a, float(np.log(beta)))
                rows.append([slope, q, level, coefficient, b_n, constant, rate, a_n, base])
        return np.array(rows)


def _bend(ln_n: Array, power: float, reach: float, level: float) -> tuple[float, float]:
    """c and C so that c N^power + C varies by `reach` over the sizes round `level`."""
    basis = np.exp(power * ln_n)
    slope = reach / max(float(np.ptp(basis)), 1e-300)
    return slope, level - slope * float(basis.mean())
