"""Whether the best learning rate stays where it is as width grows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pdstudy.analysis.data.points import positive
from pdstudy.analysis.laws.base import Array
from pdstudy.analysis.scaling.budget_minimum import solve_vertex

DRAWS = 1000
"""Draws of the noise over seeds behind an interval."""


@dataclass(frozen=True)
class RateTransfer:
    """Best rates by line and width, one row each.

    Columns: `line`, `width`, `rate` (NaN where the lowest loss is at an end of the rates tried), `low`, `high` (95 % by
    the scatter of seeds, or the neighbours of the lowest rate where there is one seed), `loss`, `drift` from the line's
    smallest width in steps of root two, with `drift_low` and `drift_high`, and `note`.
    """

    frame: pd.DataFrame
    by_seeds: bool


def best_rates(table: pd.DataFrame, *, seed: int = 0) -> RateTransfer:
    """The rate of lowest loss of each line and width, by a parabola in ln rate through the lowest mean and its two
    neighbours.

    Args:
        table: columns `line`, `width`, `rate`, `loss`; rows of one place are seeds.

    Raises:
        DataError: a bad column.
    """
    checked = table.assign(**{c: positive(table, c, m) for c, m in (("rate", "rates"), ("width", "widths"))})
    cells = checked.groupby(["line", "width", "rate"], sort=True)["loss"].agg(["mean", "count", "var"]).reset_index()
    freedom = int((cells["count"] - 1).sum())
    # Pooled over places: a few seeds at each tell little by themselves.
    variance = float((cells["var"] * (cells["count"] - 1)).sum() / freedom) if freedom else float("nan")
    rng = np.random.default_rng(seed)
    rows = []
    for line, part in cells.groupby("line", sort=False):
        first: Array | None = None
        for width, place in part.groupby("width"):
            rates = place["rate"].to_numpy(dtype=float)
            row, drawn = _find_best(rates, place["mean"].to_numpy(), place["count"].to_numpy(), variance, freedom, rng)
            if first is None:
                first = drawn
            if len(drawn) and len(first):
                centre, low, high = 2 * _differ(drawn, first, freedom) / np.log(2)
                row |= {"drift": centre, "drift_low": min(low, centre), "drift_high": max(high, centre)}
            rows.append({"line": line, "width": width, **row})
    columns = ["line", "width", "rate", "low", "high", "loss", "drift", "drift_low", "drift_high", "note"]
    return RateTransfer(pd.DataFrame(rows, columns=columns), freedom > 0)


def _find_best(
    rates: Array, means: Array, counts: Array, variance: float, freedom: int, rng: np.random.Generator
) -> tuple[dict[str, object], Array]:
    """The row of one place, and ln of its best rate followed by draws of it (by seeds) or the ends of its interval."""
    at = int(np.argmin(means))
    if at in (0, len(rates) - 1):
        return {"loss": means[at], "note": f"lowest at an end of its rates, {rates[at]:g}"}, np.empty(0)
    near, x = slice(at - 1, at + 2), np.log(rates)
    vertex, loss = solve_vertex(x[near], means[near][:, None])
    if not freedom:
        ends = np.log([rates[at - 1], rates[at + 1]])
        row = {"rate": np.exp(vertex[0]), "low": rates[at - 1], "high": rates[at + 1], "loss": loss[0],
               "note": "interval: the neighbouring rates"}  # fmt: skip
        return row, np.array([vertex[0], *ends])
    scale = np.sqrt(variance * freedom / rng.chisquare(freedom, DRAWS))
    noisy = means[:, None] + scale * rng.standard_normal((len(rates), DRAWS)) / np.sqrt(counts)[:, None]
    drawn = _vertices(x, noisy)
    low, high = np.exp(np.quantile(drawn, [0.025, 0.975]))
    note = f"{float(np.mean((drawn <= x[0]) | (drawn >= x[-1]))):.0%} of draws at an end"
    row = {"rate": np.exp(vertex[0]), "low": low, "high": high, "loss": loss[0], "note": note}
    return row, np.concatenate([vertex, drawn])


def _differ(drawn: Array, first: Array, freedom: int) -> Array:
    """Difference of two places in ln of the best rate, and the ends of its interval, (3,); arrays of `_find_best`."""
    if drawn is first:
        return np.zeros(3)
    if not freedom:  # largest between opposite ends of the two intervals
        return np.array([drawn[0] - first[0], drawn[1] - first[2], drawn[2] - first[1]])
    return np.array([drawn[0] - first[0], *np.quantile(drawn[1:] - first[1:], [0.025, 0.975])])


def _vertices(x: Array, values: Array) -> Array:
    """ln of the best rate of each column of `values`; that of the end where its lowest loss is there."""
    at = values.argmin(axis=0)
    middle, columns = np.clip(at, 1, len(x) - 2), np.arange(values.shape[1])
    (a, b, c), (u, v, w) = ([z[middle + k] for k in (-1, 0, 1)] for z in (x, x**2))
    f, g, h = (values[middle + k, columns] for k in (-1, 0, 1))
    with np.errstate(all="ignore"):
        found = 0.5 * (f * (v - w) + g * (w - u) + h * (u - v)) / (f * (b - c) + g * (c - a) + h * (a - b))
    return np.where(at == middle, np.clip(found, a, c), x[at])
