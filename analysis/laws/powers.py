"""Sums of power terms: one variable, Hoffmann, tied, over-training, width and depth, and any other of that kind.

    L = E + sum_j A_j prod_c x_c^(-exponent_jc)

For given exponents it is linear in E and A_j, which gives starts in closed form; its logarithm is a log-sum-exp.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pdstudy.analysis.laws.base import Array, Columns, Law, Parameter, coefficient, exponent
from pdstudy.analysis.laws.base import floor as irreducible
from pdstudy.analysis.laws.project import coefficients, grid

# Values per exponent in the grid of starts, by number of distinct exponents: 361 points for two, as fits.md measured.
_VALUES = {1: 60, 2: 19, 3: 9, 4: 6}


@dataclass(frozen=True)
class Term:
    """`coefficient * prod (x_column / unit)^-exponent`; terms that name the same exponent share it."""

    coefficient: str
    exponents: tuple[tuple[str, str], ...]
    unit: float = 1.0


class SumOfPowers(Law):
    """A law of the form above. A user's own is one call:

    >>> law = SumOfPowers("width-depth", (Term("A", (("W", "alpha"),)), Term("B", (("H", "beta"),))), source="mine")
    """

    def __init__(self, name: str, terms: Sequence[Term], *, source: str, floor: bool = True, note: str = "") -> None:
        self.name, self.terms, self.floor, self.source, self.note = name, tuple(terms), floor, source, note
        self.columns = tuple(dict.fromkeys(c for term in terms for c, _ in term.exponents))
        self.identified_by = {
            c: tuple(
                dict.fromkeys(n for t in terms for column, e in t.exponents if column == c for n in (t.coefficient, e))
            )
            for c in self.columns
        }
        self._exponents = tuple(dict.fromkeys(e for term in terms for _, e in term.exponents))
        if len(self._exponents) not in _VALUES:
            raise ValueError(
                f"{name} has {len(self._exponents)} exponents; 1 to {max(_VALUES)} can be searched: tie some"
            )
        parameters: list[Parameter] = [irreducible("E")] if floor else []
        parameters += [coefficient(term.coefficient) for term in terms]
        parameters += [exponent(e, rf"\{e}" if e.isalpha() else _indexed(e)) for e in self._exponents]
        self.parameters = tuple(parameters)
        self.formula = "L = " + " + ".join((["E"] if floor else []) + [_latex(term) for term in terms])

    def log_loss(self, theta: Array, x: Columns) -> tuple[Array, Sequence[Array]]:
        logs = {c: np.log(x[c]) for c in self.columns}
        first = int(self.floor)
        place = {e: first + len(self.terms) + i for i, e in enumerate(self._exponents)}
        parts = []
        for j, term in enumerate(self.terms):
            z = theta[:, first + j, None] + np.zeros(1)
            for column, e in term.exponents:
                z = z - theta[:, place[e], None] * (logs[column] - np.log(term.unit))
            parts.append(np.exp(z))
        floor = np.exp(theta[:, :1]) if self.floor else np.zeros((len(theta), 1))
        total = sum(parts, floor)
        shares = [np.divide(part, total, out=part) for part in parts]
        derivatives = [floor / total] if self.floor else []
        slopes: dict[str, Array] = {}
        for term, share in zip(self.terms, shares):
            for column, e in term.exponents:
                slope = share * (np.log(term.unit) - logs[column])
                slopes[e] = slopes[e] + slope if e in slopes else slope
        return np.log(total), [*derivatives, *shares, *(slopes[e] for e in self._exponents)]

    def starts(self, x: Columns, loss: Array) -> Array:
        axis = np.linspace(0.05, 1.85, _VALUES[len(self._exponents)])
        exponents = grid(*[axis] * len(self._exponents))
        rows = np.arange(len(loss))
        if len(rows) > 2000:  # starts need no more than that, and the basis below is grid x rows x terms
            rows = np.linspace(0, len(loss) - 1, 2000).astype(int)
        logs = {c: np.log(x[c][rows]) for c in self.columns}
        place = {e: i for i, e in enumerate(self._exponents)}
        scale = {c: float(values.mean()) for c, values in logs.items()}  # centred: x^-e spans 1e-30 otherwise
        basis = [np.ones((len(exponents), len(rows)))] if self.floor else []
        shifts = []
        for term in self.terms:
            power = np.zeros((len(exponents), len(rows)))
            shift = np.zeros(len(exponents))
            for column, e in term.exponents:
                power -= exponents[:, place[e], None] * (logs[column] - scale[column])
                shift += exponents[:, place[e]] * (scale[column] - np.log(term.unit))
            basis.append(np.exp(power))
            shifts.append(shift)
        found = coefficients(np.stack(basis, axis=-1), loss[rows], 1.0 / loss[rows])
        # A term that the projection switched off starts at a thousandth of the loss: it can still grow from there.
        found = np.log(np.maximum(found, 1e-3 * loss.min()))
        found[:, int(self.floor) :] += np.stack(shifts, axis=1)
        return np.concatenate([found, exponents], axis=1)


def _indexed(name: str) -> str:
    """alpha_N as \\alpha_{N}."""
    stem, _, index = name.partition("_")
    return rf"\{stem}_{{{index}}}" if index else rf"\{name}"


def _latex(term: Term) -> str:
    columns = "".join(rf" {column}^{{-{_indexed(e)}}}" for column, e in term.exponents)
    return term.coefficient + (
        columns if term.unit == 1.0 else rf" {term.unit:.4g}^{{{_indexed(term.exponents[0][1])}}}{columns}"
    )


def power_law(column: str = "N", floor: bool = True) -> SumOfPowers:
    """`E + A x^-alpha` in one column, or `A x^-alpha` without the floor."""
    name = "power-floor" if floor else "power"
    source = "Henighan et al. 2020, eq. 1.1" if floor else "Kaplan et al. 2020, eq. 1.1"
    return SumOfPowers(name, (Term("A", ((column, "alpha"),)),), floor=floor, source=source)


HOFFMANN = SumOfPowers(
    "hoffmann",
    (Term("A", (("N", "alpha"),)), Term("B", (("D", "beta"),))),
    source="Hoffmann et al. 2022 (Chinchilla), eq. 2",
)

TIED = SumOfPowers(
    "tied",
    (Term("A", (("N", "alpha"),)), Term("B", (("D", "alpha"),))),
    source="Muennighoff et al. 2023, section 3 (alpha = beta)",
)

OVERTRAINING = SumOfPowers(
    "overtraining",
    (Term("A", (("N", "eta"),)), Term("B", (("D", "eta"),), unit=float(1 / np.sqrt(6)))),
    source="Gadre et al. 2024, eq. 4 (M = D/N, so that M N = D)",
    note="The same surface as 'tied', with B = b 6^(-eta/2).",
)

WIDTH_DEPTH = SumOfPowers(
    "width-depth",
    (Term("A", (("W", "alpha"),)), Term("B", (("H", "beta"),)), Term("G", (("D", "gamma"),))),
    source="McLeish et al. 2025 (Gemstones), width W, depth H, tokens D",
)

WIDTH_DEPTH_SIZE = SumOfPowers(
    "width-depth-size",
    (
        Term("A", (("W", "alpha"),)),
        Term("B", (("H", "beta"),)),
        Term("P", (("N", "nu"),)),
        Term("G", (("D", "gamma"),)),
    ),
    source="McLeish et al. 2025 (Gemstones), width W, depth H, parameters N, tokens D",
)
