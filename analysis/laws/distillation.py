"""Busbridge et al.'s law of a distilled student, in its identified limit and in full.

    L_S = L_T + L_T^-c0 * middle * (A N^-alpha + B D^-beta)^gamma
    full:   middle = [1 + (L_T / (L_M d1))^(1/f1)]^(-c1 f1)
    limit:  middle = exp(-k (L_T / L_M)^(1/f1)),  k = c1 f1 d1^(-1/f1)

N and D are the student's parameters (without embeddings) and tokens; LT is the teacher's loss on the student's
validation set; LM is the loss that the same student reaches on the same tokens without a teacher (a matched run, or the
supervised law's prediction). For large c1 the full form tends to the limit: c1 runs away in fits (the published
interval of zero width on c1 is a stuck optimiser) while k stays, so the limit is the default.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from types import MappingProxyType

import numpy as np

from pdstudy.analysis.laws.base import Array, Columns, Law, Parameter, coefficient, exponent
from pdstudy.analysis.laws.joint import log_sum
from pdstudy.analysis.laws.project import grid

_SHARED = (
    coefficient("A", "A'"),
    coefficient("B", "B'"),
    exponent("alpha", r"\alpha'"),
    exponent("beta", r"\beta'"),
    exponent("gamma", r"\gamma'"),
    Parameter("c0", "c_0", lower=-10.0, upper=30.0, resolution=1.0),
)


_EXACT = "Intervals take LT and LM as exact unless they are drawn too (--supervised, --teacher-error)."


class _Distilled(Law):
    """The part that both forms share: everything but the middle factor."""

    columns = ("N", "D", "LT", "LM")
    identified_by = MappingProxyType({"N": ("A", "alpha"), "D": ("B", "beta")})

    @abstractmethod
    def _middle(self, theta: Array, log_ratio: Array) -> tuple[Array, list[Array]]:
        """ln of the middle factor and its derivatives by the parameters after the shared ones."""

    def log_loss(self, theta: Array, x: Columns) -> tuple[Array, Sequence[Array]]:
        ln_n, ln_d, ln_t = np.log(x["N"]), np.log(x["D"]), np.log(x["LT"])
        a, b, alpha, beta, gamma, c0 = (theta[:, j, None] for j in range(6))
        inner, share = log_sum(a - alpha * ln_n, b - beta * ln_d)
        middle, slopes = self._middle(theta, ln_t - np.log(x["LM"]))
        total, teacher = log_sum(ln_t + 0 * inner, -c0 * ln_t + middle + gamma * inner)
        reach = 1.0 - teacher
        pull = reach * gamma
        return total, [
            pull * share,
            pull * (1 - share),
            -pull * share * ln_n,
            -pull * (1 - share) * ln_d,
            reach * inner,
            -reach * ln_t,
            *(reach * slope for slope in slopes),
        ]


class DistillationLimit(_Distilled):
    """The limit of large c1: eight parameters, all of which data can identify."""

    name = "distillation"
    parameters = (*_SHARED, coefficient("k"), Parameter("f1", "f_1", log=True, lower=0.01, upper=10.0))
    formula = (
        r"L_S = L_T + L_T^{-c_0} \exp\left[-k (L_T/\tilde L_S)^{1/f_1}\right]"
        r"\left(A' N_S^{-\alpha'} + B' D_S^{-\beta'}\right)^{\gamma'}"
    )
    source = "Busbridge et al. 2025, eq. 8 for c_1 to infinity, k = c_1 f_1 d_1^(-1/f_1)"
    note = _EXACT

    def _middle(self, theta: Array, log_ratio: Array) -> tuple[Array, list[Array]]:
        power = log_ratio / np.exp(theta[:, 7, None])
        value = -np.exp(np.minimum(theta[:, 6, None] + power, 600.0))
        return value, [value, -value * power]

    def starts(self, x: Columns, loss: Array) -> Array:
        """For given f1, exponents and A/B, ln(L - LT) is linear in c0, k, gamma and a constant."""
        above = loss > x["LT"] * (1 + 1e-6)
        if above.sum() < 6:  # nearly all students are below their teachers: then only a plain grid is left
            above = np.ones(len(loss), dtype=bool)
        ln_n, ln_d, ln_t = (np.log(x[c][above]) for c in ("N", "D", "LT"))
        log_ratio = ln_t - np.log(x["LM"][above])
        gap = np.maximum(loss[above] - x["LT"][above], 1e-6 * loss[above])
        target, weight = np.log(gap), gap / loss[above]
        # At the middle of the data the student term is e^balance times the token term.
        outer = grid(
            np.array([0.03, 0.06, 0.1, 0.2, 0.4]), *[np.array([0.15, 0.3, 0.45, 0.65])] * 2, np.linspace(-3, 3, 5)
        )
        f1, alpha, beta, balance = (outer[:, j, None] for j in range(4))
        inner = np.logaddexp(balance - alpha * (ln_n - ln_n.mean()), -beta * (ln_d - ln_d.mean()))
        basis = np.stack(
            [0 * inner - ln_t, -np.exp(np.minimum(log_ratio / f1, 100.0)), inner, np.ones_like(inner)], axis=-1
        )
        scaled = basis * weight[None, :, None]
        size = np.sqrt(np.einsum("gnk,gnk->gk", scaled, scaled)) + 1e-30
        scaled = scaled / size[:, None, :]
        gram = np.einsum("gnk,gnl->gkl", scaled, scaled) + 1e-9 * np.eye(4)
        solved = np.linalg.solve(gram, np.einsum("gnk,n->gk", scaled, target * weight)[..., None])[..., 0] / size
        gamma = np.clip(solved[:, 2], 0.1, 3.0)
        b = solved[:, 3] / gamma + outer[:, 2] * ln_d.mean()
        a = solved[:, 3] / gamma + outer[:, 3] + outer[:, 1] * ln_n.mean()
        k = np.log(np.clip(solved[:, 1], 1e-2, 1e4))
        c0 = np.clip(solved[:, 0], -5.0, 20.0)
        return np.column_stack([a, b, outer[:, 1], outer[:, 2], gamma, c0, k, np.log(outer[:, 0])])


class DistillationFull(_Distilled):
    """Equation 8 with its nine parameters, on request: c1 and d1 aren't identified, k is."""

    name = "distillation-full"
    parameters = (
        *_SHARED,
        coefficient("c1", "c_1"),
        Parameter("f1", "f_1", log=True, lower=0.01, upper=10.0),
        coefficient("d1", "d_1"),
    )
    formula = (
        r"L_S = L_T + L_T^{-c_0} \left[1 + (L_T/(\tilde L_S d_1))^{1/f_1}\right]^{-c_1 f_1}"
        r"\left(A' N_S^{-\alpha'} + B' D_S^{-\beta'}\right)^{\gamma'}"
    )
    source = "Busbridge et al. 2025, eq. 8"
    note = (
        "c1 and d1 lie on a ridge: only k = c1 f1 d1^(-1/f1) is identified. Use the limit form ('distillation'). "
        + _EXACT
    )

    def _middle(self, theta: Array, log_ratio: Array) -> tuple[Array, list[Array]]:
        c1, f1, d1 = np.exp(theta[:, 6, None]), np.exp(theta[:, 7, None]), theta[:, 8, None]
        z = (log_ratio - d1) / f1
        soft = np.logaddexp(0.0, z)
        # Below z = -30, ln(1 + e^z) is e^z to double precision, and stays exact while c1 runs to 1e11.
        share = np.exp(z - soft)
        value = -c1 * f1 * soft
        return value, [value, value + c1 * f1 * share * z, c1 * share]

    def starts(self, x: Columns, loss: Array) -> Array:
        """The limit's best starts, each with four places of the break and the c1 that has the same k there."""
        limit = DistillationLimit()
        found = limit.starts(x, loss)
        value = limit.log_loss(found, x)[0]
        found = found[np.argsort(((value - np.log(loss)) ** 2).sum(axis=1))[:200]]
        rows = []
        for d1 in np.log([0.9, 1.1, 1.3, 1.6]):
            c1 = found[:, 6] + d1 / np.exp(found[:, 7]) - found[:, 7]
            rows.append(np.column_stack([found[:, :6], c1, found[:, 7], np.full(len(found), d1)]))
        return np.concatenate(rows)


GAMMA_PUBLISHED = {"E": 1.220, "A": 3355.0, "B": 18186.0, "alpha": 0.408, "beta": 0.431, "gamma": 0.452}
"""Busbridge et al. 2025, Table 6, supervised law."""

DISTILLATION_PUBLISHED = {
    "A": 2243.0, "B": 24181.0, "alpha": 0.321, "beta": 0.637, "gamma": 0.764,
    "c0": 2.549, "c1": 522.6, "f1": 0.090, "d1": 1.315,
}  # fmt: skip
"""Busbridge et al. 2025, Table 6, distillation law."""


def stable(c1: float, f1: float, d1: float) -> float:
    """k = c1 f1 d1^(-1/f1), the combination of c1 and d1 that data identify."""
    return float(np.exp(np.log(c1) + np.log(f1) - np.log(d1) / f1))
