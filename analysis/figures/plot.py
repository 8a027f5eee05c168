"""A figure together with the numbers it shows and the caption it needs."""

from __future__ import annotations

import functools
import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ParamSpec

import pandas as pd
from matplotlib.figure import Figure

from pdstudy.analysis.figures import style
from pdstudy.analysis.figures.medium import PAPER, Medium, drawn_for

P = ParamSpec("P")


@dataclass(frozen=True)
class Plot:
    """A figure, its numbers and its caption; every function of `pdstudy.analysis.figures` returns one.

    `data` holds the plotted numbers (one row per mark), so that a reader can check or redraw the figure; `caption`
    states n, seeds and conventions, so that the figure can't be shown without them; `seen` says what it shows, for
    those who do not see it. `redraw` draws it once more, for another medium.
    """

    figure: Figure
    data: pd.DataFrame
    caption: str
    seen: str = ""
    redraw: Callable[[], Plot] | None = field(default=None, compare=False, repr=False)

    def draw_for(self, medium: Medium) -> Plot:
        """The same for this medium."""
        if self.redraw is None:
            return self
        with drawn_for(medium):
            return replace(self, figure=self.redraw().figure)

    def svg(self, medium: Medium = PAPER) -> str:
        """The figure as SVG text, for a page."""
        with drawn_for(medium):
            return style.svg_text(self.draw_for(medium).figure)

    def _repr_html_(self) -> str:
        """The figure with its caption, for a notebook."""
        svg = self.svg()
        return f"<figure>\n{svg[svg.index('<svg') :]}<figcaption>{html.escape(self.caption)}</figcaption>\n</figure>"

    def _repr_png_(self) -> bytes:
        """The figure, for a notebook that shows no HTML."""
        return style.png_bytes(self.figure)

    def save(
        self, stem: Path | str, formats: Sequence[str] = ("pdf", "svg", "png", "csv"), medium: Medium = PAPER
    ) -> list[Path]:
        """Write `stem`.pdf, .svg, .png and .csv, or those of the formats; return the paths."""
        with drawn_for(medium):
            drawn = [kind for kind in formats if kind in style.FIGURE_FORMATS]
            files = style.savefig(self.draw_for(medium).figure, stem, drawn) if drawn else []
        if "csv" in formats:
            numbers = Path(stem).parent / f"{Path(stem).name}.csv"
            numbers.parent.mkdir(parents=True, exist_ok=True)
            self.data.to_csv(numbers, index=False, lineterminator="\n")
            files.append(numbers)
        return files

    def close(self) -> None:
        """Free the figure's artists now, for a report that draws hundreds."""
        self.figure.clear()


def redrawable(draw: Callable[P, Plot]) -> Callable[P, Plot]:
    """A function of figures whose plots can be drawn once more, for another medium."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Plot:
        return replace(draw(*args, **kwargs), redraw=lambda: draw(*args, **kwargs))

    return drawn
