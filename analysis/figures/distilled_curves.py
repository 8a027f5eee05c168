"""Figures of a law of distilled students fitted to a study's own runs, with its intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pdstudy.analysis.figures.isoflop_curves import flops_axis
from pdstudy.analysis.figures.plot import Plot, redrawable
from pdstudy.analysis.figures.style import BASELINE, PAGE, look, panels, plain, styled
from pdstudy.analysis.fit.distilled_fit import DistilledFit
from pdstudy.core.format import si

SHOWN = 6
"""Students drawn at most, each in a panel of its own."""


@redrawable
def student_by_teacher(fitted: DistilledFit, runs: pd.DataFrame, *, y_label: str) -> Plot:
    """Student against teacher loss, a panel per student (size and tokens): the law with its 95 % band, runs as marks,
    L_M as a horizontal line and L_S = L_T as a diagonal. `runs` has N, D, LT and loss."""
    students = sorted(set(zip(runs["N"], runs["D"], strict=True)))
    if len(students) > SHOWN:
        students = [students[i] for i in np.unique(np.linspace(0, len(students) - 1, SHOWN).round().astype(int))]
    tried = fitted.fit.points.x["LT"]
    at = np.linspace(tried.min(), tried.max(), 60)
    columns, rows = min(3, len(students)), []
    with styled():
        figure, axes = panels(PAGE, 0.5 + 2.0 * -(-len(students) // columns), -(-len(students) // columns), columns)
        for ax, (n, d) in zip(axes, students):
            places = {"N": np.full(len(at), n), "D": np.full(len(at), d), "LT": at}
            law, mine = fitted.predict(places), runs[(runs["N"] == n) & (runs["D"] == d)]
            if fitted.bootstrap:
                ax.fill_between(at, law["curve_low"], law["curve_high"], color=look(0).colour, alpha=0.2, lw=0)
            ax.plot(at, law["predicted"], color=look(0).colour, label="law")
            ax.plot(mine["LT"], mine["loss"], "o", color=look(1).colour, markersize=3, label="runs")
            ax.axhline(law["LM"].iloc[0], color=look(2).colour, linestyle=look(2).dash, label="without a teacher")
            low, high = ax.get_ylim()
            ax.plot(at, at, color=BASELINE.colour, linestyle=BASELINE.dash, lw=0.8, label="$L_S = L_T$")
            ax.set_ylim(low, high)
            ax.set_title(f"{si(n)} parameters, {si(d)} tokens")
            rows += [law.assign(kind="law"), mine[["N", "D", "LT", "loss"]].assign(kind="run")]
        for ax in axes[len(students) :]:
            ax.set_visible(False)
        for i, ax in enumerate(axes[: len(students)]):
            if i + columns >= len(students):
                ax.set_xlabel("teacher loss $L_T$")
            if i % columns == 0:
                ax.set_ylabel(y_label)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=4)
    band = " with its 95 % band" if fitted.bootstrap else ""
    caption = f"Students against their teachers' loss: the law{band} fitted to {len(fitted.fit.points)} runs."
    return Plot(figure, pd.concat(rows, ignore_index=True), caption)


@redrawable
def spent_budgets(table: pd.DataFrame, *, y_label: str) -> Plot:
    """The lowest loss against budget, a line per scenario with its 95 % band, a panel per size (frame of `spend`)."""
    sizes: Sequence[float] = list(dict.fromkeys(table["N"]))
    columns = min(3, len(sizes))
    rows = -(-len(sizes) // columns)
    with styled():
        figure, axes = panels(PAGE, 0.6 + 2.1 * rows, rows, columns)
        for ax, n in zip(axes, sizes):
            for i, (name, line) in enumerate(table[table["N"] == n].groupby("scenario", sort=False)):
                style = look(i)
                ax.plot(
                    line["budget"], line["loss"], style.marker, color=style.colour, linestyle=style.dash, markersize=3,
                    label=plain(name),
                )  # fmt: skip
                if line["low"].notna().all():
                    ax.fill_between(line["budget"], line["low"], line["high"], color=style.colour, alpha=0.12, lw=0)
            flops_axis(ax)
            ax.set_title(f"{si(n)} parameters")
        for ax in axes[len(sizes) :]:
            ax.set_visible(False)
        for ax in axes[::columns]:
            ax.set_ylabel(y_label)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=5)
    caption = (
        "Lowest loss for a budget, by the part of the teacher's cost that is paid; bands: 95 %, each budget spent "
    )
    return Plot(figure, table, caption + "anew in every resample. Teachers: within the losses of those tried.")
