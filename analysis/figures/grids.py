"""Lines in a grid of panels that share their axes: learning curves per size, sweeps per size."""

from __future__ import annotations

from typing import Any, cast

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from pdstudy.analysis.errors import AnalysisError
from pdstudy.analysis.figures.hover import say_points
from pdstudy.analysis.figures.medium import SHARED_PANEL, current_medium
from pdstudy.analysis.figures.plot import Plot, redrawable
from pdstudy.analysis.figures.style import BASELINE, COLUMN, PAGE, Look, counts_axis, look, panels, plain, styled
from pdstudy.core.format import si

MOST_LINES = 14
"""Most lines that have a look each; of more, the three that end lowest and the one that ends highest stand out."""


@redrawable
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
    looks = _choose_looks(table, arm, x, y)
    columns = current_medium().fit(min(4, len(levels)), SHARED_PANEL)
    count = -(-len(levels) // columns)
    rows: list[pd.DataFrame] = []
    with styled():
        width = PAGE if len(levels) > 1 else COLUMN
        figure, axes = panels(width, 0.45 + 1.75 * count if len(levels) > 1 else 2.5, count, columns, wrap=False)
        for axis, level in zip(axes, levels):
            part = table[table[panel] == level] if panel else table
            for name in arms:
                wide = part[part[arm] == name].pivot_table(index=x, columns=seed, values=y, aggfunc="last").dropna()
                if not len(wide):
                    continue
                style, mean = looks[name], wide.mean(axis=1)
                low, high = wide.min(axis=1), wide.max(axis=1)
                if style is None:
                    axis.plot(wide.index, mean, color=BASELINE.colour, linewidth=0.5, alpha=0.4, zorder=1)
                else:
                    axis.plot(
                        wide.index, mean, color=style.colour, linestyle=style.dash, marker=style.marker, markersize=3,
                        markevery=max(1, len(wide) // 8), label=plain(name),
                    )  # fmt: skip
                    axis.fill_between(wide.index, low, high, color=style.colour, alpha=0.2, linewidth=0)
                if best and style is not None:
                    at = mean.idxmin()
                    axis.plot([at], [mean[at]], "o", color=style.colour, markerfacecolor="none", markersize=8)
                where = f"{level}, {name}" if level is not None else str(name)
                texts = _say_means(where, wide, logarithmic)
                say_points(axis, wide.index, mean, texts) if style is not None or len(arms) < 100 else say_points(
                    axis, wide.index[-1:], mean[-1:], texts[-1:])  # fmt: skip
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
        _legend(figure, axes, looks, arm_label)
    data = pd.concat(rows, ignore_index=True)
    seeds = sorted(set(data["seeds"]))
    n = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    text = f"{caption} Mean over seeds (n = {n}); bands span the lowest and the highest seed."
    plain_lines = sum(each is None for each in looks.values())
    text += f" Grey: {plain_lines} other arms." if plain_lines else ""
    return Plot(figure, data, text, _see(data, x))


def _choose_looks(table: pd.DataFrame, arm: str, x: str, y: str) -> dict[object, Look | None]:
    """The look of each line by name; of more than `MOST_LINES` only those at the ends have one."""
    arms = list(dict.fromkeys(table[arm]))
    if len(arms) <= MOST_LINES:
        return {name: look(i) for i, name in enumerate(arms)}
    last = table.loc[table.groupby(arm, sort=False)[x].transform("max") == table[x]]
    order = last.groupby(arm, sort=False)[y].mean().sort_values().index
    stand_out = [*order[:3], order[-1]]
    return {name: look(stand_out.index(name)) if name in stand_out else None for name in arms}


def _say_means(where: str, wide: pd.DataFrame, logarithmic: bool) -> list[str]:
    """Title of each point of a line: its arm, its place, its mean and its range over seeds."""
    texts = []
    for at, row in zip(wide.index, wide.to_numpy(), strict=True):
        place = f"{at:g}" if logarithmic else si(at)
        spread = f" ({row.min():.4g} to {row.max():.4g}, {len(row)} seeds)" if len(row) > 1 else ""
        texts.append(f"{where}, {place}: {row.mean():.4g}{spread}")
    return texts


def _see(data: pd.DataFrame, x: str) -> str:
    """Which line ends lowest and which highest, in words."""
    low, high = [], []
    for _, part in data.groupby("panel", sort=False, dropna=False):
        ends = part.loc[part.groupby("arm", sort=False)[x].idxmax()].sort_values("mean")
        low.append((str(ends["arm"].iloc[0]), float(ends["mean"].iloc[0])))
        high.append((str(ends["arm"].iloc[-1]), float(ends["mean"].iloc[-1])))
    said = []
    for found, which in ((low, "lowest"), (high, "highest")):
        names = [name for name, _ in found]
        top = max(dict.fromkeys(names), key=names.count)
        values = [value for name, value in found if name == top]
        panels_of = f" in {len(values)} of {len(found)} panels" if len(found) > 1 else ""
        between = f"{min(values):.3g}" + (f" to {max(values):.3g}" if len(values) > 1 else "")
        said.append(f"{top} ends {which}{panels_of}, at {between}")
    lines = data["arm"].nunique()
    return f"{lines} line{'s' if lines > 1 else ''}: {said[0]}" + (f"; {said[1]}." if lines > 1 else ".")


def _swept(axes: list[Axes], values: np.ndarray, x_label: str) -> str:
    """A logarithmic axis with a tick at each value swept, in units of a power of ten that the label then names."""
    power = int(np.floor(np.log10(values.min())))
    for a in axes:
        a.set_xscale("log")
        a.set_xticks(values, [f"{v / 10.0**power:.3g}" for v in values])
        a.xaxis.set_minor_locator(NullLocator())
    return x_label if power == 0 else rf"{x_label} ($\times 10^{{{power}}}$)"


def _legend(figure: Figure, axes: list[Axes], looks: dict[object, Look | None], title: str) -> None:
    """Every arm with a look once, above the panels: no panel needs to hold them all."""
    named = {plain(name): s for name, s in looks.items() if s is not None}
    handles = [
        Line2D([], [], color=s.colour, linestyle=cast(Any, s.dash), marker=s.marker, markersize=3)
        for s in named.values()
    ]
    # One panel is half as wide as several on paper.
    letters = (figure.get_figwidth() or PAGE) * 72 / (0.62 * matplotlib.rcParams["legend.fontsize"])
    columns = max(1, min(6, int(letters / (max(map(len, named)) + 8)))) if named else 1
    figure.legend(handles, list(named), loc="outside upper right", ncols=columns, title=plain(title) or None)


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
