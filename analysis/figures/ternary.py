"""Weights that sum to 1 as points of triangles."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from pdstudy.analysis.data.trials_table import Searched, SimplexWeights
from pdstudy.analysis.errors import AnalysisError
from pdstudy.analysis.figures.plot import Plot, redrawable
from pdstudy.analysis.figures.search_trials import COLOURS, colour_bar, scale
from pdstudy.analysis.figures.style import COLUMN, PAGE, look, panels, plain, styled

HEIGHT = 3**0.5 / 2
PANELS = 4


@redrawable
def ternary(searched: Searched, simplex: SimplexWeights) -> Plot:
    """Trials by their weights, a triangle per three terms, coloured by value.

    Of four terms or more each triangle shows three, in the proportions that they have among themselves; the area of a
    mark is the share of the whole that those three hold. With more than four terms the triangles are those of the four
    with the largest weights in the best trials. Raises `AnalysisError` below three terms or without a trial.
    """
    scored = searched.scored
    scored = scored.dropna(subset=list(simplex.columns)) if set(simplex.columns) <= set(scored) else scored.iloc[:0]
    if len(simplex.terms) < 3:
        raise AnalysisError("a triangle needs three terms; the slices show two")
    if not len(scored):
        raise AnalysisError("no trial of this simplex has been trained in full yet")
    scored = scored.sort_values("value", ascending=False)
    best = scored.tail(max(1, len(scored) // 5))[list(simplex.columns)].mean()
    order = [c for c in simplex.columns if c in set(best.nlargest(PANELS).index)]
    corners = list(itertools.combinations(order, 3))
    names = dict(zip(simplex.columns, simplex.terms))
    norm = scale(scored["value"])
    rows = []
    with styled():
        # One triangle is as high as wide: on a wide page it and its bar stand together in the middle.
        figure, axes = panels(PAGE if len(corners) > 1 else COLUMN, 1.6 if len(corners) > 1 else 2.6, 1, len(corners))
        for axis, three in zip(axes, corners):
            _frame(axis, [names[c] for c in three])
            weights = scored[list(three)].to_numpy(dtype=float)
            held = weights.sum(axis=1)
            # A trial that has none of the three has no place among them.
            inside = np.divide(weights, held[:, None], out=np.full_like(weights, np.nan), where=held[:, None] > 1e-9)
            x, y = inside[:, 1] + inside[:, 2] / 2, inside[:, 2] * HEIGHT
            axis.scatter(x, y, c=scored["value"], cmap=COLOURS, norm=norm, s=4 + 32 * held, edgecolors="white",
                         linewidths=0.5, clip_on=False, zorder=3)  # fmt: skip
            axis.plot(x[-1], y[-1], "o", markersize=9, markerfacecolor="none", color=look(1).colour, clip_on=False,
                      zorder=4)  # fmt: skip
            rows.append(pd.DataFrame({"corners": "/".join(names[c] for c in three), "number": scored["number"],
                                      **{f"share {i}": inside[:, i] for i in range(3)}, "held": held,
                                      "value": scored["value"]}))  # fmt: skip
        colour_bar(figure, axes, norm, searched.objective)
        figure.set_layout_engine("compressed")
    caption = (
        f"The {len(scored)} trials trained in full by the weights of their losses; a ring marks the best. Grid lines "
        "at 0.25, 0.5 and 0.75."
    )
    if len(simplex.terms) > 3:
        caption += (
            " Each triangle has three of the terms, in their proportions among themselves; the area of a mark is the "
            "share of the whole that these three hold, and a trial without any of them is not in it."
        )
    return Plot(figure, pd.concat(rows, ignore_index=True), caption)


def _frame(axis: Axes, names: list[str]) -> None:
    """A triangle with a grid, its corners named."""
    axis.set_axis_off()
    axis.set_aspect("equal")
    corners = np.array([(0.0, 0.0), (1.0, 0.0), (0.5, HEIGHT)])
    for i in range(3):
        a, b, c = corners[i], corners[(i + 1) % 3], corners[(i + 2) % 3]
        axis.plot(*np.array([a, b]).T, color="#000000", linewidth=0.8, zorder=2)
        for share in (0.25, 0.5, 0.75):
            ends = np.array([a + share * (b - a), a + share * (c - a)])
            axis.plot(*ends.T, color="#d8d8d8", linewidth=0.5, zorder=1)
    for (x, y), name, (dx, dy), side in zip(
        corners, names, ((-2, -4), (2, -4), (0, 4)), ("left", "right", "center"), strict=True
    ):
        axis.annotate(plain(name), (x, y), (dx, dy), textcoords="offset points", ha=side,
                      va="bottom" if dy > 0 else "top", fontsize="medium")  # fmt: skip
    axis.set_xlim(-0.06, 1.06)
    axis.set_ylim(-0.12, HEIGHT + 0.1)
