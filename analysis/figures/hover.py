"""Marks that say what they are: a native title over each point of a figure on a screen, without a script."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

RADIUS = 6.0
"""Radius of the place that answers to the pointer, in points."""

MOST = 2000
"""Most points of a figure that say what they are: more would make a page of megabytes."""


class Drawing(Figure):
    """A figure that knows what its points are."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.said: list[tuple[Axes, Any, Any, str]] = []
        """Axes, position on them in their units, and what stands there."""


def say_points(axes: Axes, xs: Iterable[Any], ys: Iterable[Any], texts: Iterable[str]) -> None:
    """Titles of the points at these positions; shown where the pointer rests on one."""
    figure = axes.get_figure()
    if isinstance(figure, Drawing):
        figure.said.extend((axes, x, y, text) for x, y, text in zip(xs, ys, texts, strict=True))


def titles(figure: Figure) -> str:
    """SVG of the places that answer to the pointer, in the units of the figure's SVG; call it after the figure has been
    drawn. Points beyond the ends of their axes have none."""
    found = figure.said[:MOST] if isinstance(figure, Drawing) else []
    to_points, height = 72 / figure.dpi, 72 * figure.get_figheight()
    parts = []
    for axes, x, y, text in found:
        at = axes.transData.transform((axes.convert_xunits(x), axes.convert_yunits(y)))
        if axes.get_window_extent().padded(1).contains(*at):
            place = f'cx="{at[0] * to_points:.1f}" cy="{height - at[1] * to_points:.1f}" r="{RADIUS:g}"'
            parts.append(f"<circle {place}><title>{html.escape(text)}</title></circle>")
    return "\n".join(['<g class="said">', *parts, "</g>", ""]) if parts else ""
