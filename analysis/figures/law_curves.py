"""Figures of laws fitted to a study's own runs: loss against tokens by size, and predictions of runs held out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm

from pdstudy.analysis.figures.plot import Plot, redrawable
from pdstudy.analysis.figures.style import BASELINE, PAGE, counts_axis, look, panels, plain, styled
from pdstudy.core.format import si

if TYPE_CHECKING:
    from pdstudy.analysis.fit.joint_fit import JointFit


@redrawable
def joint_law_curves(joint: JointFit, held: pd.DataFrame, *, size_label: str, y_label: str) -> Plot:
    """Loss against tokens, a line and a colour per size: runs (filled), the law, its 95 % band; `held` are predictions
    (rows of `JointFit.predict`, with `loss` where it is measured): a cross with its interval, the run hollow."""
    data = joint.fit.points
    sizes = np.unique(np.concatenate([data.x["N"], held["N"].to_numpy(dtype=float)]))
    colours = matplotlib.colormaps["viridis"]
    norm = LogNorm(sizes.min(), max(sizes.max() * 1.3, sizes.min() * 1.01))
    rows = []
    with styled():
        figure, (axes,) = panels(PAGE, 3.3)
        for i, n in enumerate(sizes):
            mine, colour = data.x["N"] == n, colours(norm(n))
            tokens = np.concatenate([data.x["D"][mine], held.loc[held["N"] == n, "D"]])
            at = np.geomspace(tokens.min() / 1.2, tokens.max() * 1.2, 60)
            curve = joint.predict({"N": np.full(len(at), n), "D": at})
            axes.plot(at, curve["predicted"], color=colour, linewidth=0.9, label=si(n))
            if joint.bootstrap:
                axes.fill_between(at, curve["curve_low"], curve["curve_high"], color=colour, alpha=0.2, linewidth=0)
            axes.plot(data.x["D"][mine], data.loss[mine], "osv^DPX"[i % 7], color=colour, markersize=3)
            rows.append(curve.assign(kind="law"))
        rows.append(pd.DataFrame({**data.x, "loss": data.loss, "kind": "run"}))
        for place in held.to_dict("records"):
            colour = colours(norm(place["N"]))
            if joint.bootstrap:
                axes.plot([place["D"]] * 2, [place["low"], place["high"]], color=colour, linewidth=1.2)
            axes.plot(place["D"], place["predicted"], "x", color=colour, markersize=5)
            axes.plot(place["D"], place["loss"], "o", color=colour, markerfacecolor="white", markersize=4)
        rows.append(held.assign(kind="held out"))
        counts_axis(axes)
        axes.set_xlabel("training tokens D")
        axes.set_ylabel(y_label)
        axes.legend(title=size_label, ncols=2)
    caption = f"{joint.fit.law.name} on {len(data)} runs"
    caption += "; bands: 95 % of the curve, from residuals resampled" if joint.bootstrap else ""
    caption += "; crosses: predictions of held-out runs with 95 % intervals, hollow where measured" if len(held) else ""
    return Plot(figure, pd.concat(rows, ignore_index=True), f"{caption}.")


@redrawable
def held_out_predictions(table: pd.DataFrame, *, x_label: str) -> Plot:
    """Predictions of held-out runs with 95 % intervals, a row per run, and what was measured (filled).

    `table` has `cell`, `predicted`, `low`, `high`, `loss` (NaN where the run is not done).
    """
    at = np.arange(len(table))[::-1]
    with styled():
        figure, (axes,) = panels(PAGE, 0.9 + 0.22 * len(table))
        reach = np.stack([table["predicted"] - table["low"], table["high"] - table["predicted"]])
        axes.errorbar(
            table["predicted"], at, xerr=np.nan_to_num(reach), fmt="x", color=BASELINE.colour, label="predicted, 95 %"
        )
        axes.plot(table["loss"], at, look(0).marker, color=look(0).colour, label="measured")
        axes.set_yticks(at, [plain(cell) for cell in table["cell"]])
        axes.set_ylim(-0.7, len(table) - 0.3)
        axes.set_xlabel(x_label)
        axes.grid(axis="y", visible=False)
        figure.legend(loc="outside upper right", ncols=2)
    done, runs = int(table["loss"].notna().sum()), f"{len(table)} held-out run{'s' if len(table) > 1 else ''}"
    caption = f"Predictions of {runs}, {done} of them done, with 95 % intervals of one run."
    return Plot(figure, table, caption)
