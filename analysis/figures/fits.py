"""Figures of fits: loss against one quantity with the law and its bands, predicted against measured."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from pdstudy.analysis.figures.hover import say_points
from pdstudy.analysis.figures.plot import Plot, redrawable
from pdstudy.analysis.figures.style import BASELINE, COLUMN, PAGE, counts_axis, look, panels, plain, styled
from pdstudy.analysis.fit.bootstrap import Bootstrap
from pdstudy.analysis.fit.fit_result import Fit
from pdstudy.analysis.fit.holdout import HeldOutErrors
from pdstudy.core.format import si


@redrawable
def loss_and_law(
    fits: Mapping[str, Fit],
    bootstraps: Mapping[str, Bootstrap] | None = None,
    *,
    x: str = "N",
    x_label: str = "parameters (non-embedding)",
    y_label: str = "loss (nats per token)",
    extend: float = 2.0,
    rejected: Collection[str] = (),
) -> Plot:
    """Measured losses and the fitted law of one column per arm, dashed beyond the data, with 95 % bands where given.
    The laws of arms that are `rejected` end with the data."""
    bootstraps = bootstraps or {}
    rows, notes = [], []
    with styled():
        figure, (axes,) = panels(COLUMN, 2.6)
        for i, (name, fit) in enumerate(fits.items()):
            style, data = look(i), fit.points.x[x]
            axes.plot(data, fit.points.loss, style.marker, color=style.colour, markersize=3.5)
            say_points(
                axes, data, fit.points.loss, (f"{name}, {si(n)}: {v:.4g}" for n, v in zip(data, fit.points.loss))
            )
            reach = 1.0 if name in rejected else extend
            at = np.geomspace(data.min() / reach, data.max() * reach, 120)
            curve = fit.predict({x: at})
            inside = (at >= data.min() * (1 - 1e-9)) & (at <= data.max() * (1 + 1e-9))
            axes.plot(at, np.where(inside, curve, np.nan), color=style.colour, linestyle="-", label=plain(name))
            if name not in rejected:
                axes.plot(at, curve, color=style.colour, linestyle="--", linewidth=0.8)
            row = pd.DataFrame({"arm": name, x: at, "loss": curve})
            if name in bootstraps:
                low, high = bootstraps[name].band({x: at})
                axes.fill_between(at, low, high, color=style.colour, alpha=0.18, linewidth=0)
                row = row.assign(low=low, high=high)
            rows.append(row)
            not_shown = ", rejected by its replicates" if name in rejected else ""
            notes.append(f"{name}: {fit.law.name}, {len(fit.points)} runs{not_shown}")
        counts_axis(axes)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.legend()
    band = "; bands: 95 % confidence of the curve, from a bootstrap over runs" if bootstraps else ""
    beyond = "; dashed: beyond the data" if set(fits) - set(rejected) else ""
    return Plot(figure, pd.concat(rows, ignore_index=True), f"{'; '.join(notes)}{beyond}{band}.")


@redrawable
def predicted_and_measured(result: Fit | HeldOutErrors) -> Plot:
    """Predicted against measured loss with the identity line, and the relative error beside; held-out runs hollow."""
    fit, test = (result.fit, result.test) if isinstance(result, HeldOutErrors) else (result, None)
    measured, predicted = fit.points.loss, np.exp(fit.points.log_loss - fit.residuals)
    rows = [pd.DataFrame({"set": "fitted", "measured": measured, "predicted": predicted})]
    if test is not None:
        rows.append(pd.DataFrame({"set": "held out", "measured": test.loss, "predicted": fit.predict(test.x)}))
    data = pd.concat(rows, ignore_index=True).assign(error=lambda d: 100 * (d.predicted / d.measured - 1))
    with styled():
        figure, (left, right) = panels(PAGE, 2.5, columns=2)
        for i, (name, part) in enumerate(data.groupby("set", sort=False)):
            style = look(i)
            face = style.colour if name == "fitted" else "white"
            for axes, y in ((left, "predicted"), (right, "error")):
                axes.plot(
                    part["measured"],
                    part[y],
                    style.marker,
                    color=style.colour,
                    markerfacecolor=face,
                    markersize=3,
                    label=name,
                )
        low, high = data[["measured", "predicted"]].min().min(), data[["measured", "predicted"]].max().max()
        left.plot([low, high], [low, high], color=BASELINE.colour, linewidth=0.8, linestyle=BASELINE.dash)
        right.axhline(0, color=BASELINE.colour, linewidth=0.8, linestyle=BASELINE.dash)
        left.set_ylabel("predicted loss (nats per token)")
        right.set_ylabel("relative error of the prediction (%)")
        for axes in (left, right):
            axes.set_xlabel("measured loss (nats per token)")
        left.legend()
    root = 100 * float(np.sqrt(np.mean(fit.residuals**2)))
    return Plot(figure, data, f"{fit.law.name} on {len(fit.points)} runs; rms log residual {root:.2f} %.")
