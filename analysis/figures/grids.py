"""Lines in a grid of panels that share their axes: learning curves per size, sweeps per size."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.plot import Plot
from analysis.style import COLUMN, PAGE, counts_axis, look, panels, plain, styled


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
    best: bool = False,
) -> Plot:
    """Mean over seeds with the range from the lowest to the highest seed, a line per arm, a panel per level of `panel`.

    `table` has a row per point of a run. Only values of `x` that every seed of a line has are averaged, so that a run
    that ended early cannot bend the mean. `best` marks the lowest mean of each line with a ring.
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
        _share(axes[: len(levels)], columns, x_label, y_label, logarithmic)
        for axis in axes[len(levels) :]:
            axis.set_visible(False)
        axes[0].legend()
    data = pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()
    seeds = sorted(set(data["seeds"])) if rows else [0]
    n = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    return Plot(figure, data, f"{caption} Mean over seeds (n = {n}); bands span the lowest and the highest seed.")


def _share(axes: list[Axes], columns: int, x_label: str, y_label: str, logarithmic: bool) -> None:
    """One range for all panels, labels at the edges only."""
    drawn = [a for a in axes if a.lines]
    if not drawn:
        return
    for which in ("x", "y"):
        limits = np.array([getattr(a, f"get_{which}lim")() for a in drawn])
        for a in axes:
            getattr(a, f"set_{which}lim")(limits[:, 0].min(), limits[:, 1].max())
    for i, a in enumerate(axes):
        if logarithmic:
            a.set_xscale("log")
        else:
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
