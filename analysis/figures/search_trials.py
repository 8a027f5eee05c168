"""Figures of a search: its history, what mattered, slices, contours, pruning, the front of two objectives."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from scipy import stats

from pdstudy.analysis.data.trials_table import Dimension, Searched
from pdstudy.analysis.errors import AnalysisError
from pdstudy.analysis.figures.hover import say_points
from pdstudy.analysis.figures.medium import SHARED_PANEL, current_medium
from pdstudy.analysis.figures.plot import Plot, redrawable
from pdstudy.analysis.figures.style import BASELINE, COLUMN, PAGE, look, panels, plain, styled
from pdstudy.core.format import si

COLOURS = "cividis"
"""Colour map of values: dark is low, which is good."""


def scale(values: pd.Series) -> Normalize:
    """Colours from the best value to the third quartile: the tail of bad trials would take all the contrast."""
    low, high = float(values.min()), float(values.quantile(0.75))
    return Normalize(low, high if high > low else low + (abs(low) / 100 or 1.0), clip=True)


def limits(values: pd.Series) -> tuple[float, float]:
    """Ends of an axis of values: a few bad trials among many lie beyond it."""
    low, top = float(values.min()), float(values.quantile(0.9) if len(values) > 9 else values.max())
    span = (top - low) or abs(low) / 100 or 1.0
    return low - 0.09 * span, top + 0.12 * span


@redrawable
def history(searched: Searched) -> Plot:
    """Value against the order of trials, with the best so far; pruned and failed ones as ticks above."""
    trials, scored = searched.trials, searched.scored
    if not len(scored):
        raise AnalysisError("no trial has been trained in full yet")
    with styled():
        figure, (axes,) = panels(PAGE, 2.4)
        low, top = limits(scored["value"])
        for i, state in enumerate(("complete", "reused")):
            part = scored[scored["state"] == state]
            style = look((0, 6)[i])
            inside = part[part["value"] <= top]
            label = f"{state} ({len(part)})"
            if len(part):
                axes.plot(
                    inside["number"], inside["value"], style.marker, color=style.colour, markersize=4, label=label
                )
            texts = (f"trial {n:.0f}: {v:.4f}" for n, v in zip(inside["number"], inside["value"]))
            say_points(axes, inside["number"], inside["value"], texts)
            for _, row in part[part["value"] > top].iterrows():
                axes.plot(row["number"], top, "^", color=style.colour, markersize=4, clip_on=False)
        best = scored.sort_values("number")
        at, lowest = [*best["number"], trials["number"].max()], [*best["value"].cummin(), best["value"].min()]
        axes.step(at, lowest, where="post", color="#000000", linewidth=1, label="best so far")
        for state, colour in (("pruned", BASELINE.colour), ("fail", look(1).colour)):
            part = trials[trials["state"] == state]
            if len(part):
                axes.plot(part["number"], np.full(len(part), top), "|", color=colour, markersize=7, clip_on=False,
                          label=f"{state}{'ed' if state == 'fail' else ''} ({len(part)})")  # fmt: skip
        axes.set_ylim(low, top)
        axes.set_xlabel("trial")
        axes.set_ylabel(searched.objective)
        axes.legend(ncols=5, loc="lower left", bbox_to_anchor=(0, 1.02))
    above = int((scored["value"] > top).sum())
    caption = "Trials in their order, and the lowest value so far; ticks at the top edge: "
    caption += "pruned at a rung, so without a value at full length."
    caption += f" Triangles at the top edge: {above} trials above it." if above else ""
    return Plot(figure, trials[["number", "state", "value"]], caption)


@redrawable
def importances(searched: Searched) -> Plot:
    """Shares of importance as bars."""
    shares = searched.record["importances"]
    if not shares:
        raise AnalysisError("importances need two trials that were trained in full")
    ranked = [d for d in searched.ranked() if d.column in shares]
    with styled():
        figure, (axes,) = panels(COLUMN, 0.55 + 0.2 * len(ranked))
        for i, dimension in enumerate(ranked):
            share = shares[dimension.column]
            axes.barh(i, share, 0.7, color=look(0).colour)
            axes.annotate(f"{share:.2f}", (share, i), (3, 0), textcoords="offset points", va="center", fontsize="small")
        axes.set_yticks(range(len(ranked)), [plain(d.label) for d in ranked])
        axes.set_ylim(len(ranked) - 0.4, -0.6)
        axes.set_xlim(0, 1.15 * max(shares.values()))
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("share of importance")
    data = pd.DataFrame({"dimension": [d.label for d in ranked], "share": [shares[d.column] for d in ranked]})
    trials = searched.trials["state"].isin(["complete", "reused", "pruned"]).sum()
    caption = (
        "PED-ANOVA (Watanabe et al. 2023): how far each dimension's distribution among the best tenth of "
        f"{trials} trials is from that among all. Pruned trials count as worse than those trained in full. The sampler "
        "goes where it is good, and a tenth is few: an order of magnitude, not a measurement."
    )
    return Plot(figure, data, caption)


@redrawable
def slices(searched: Searched) -> Plot:
    """Value against each dimension, a panel each, coloured by the trial's place in the order."""
    scored, pruned = searched.scored, searched.trials[searched.trials["state"] == "pruned"]
    if not len(scored):
        raise AnalysisError("no trial has been trained in full yet")
    dimensions = [d for d in searched.dimensions if d.column in scored]
    columns = current_medium().fit(min(4, len(dimensions)), SHARED_PANEL)
    count = -(-len(dimensions) // columns)
    low, top = limits(scored["value"])
    with styled():
        figure, axes = panels(PAGE, 0.5 + 1.45 * count, count, columns, wrap=False)
        for i, (axis, dimension) in enumerate(zip(axes, dimensions)):
            at, rug = _positions(axis, dimension, scored), _positions(axis, dimension, pruned)
            colours = scored["number"] / max(1, searched.trials["number"].max())
            shown = axis.scatter(at, scored["value"].clip(upper=top), c=colours, cmap="Blues", vmin=-0.4, vmax=1, s=10,
                                 edgecolors="#333333", linewidths=0.3)  # fmt: skip
            shown.set_clip_on(False)
            texts = (f"trial {n:.0f}: {v:.4f}" for n, v in zip(scored["number"], scored["value"]))
            say_points(axis, at, scored["value"].clip(upper=top), texts)
            if len(rug):
                axis.plot(rug, np.full(len(rug), top), "|", color=look(1).colour, markersize=5, clip_on=False)
            axis.set_ylim(low, top)
            axis.set_xlabel(plain(dimension.label))
            if i % columns == 0:
                axis.set_ylabel(plain(searched.objective.replace(" (", "\n(")))
            else:
                axis.tick_params(labelleft=False)
        for axis in axes[len(dimensions) :]:
            axis.set_visible(False)
    caption = (
        "Value of each trial that was trained in full against one dimension at a time, later ones darker; those above "
        "the axis are drawn at its edge. Ticks at the top edge: trials pruned before."
    )
    return Plot(figure, scored[["number", "value", *(d.column for d in dimensions)]], caption)


@redrawable
def contours(searched: Searched, count: int = 3) -> Plot:
    """The mean value over pairs of the most important numbers, where there are trials to take a mean of."""
    numbers, scored = searched.ranked(numbers=True), searched.scored
    pairs = [p for p in itertools.combinations(numbers, 2) if len(scored.dropna(subset=[d.column for d in p])) >= 8]
    if not pairs:
        raise AnalysisError("contours need two searched numbers and eight trials that were trained in full")
    pairs = pairs[:count]
    norm = scale(scored["value"])
    rows = []
    with styled():
        figure, axes = panels(PAGE, 2.2, 1, len(pairs))
        for axis, (x, y) in zip(axes, pairs):
            part = scored.dropna(subset=[x.column, y.column])
            surface = _local_means(part, x, y)
            rows.append(surface)
            grid = surface.pivot(index=y.column, columns=x.column, values="mean")
            levels = np.linspace(norm.vmin or 0.0, norm.vmax or 1.0, 9)
            axis.contourf(grid.columns, grid.index, grid.clip(levels[0], levels[-1]), levels, cmap=COLOURS, norm=norm)
            axis.scatter(part[x.column], part[y.column], c=part["value"], cmap=COLOURS, norm=norm, s=14, clip_on=False,
                         edgecolors="white", linewidths=0.5, zorder=3)  # fmt: skip
            best = part.sort_values("value").iloc[0]
            axis.plot(
                best[x.column],
                best[y.column],
                "o",
                markersize=8,
                markerfacecolor="none",
                color=look(1).colour,
                clip_on=False,
                zorder=4,
            )
            for which, dimension in (("x", x), ("y", y)):
                _scale_axis(axis, dimension, which)
                (axis.set_xlabel if which == "x" else axis.set_ylabel)(plain(dimension.label))
            axis.grid(visible=False)
        colour_bar(figure, axes, norm, searched.objective)
    caption = (
        "Mean over the trials near each point (Gaussian weights, an eighth of each range wide), blank where there are "
        "none; dots are trials, a ring the best. All other dimensions vary, so this is no surface at a fixed setting."
    )
    return Plot(figure, pd.concat(rows, ignore_index=True), caption)


@redrawable
def pruning(searched: Searched) -> Plot:
    """Value at the first rung against that at full length: how far an early comparison predicts the last one."""
    (first, *_) = searched.rungs or [0]
    column = f"rung {first}"
    part = searched.scored.dropna(subset=[column]) if searched.rungs else searched.scored.iloc[:0]
    if len(part) < 3:
        raise AnalysisError("three trials that passed a rung and were trained in full are needed")
    rank = stats.spearmanr(part[column], part["value"]).statistic
    with styled():
        figure, (axes,) = panels(COLUMN, 2.4)
        style = look(0)
        axes.plot(part[column], part["value"], style.marker, color=style.colour, markersize=4, label="trained in full")
        pruned = searched.trials[(searched.trials["state"] == "pruned")].dropna(subset=[column])
        right, left = float(part[column].max()), float(part[column].min())
        right += 0.35 * (right - left)
        base = float(part["value"].max())
        at = pruned[column].clip(upper=right)
        axes.plot(at, np.full(len(pruned), base), "|", color=look(1).colour, markersize=7, label="pruned")
        whole = searched.record["lengths"][-1]
        axes.set_xlabel(plain(searched.objective.replace(" (", f" at {si(first)} tokens (")))
        axes.set_ylabel(plain(searched.objective.replace(" (", f"\nat {si(whole)} tokens (")))
        axes.legend(loc="lower right")
    caption = (
        f"Value at the first rung against that at full length, of the {len(part)} trials that have both (Spearman "
        f"{rank:.2f} among these, which are the better ones); ticks at the top: values of pruned trials at the rung."
    )
    return Plot(figure, part[["number", column, "value"]], caption)


@redrawable
def front(searched: Searched) -> Plot:
    """Two objectives against each other, those that no other trial beats in both joined by a line."""
    if "value2" not in searched.trials:
        raise AnalysisError("a front needs two objectives")
    scored = searched.scored.sort_values(["value2", "value"])
    best = scored[scored["value"] < scored["value"].cummin().shift(fill_value=np.inf)]
    with styled():
        figure, (axes,) = panels(COLUMN, 2.4)
        axes.plot(
            scored["value2"], scored["value"], "o", color=BASELINE.colour, markersize=3.5, markerfacecolor="white"
        )
        axes.step(best["value2"], best["value"], where="post", color=look(0).colour, marker="o", markersize=4.5)
        axes.set_xlabel(plain(searched.record["objectives"][1]))
        axes.set_ylabel(plain(searched.record["objectives"][0]))
    caption = f"Both objectives of {len(scored)} trials; the line joins the {len(best)} that no other beats in both."
    return Plot(figure, scored[["number", "value", "value2"]].assign(front=scored.index.isin(best.index)), caption)


def colour_bar(figure: Figure, axes: list[Axes], norm: Normalize, label: str) -> None:
    """Add a bar for values coloured by `scale`, open at its upper end."""
    bar = figure.colorbar(ScalarMappable(norm, COLOURS), ax=axes, extend="max", pad=0.02, aspect=30)
    bar.set_label(plain(label))
    bar.outline.set_linewidth(0.4)


def _positions(axis: Axes, dimension: Dimension, trials: pd.DataFrame) -> Any:
    """Where trials stand on an axis that is then set up for the dimension; choices are spread a little."""
    if dimension.kind != "choice":
        _scale_axis(axis, dimension, "x")
        return trials[dimension.column]
    places = {level: i for i, level in enumerate(dimension.levels)}
    axis.set_xticks(range(len(places)), [plain(level) for level in places], rotation=35, ha="right", fontsize="small")
    axis.set_xlim(-0.6, len(places) - 0.4)
    spread = np.random.default_rng(0).uniform(-0.22, 0.22, len(trials))
    return trials[dimension.column].map(places).to_numpy(dtype=float) + spread


def _scale_axis(axis: Axes, dimension: Dimension, which: str) -> None:
    if dimension.kind != "log":
        return
    (axis.set_xscale if which == "x" else axis.set_yscale)("log")
    (axis.set_xlim if which == "x" else axis.set_ylim)(dimension.low, dimension.high)
    side = axis.xaxis if which == "x" else axis.yaxis
    # As many labels as a small panel has room for.
    decades = np.log10(dimension.high / dimension.low)
    side.set_major_locator(
        LogLocator(base=10, subs=(1.0, 2.0, 5.0) if decades < 1 else (1.0, 3.0) if decades < 2 else (1.0,))
    )
    side.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    side.set_minor_formatter(NullFormatter())


def _local_means(part: pd.DataFrame, x: Dimension, y: Dimension, steps: int = 60) -> pd.DataFrame:
    """Means with Gaussian weights over a grid; NaN where the weights come to less than one trial at half a width."""
    grids, spans, points = [], [], []
    for dimension in (x, y):
        values = part[dimension.column].to_numpy(dtype=float)
        found = np.log(values) if dimension.kind == "log" else values
        span = float(np.ptp(found)) or 1.0
        ends = [np.log(e) if dimension.kind == "log" else e for e in (dimension.low, dimension.high)]
        grids.append(
            np.linspace(max(ends[0], found.min() - 0.05 * span), min(ends[1], found.max() + 0.05 * span), steps)
        )
        spans.append(span)
        points.append(found)
    gx, gy = np.meshgrid(*grids)
    far = ((gx[..., None] - points[0]) / (spans[0] / 8)) ** 2 + ((gy[..., None] - points[1]) / (spans[1] / 8)) ** 2
    weights = np.exp(-far / 2)
    total = weights.sum(axis=-1)
    with np.errstate(invalid="ignore"):
        mean = (weights * part["value"].to_numpy(dtype=float)).sum(axis=-1) / total
    mean[total < 0.6] = np.nan
    back = [np.exp(g) if d.kind == "log" else g for g, d in ((gx, x), (gy, y))]
    return pd.DataFrame({x.column: back[0].ravel(), y.column: back[1].ravel(), "mean": mean.ravel()})
