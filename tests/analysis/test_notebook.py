"""Plots and tables show themselves in a notebook."""

import pandas as pd

from pdstudy.analysis.figures import Plot, learning_curves
from pdstudy.analysis.tables import Table


def test_a_plot_shows_itself_with_its_caption_escaped() -> None:
    curves = pd.DataFrame({"tokens": [1e6, 2e6], "loss": [5.0, 4.0], "arm": "lm", "seed": 0})
    drawn = learning_curves(curves)
    plot = Plot(drawn.figure, drawn.data, "a < b")
    shown = plot._repr_html_()
    assert shown.startswith("<figure>\n<svg")
    assert "<figcaption>a &lt; b</figcaption>" in shown
    assert plot._repr_png_().startswith(b"\x89PNG")


def test_a_table_shows_itself() -> None:
    table = Table(("arm",), (("lm",),), "caption")
    assert table._repr_html_() == table.to_html()
