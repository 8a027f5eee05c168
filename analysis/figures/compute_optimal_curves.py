"""Figures of compute-optimal training from a study's own runs, and of best rates against width."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator, NullLocator

from pdstudy.analysis.figures.isoflop_curves import flops_axis
from pdstudy.analysis.figures.medium import current_medium
from pdstudy.analysis.figures.plot import Plot, redrawable
from pdstudy.analysis.figures.style import COLUMN, PAGE, counts_axis, look, panels, plain, styled
from pdstudy.analysis.scaling.compute_optimal import OptimalPath
from pdstudy.analysis.scaling.rate_transfer import RateTransfer

LEGEND_COLUMN = 1.9
"""Width of a published exponent in a legend, in inches, at the letters that figures are made for."""


@redrawable
def optimal_path(path: OptimalPath, published: Sequence[tuple[str, float, str]]) -> Plot:
    """N* and D* against compute: the law with its 95 % band, minima of profiles as stars, and lines of published
    exponents through the law's middle."""
    frame = path.allocation.to_frame().sort_values("budget")
    minima = [m for m in path.profiles.minima if not m.refused] if path.profiles else []
    middle = len(frame) // 2
    with styled():
        figure, axes = panels(PAGE, 2.9, columns=2)
        for ax, key, label in zip(axes, ("n", "d"), ("best size N*", "best tokens D*")):
            c, y = frame["budget"].to_numpy(), frame[key].to_numpy()
            if frame[f"{key}_low"].notna().all():
                ax.fill_between(c, frame[f"{key}_low"], frame[f"{key}_high"], color=look(0).colour, alpha=0.18, lw=0)
            ax.plot(c, y, color=look(0).colour, label=f"law ({path.allocation.law.name})")
            if minima:
                spread = np.nan_to_num([m.spread for m in minima])
                at = np.array([getattr(m, key) for m in minima])
                reach = np.stack([at * (1 - np.exp(-2 * spread)), at * (np.exp(2 * spread) - 1)])
                ax.errorbar([m.budget for m in minima], at, yerr=reach, fmt="*", color="black", label="profiles")
            for i, (name, power, _) in enumerate(published, 1):
                slope = power if key == "n" else 1 - power
                line = y[middle] * (c / c[middle]) ** slope
                ax.plot(
                    c, line, color=look(i).colour, linestyle=look(i).dash, lw=0.7, label=f"{plain(name)}: {power:g}"
                )
            flops_axis(ax)
            counts_axis(ax, "y")
            ax.set_ylabel(label)
        figure.legend(
            *axes[0].get_legend_handles_labels(),
            loc="outside upper center",
            ncols=current_medium().fit(3, LEGEND_COLUMN),
            title="exponents of N*",
        )
    band = ", bands: 95 %" if frame["n_low"].notna().all() else ""
    stars = "; stars: minima of profiles with two standard deviations of their noise" if minima else ""
    caption = (
        f"Compute-optimal size and tokens under {path.allocation.law.name}, {path.allocation.note}{band}{stars}; thin: "
        "published exponents through the law's middle budget."
    )
    columns = {f"profile_{k}": [getattr(m, k) for m in minima] for k in ("budget", "n", "d", "loss", "spread")}
    return Plot(figure, pd.concat([frame.reset_index(drop=True), pd.DataFrame(columns)], axis=1), caption)


@redrawable
def rates_by_width(found: RateTransfer, *, rate_label: str, width_label: str) -> Plot:
    """Best rate against width, a line per level, with 95 % intervals; places whose lowest loss is at an end are not
    drawn."""
    with styled():
        figure, (axes,) = panels(COLUMN, 2.6)
        for i, (line, part) in enumerate(found.frame.dropna(subset=["rate"]).groupby("line", sort=False)):
            style, rates = look(i), part["rate"].to_numpy(dtype=float)
            low, high = (part[k].to_numpy(dtype=float) for k in ("low", "high"))
            reach = np.stack([np.maximum(rates - low, 0), np.maximum(high - rates, 0)])
            axes.errorbar(
                part["width"] * 1.02**i, rates, yerr=reach, color=style.colour, marker=style.marker, markersize=4,
                linestyle=style.dash, elinewidth=0.8, label=plain(line),
            )  # fmt: skip
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda value, _: f"{value:.3g}")
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 4, 5, 10]))  # powers of two are no rates
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_xlabel(width_label)
        axes.set_ylabel(f"best {rate_label}")
        figure.legend(loc="outside upper right", ncols=2)
    interval = (
        "95 % intervals by the scatter of seeds" if found.by_seeds else "bars: the neighbouring rates of the grid"
    )
    left_out = int(found.frame["rate"].isna().sum())
    missing = f"; {left_out} not drawn, lowest at an end of the rates tried" if left_out else ""
    return Plot(figure, found.frame, f"Best {rate_label} by a parabola in its logarithm; {interval}{missing}.")
