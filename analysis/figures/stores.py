"""Figures of a logit store: how many entries a truncation keeps (figures 2 and 3 of Peng et al. 2024)."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from pdstudy.analysis.figures.hover import say_points
from pdstudy.analysis.figures.plot import Plot, redrawable
from pdstudy.analysis.figures.style import COLUMN, counts_axis, look, panels, styled
from pdstudy.core.format import si


@redrawable
def kept_against_p(cuts: pd.DataFrame, tokens: int) -> Plot:
    """Kept entries per token against p, a line per k (columns p, k, kept, mass of `cuts`; k missing where unlimited).

    Lines are of the two largest k: smaller ones hardly move with p.
    """
    limits = cuts["k"].astype(float).fillna(float("inf"))
    return _lines(
        cuts.assign(limit=limits), x="p", by="limit", values=sorted(limits.unique())[-2:], tokens=tokens,
        label=lambda k: "top-p-inf" if k == float("inf") else f"top-p-{k:.0f}",
    )  # fmt: skip


@redrawable
def kept_against_k(cuts: pd.DataFrame, tokens: int) -> Plot:
    """Kept entries per token against k, a line per p: the two largest that the store admits."""
    limited = cuts[cuts["k"].notna()].astype({"k": int})
    return _lines(
        limited, x="k", by="p", values=sorted(limited["p"].unique())[-2:], tokens=tokens,
        label=lambda p: f"top-{p:g}-k",
    )  # fmt: skip


def _lines(
    cuts: pd.DataFrame, *, x: str, by: str, values: list[float], tokens: int, label: Callable[[float], str]
) -> Plot:
    with styled():
        figure, (axes,) = panels(COLUMN, 2.3)
        for i, value in enumerate(values):
            line, style = cuts[cuts[by] == value].sort_values(x), look(i)
            axes.plot(
                line[x], line["kept"], color=style.colour, linestyle=style.dash, marker=style.marker, label=label(value)
            )
            texts = (f"{label(value)}, {x} = {at:g}: {n:.3g} kept" for at, n in zip(line[x], line["kept"]))
            say_points(axes, line[x], line["kept"], texts)
        counts_axis(axes, "y")
        if x == "k":
            axes.set_xscale("log")
            ticks = sorted(cuts["k"].unique())
            axes.set_xticks(ticks, [str(k) for k in ticks])
            axes.minorticks_off()
        axes.set_xlabel(x)
        axes.set_ylabel("kept entries per token")
        axes.legend()
    shown = cuts[cuts[by].isin(values)].drop(columns="limit", errors="ignore")
    return Plot(figure, shown.reset_index(drop=True), f"Entries kept per token, mean over {si(tokens)} tokens.")
