"""Lines in a grid of panels that share their axes: learning curves per size, sweeps per size."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from pdstudy.analysis.errors import AnalysisError
from pdstudy.analysis.figures.plot import Plot
from pdstudy.analysis.figures.style import COLUMN, PAGE, counts_axis, look, panels, plain, styled


def line_grid(
    table: pd.DataFrame,
    *,
    x: str,
    y: str,
    arm: str,
    panel: str | None,
    seed: str = "seed",
    x_label: str,
    y_label: str,
    logarithmic: bool,
    caption: str,
    arm_label: str = "",
    best: bool = False,
) -> Plot:
    """Mean over seeds with the range from the lowest to the highest seed, a line per arm, a panel per level of `panel`.

    `table` has a row per point of a run. Only values of `x` that every seed of a line has are averaged, so that a run
    that ended early cannot bend the mean. `arm_label` stands over the names of the lines. `best` marks the lowest mean
    of each line with a ring. Raises `AnalysisError` where there is no such point.
    """
    levels = list(dict.fromkeys(table[panel])) if panel else [None]
    arms = list(dict.fromkeys(table[arm]))
    columns = min(4, len(levels))
    count = -(-len(levels) // columns)
    rows: list[pd.DataFrame] = []
    with styled():
        width = PAGE if len(levels) > 1 else COLUMN
        figure, axes = panels(width, 0.45 + 1.75 * count if len(levels) > 1 else 2.5, count, columns)
        for axis, level in zip(axes, levels):
            part = table[table[panel] == level] if panel else table
            for i, name in enumerate(arms):
                wide = part[part[arm] == name].pivot_table(index=x, columns=seed, values=y, aggfunc="last").dropna()
                if not len(wide):
                    continue
                style, mean = look(i), wide.mean(axis=1)
                low, high = wide.min(axis=1), wide.max(axis=1)
                axis.plot(
                    wide.index, mean, color=style.colour, linestyle=style.dash, marker=style.marker, markersize=3,
                    markevery=max(1, len(wide) // 8), label=plain(name),
                )  # fmt: skip
                axis.fill_between(wide.index, low, high, color=style.colour, alpha=0.2, linewidth=0)
                if best:
                    at = mean.idxmin()
                    axis.plot([at], [mean[at]], "o", color=style.colour, markerfacecolor="none", markersize=8)
                done = {"arm": name, x: wide.index, "mean": mean.values, "low": low.values, "high": high.values}
                rows.append(pd.DataFrame({"panel": level, **done, "seeds": wide.shape[1]}))
            if level is not None:
                axis.set_title(plain(level))
        if not rows:
            raise AnalysisError("no point has been reached by all of a line's seeds yet")
        if logarithmic:
            x_label = _swept(axes[: len(levels)], np.unique(table[x].to_numpy(dtype=float)), x_label)
        _share(axes[: len(levels)], columns, x_label, y_label)
        for axis in axes[len(levels) :]:
            axis.set_visible(False)
        _legend(figure, axes, arms, arm_label)
    data = pd.concat(rows, ignore_index=True)
    seeds = sorted(set(data["seeds"]))
    n = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    return Plot(figure, data, f"{caption} Mean over seeds (n = {n}); bands span the lowest and the highest seed.")


def _swept(axes: list[Axes], values: np.ndarray, x_label: str) -> str:
    """A logarithmic axis with a tick at each value swept, in units of a power of ten that the label then names."""
    power = int(np.floor(np.log10(values.min())))
    for a in axes:
        a.set_xscale("log")
        a.set_xticks(values, [f"{v / 10.0**power:.3g}" for v in values])
        a.xaxis.set_minor_locator(NullLocator())
    return x_label if power == 0 else rf"{x_label} ($\times 10^{{{power}}}$)"


def _legend(figure: Figure, axes: list[Axes], arms: list[str], title: str) -> None:
    """Every arm once, above the panels: no panel needs to hold them all."""
    looks = [look(i) for i in range(len(arms))]
    handles = [
        Line2D([], [], color=s.colour, linestyle=cast(Any, s.dash), marker=s.marker, markersize=3) for s in looks
    ]
    names = [plain(a) for a in arms]
    # One panel is half as wide as several.
    columns = 6 if len(axes) > 1 else 2
    figure.legend(handles, names, loc="outside upper right", ncols=columns, title=plain(title) or None)


def _share(axes: list[Axes], columns: int, x_label: str, y_label: str) -> None:
    """One range for all panels, labels at the edges only."""
    drawn = [a for a in axes if a.lines]
    if not drawn:
        return
    for which in ("x", "y"):
        limits = np.array([getattr(a, f"get_{which}lim")() for a in drawn])
        for a in axes:
            getattr(a, f"set_{which}lim")(limits[:, 0].min(), limits[:, 1].max())
    for i, a in enumerate(axes):
        if a.get_xscale() == "linear":
            counts_axis(a, logarithmic=False)
            a.locator_params(axis="x", nbins=4)
        if i % columns:
            a.tick_params(labelleft=False)
        else:
            a.set_ylabel(y_label)
        if i + columns >= len(axes):
            a.set_xlabel(x_label)
        else:
            a.tick_params(labelbottom=False)
