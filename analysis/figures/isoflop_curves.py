"""Figures of compute-optimal training: isoFLOP curves, frontier, allocation, loss surface."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from pdstudy.analysis.figures.plot import Plot, redrawable
from pdstudy.analysis.figures.style import BASELINE, PAGE, counts_axis, look, panels, plain, styled
from pdstudy.analysis.fit.fit_result import Fit
from pdstudy.analysis.laws import REPEATS
from pdstudy.analysis.scaling.allocation import Allocation, allocate
from pdstudy.analysis.scaling.isoflop import IsoFlopFrontier
from pdstudy.core.format import si


def flops_axis(axes: Axes) -> None:
    """A logarithmic axis of FLOPs, labelled 1e18, 1e20."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(base=10, numticks=6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0e}".replace("e+", "e")))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("compute C (FLOPs)")


@redrawable
def isoflop_curves(found: IsoFlopFrontier) -> Plot:
    """Loss against size, one curve per budget, minima as stars; the frontier N*(C) with its band."""
    colours = matplotlib.colormaps["viridis"]
    norm = LogNorm(found.points["budget"].min(), found.points["budget"].max() * 1.3)
    good = [m for m in found.minima if not m.refused]
    with styled():
        figure, (left, right) = panels(PAGE, 2.8, columns=2)
        for i, m in enumerate(found.minima):
            part = found.points[found.points["budget"] == m.budget]
            colour = colours(norm(m.budget))
            marker = "osv^DP"[i % 6]
            left.plot(part["n"], part["loss"], "-", color=colour, linewidth=0.8, marker=marker, markersize=2.5)
            if not m.refused:
                left.plot(m.n, m.loss, "*", color="black", markersize=6, zorder=5)
            else:  # the lowest point of a budget whose minimum isn't bracketed
                lowest = part.sort_values("loss").iloc[0]
                left.plot(
                    lowest["n"], lowest["loss"], "o", markerfacecolor="none", color="black", markersize=6, zorder=5
                )
        counts_axis(left)
        left.set_xlabel("parameters N")
        left.set_ylabel("loss (nats per token)")
        bar = figure.colorbar(matplotlib.cm.ScalarMappable(norm, colours), ax=left, pad=0.02)
        bar.set_label("compute C (FLOPs)")
        budgets = np.array([m.budget for m in good])
        at = np.geomspace(budgets.min() / 2, budgets.max() * 2, 60)
        low, high = found.size.band(at)
        right.fill_between(at, low, high, color=look(0).colour, alpha=0.18, linewidth=0)
        right.plot(at, found.size.at(at), color=look(0).colour)
        spread = np.nan_to_num(np.array([m.spread for m in good]))
        sizes = np.array([m.n for m in good])
        reach = np.stack([sizes * (1 - np.exp(-2 * spread)), sizes * (np.exp(2 * spread) - 1)])
        right.errorbar(budgets, sizes, yerr=reach, fmt="*", color="black", markersize=5, elinewidth=0.8)
        flops_axis(right)
        counts_axis(right, "y")
        right.set_ylabel("best size N*")
        bounds = found.size.interval()
        text = rf"$N^* \propto C^{{{found.size.exponent:.3f}}}$"
        text += "" if np.isnan(bounds[0]) else f"\n95 %: {bounds[0]:.3f} to {bounds[1]:.3f}"
        right.text(0.04, 0.96, text, transform=right.transAxes, va="top")
    refused = sum(bool(m.refused) for m in found.minima)
    caption = f"isoFLOP curves by {found.method.value}: {len(good)} budgets with a minimum (stars)"
    caption += f", {refused} refused (hollow: lowest point, not bracketed)" if refused else ""
    caption += ". Right: best size"
    if not np.isnan(found.noise):
        caption += (
            " with two standard deviations and the 95 % band of the power law, from noise of "
            f"{found.noise:.2g} in ln loss ({found.noise_source})"
        )
    caption += f"; {found.tokens_rule}."
    return Plot(figure, found.to_frame(), caption)


@redrawable
def allocation_curves(allocation: Allocation, published: Mapping[str, tuple[float, float]] | None = None) -> Plot:
    """N*, D* and D*/N* against compute with bands; `published`: name to (coefficient, exponent) of N* = c C^a."""
    frame = allocation.to_frame().sort_values("budget")
    with styled():
        figure, axes = panels(PAGE, 2.4, columns=3)
        for ax, key, label in zip(
            axes, ("n", "d", "ratio"), ("best size N*", "best tokens D*", "tokens per parameter D*/N*")
        ):
            style = look(0)
            if frame[f"{key}_low"].notna().all():
                ax.fill_between(
                    frame["budget"], frame[f"{key}_low"], frame[f"{key}_high"], color=style.colour, alpha=0.18, lw=0
                )
            ax.plot(frame["budget"], frame[key], color=style.colour, label=allocation.law.name)
            if key == "ratio":
                ax.axhline(
                    20, color=BASELINE.colour, linestyle=BASELINE.dash, linewidth=0.8, label="20 tokens per parameter"
                )
            for i, (name, (factor, power)) in enumerate((published or {}).items(), 1):
                n = factor * frame["budget"] ** power
                y = {"n": n, "d": frame["budget"] / (6 * n), "ratio": frame["budget"] / (6 * n * n)}[key]
                ax.plot(frame["budget"], y, color=look(i).colour, linestyle=look(i).dash, label=plain(name))
            flops_axis(ax)
            counts_axis(ax, "y")
            ax.set_ylabel(label)
        axes[2].legend()
    band = "; bands: 95 %, from a bootstrap over runs" if frame["n_low"].notna().all() else ""
    return Plot(figure, frame, f"Compute-optimal allocation under {allocation.law.name}, {allocation.note}{band}.")


@redrawable
def loss_surface(fit: Fit, *, flops_per: float = 6.0) -> Plot:
    """Contours of the fitted loss over compute and size, the runs, and the best size at each budget."""
    n, d = fit.points.x["N"], fit.points.x["D"]
    c = flops_per * n * d
    budgets = np.geomspace(c.min() / 2, c.max() * 2, 60)
    sizes = np.geomspace(n.min() / 2, n.max() * 2, 60)
    grid_c, grid_n = np.meshgrid(budgets, sizes)
    loss = fit.predict({"N": grid_n.ravel(), "D": (grid_c / (flops_per * grid_n)).ravel()}).reshape(grid_c.shape)
    best = allocate(fit, list(budgets[::4])).to_frame()
    # Far from the runs the surface rises without end; the levels cover the measured losses.
    levels = np.linspace(fit.points.loss.min() * 0.98, fit.points.loss.max() * 1.02, 11)
    with styled():
        figure, (axes,) = panels(4.4, 2.9)
        filled = axes.contourf(grid_c, grid_n, loss, levels=levels, cmap="cividis_r", extend="both")
        axes.contour(grid_c, grid_n, loss, levels=levels, colors="white", linewidths=0.4)
        axes.plot(c, n, "o", color="black", markersize=1.8, markerfacecolor="white", markeredgewidth=0.5, label="runs")
        axes.plot(best["budget"], best["n"], color=look(1).colour, linewidth=1.6, label="best size")
        flops_axis(axes)
        counts_axis(axes, "y")
        axes.set_ylim(sizes[0], sizes[-1])
        axes.set_ylabel("parameters N")
        axes.grid(visible=False)
        axes.legend(loc="upper left", frameon=True, framealpha=0.85, edgecolor="none")
        figure.colorbar(filled, ax=axes, label="predicted loss (nats per token)", format="%.2f")
    data = pd.DataFrame({"budget": grid_c.ravel(), "n": grid_n.ravel(), "loss": loss.ravel()})
    return Plot(
        figure,
        data,
        f"Loss predicted by {fit.law.name} ({len(fit.points)} runs) over compute and size, C = {flops_per:g} N D.",
    )


@redrawable
def repeats_surface(
    values: Mapping[str, float], unique: float, *, epochs: Sequence[float], sizes: Sequence[float]
) -> Plot:
    """Loss of the data-constrained law over epochs on `unique` tokens and size."""
    e, n = np.meshgrid(np.asarray(epochs), np.asarray(sizes))
    x = {"N": n.ravel(), "D": (e * unique).ravel(), "U": np.full(e.size, unique)}
    loss = REPEATS.predict(values, x).reshape(e.shape)
    with styled():
        figure, (axes,) = panels(4.4, 2.9)
        levels = np.linspace(loss.min(), np.quantile(loss, 0.9), 12)
        filled = axes.contourf(e, n, loss, levels=levels, cmap="cividis_r", extend="max")
        axes.contour(e, n, loss, levels=levels, colors="white", linewidths=0.4)
        counts_axis(axes)
        counts_axis(axes, "y")
        axes.set_xlabel("epochs")
        axes.set_ylabel("parameters N")
        axes.grid(visible=False)
        figure.colorbar(filled, ax=axes, label="predicted loss (nats per token)", format="%.2f")
    data = pd.DataFrame({"epochs": e.ravel(), "n": n.ravel(), "loss": loss.ravel()})
    caption = (
        f"Loss of the data-constrained law on {si(unique)} unique tokens; R*_D {values['R_D']:.4g}, "
        f"R*_N {values['R_N']:.4g}."
    )
    return Plot(figure, data, caption)
