"""A figure together with the numbers it shows and the caption it needs."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from pdstudy.analysis.figures import style


@dataclass(frozen=True)
class Plot:
    """A figure, its numbers and its caption; every function of `pdstudy.analysis.figures` returns one.

    `data` holds the plotted numbers (one row per mark), so that a reader can check or redraw the figure; `caption`
    states n, seeds and conventions, so that the figure can't be shown without them.
    """

    figure: Figure
    data: pd.DataFrame
    caption: str

    def svg(self) -> str:
        """The figure as SVG text, for a page."""
        return style.svg_text(self.figure)

    def _repr_html_(self) -> str:
        """The figure with its caption, for a notebook."""
        svg = self.svg()
        return f"<figure>\n{svg[svg.index('<svg') :]}<figcaption>{html.escape(self.caption)}</figcaption>\n</figure>"

    def _repr_png_(self) -> bytes:
        """The figure, for a notebook that shows no HTML."""
        return style.png_bytes(self.figure)

    def save(self, stem: Path | str) -> list[Path]:
        """Write `stem`.pdf, .svg, .png and .csv; return the paths."""
        files = style.savefig(self.figure, stem)
        numbers = Path(stem).parent / f"{Path(stem).name}.csv"
        self.data.to_csv(numbers, index=False, lineterminator="\n")
        return [*files, numbers]

    def close(self) -> None:
        """Free the figure's artists now, for a report that draws hundreds."""
        self.figure.clear()
