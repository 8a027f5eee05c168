"""Plots, tables and results show themselves in a notebook."""

import numpy as np
import pandas as pd
import pytest

from pdstudy.analysis.figures import Plot, learning_curves
from pdstudy.analysis.fit import bootstrap, choose_law, fit, hold_out, judge_law
from pdstudy.analysis.laws import power_law
from pdstudy.analysis.report.page import Text
from pdstudy.analysis.report.study_figures import StudyFigures
from pdstudy.analysis.scaling import frontier, isoflop, multiplier
from pdstudy.analysis.summary import summary
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


@pytest.fixture(scope="module")
def results() -> list[object]:
    n = np.geomspace(1e7, 1e11, 30)
    noise = np.random.default_rng(0).normal(0, 0.004, 30)
    fitted = fit(pd.DataFrame({"N": n, "loss": (1.8 + 400 * n**-0.34) * np.exp(noise)}), power_law("N"))
    drawn, held = bootstrap(fitted, 100), hold_out(fitted.points, fitted.law, n > 1e10)
    sizes, budgets = np.tile(np.geomspace(1e8, 1e9, 5), 2), np.repeat([1e19, 1e20], 5)
    curves = pd.DataFrame({"N": sizes, "C": budgets, "loss": 3 + np.log(sizes / 3e8) ** 2})
    return [
        fitted, drawn, held, judge_law(fitted.points, fitted.law, fitted.parameters, delta=1e-3),
        choose_law(fitted.points, (power_law("N"), power_law("N", floor=False)), draws=100),
        isoflop(curves), frontier(np.array([1e18, 1e19, 1e20]), np.array([1e8, 3e8, 1e9]), np.ones(3)),
        multiplier(fitted, "N", 1e9, 2.1),
    ]  # fmt: skip


def test_every_result_shows_its_account(results: list[object]) -> None:
    for result in results:
        shown = result._repr_html_()  # type: ignore[attr-defined]
        assert shown.startswith("<pre>")
        assert summary(result).split("\n")[0][:20].replace("&", "&amp;").replace("<", "&lt;") in shown


def test_the_figures_of_a_study_show_themselves() -> None:
    shown = StudyFigures({"a < b": [Table(("arm",), (("lm",),), "caption"), Text("Not shown: none.")]})._repr_html_()
    assert "<h3>a &lt; b</h3>" in shown
    assert "<table" in shown
    assert shown.endswith("<p>Not shown: none.</p>")
