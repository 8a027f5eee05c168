"""Tables and figures of pages: matrices, decimals, chance, the plan's cost, many arms, media."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pdstudy import Compare
from pdstudy.analysis.compare.seeds import compare
from pdstudy.analysis.data.runs import load_runs
from pdstudy.analysis.figures.compute_optimal_curves import LEGEND_COLUMN
from pdstudy.analysis.figures.grids import MOST_LINES, line_grid
from pdstudy.analysis.figures.medium import PAPER, PHONE, SCREEN
from pdstudy.analysis.figures.plot import Plot
from pdstudy.analysis.figures.run_comparisons import MOST_NAMED, effects
from pdstudy.analysis.report.page import Exhibit, Folded, Page, Section, needs_light
from pdstudy.analysis.report.report_files import NONE, save_blocks
from pdstudy.analysis.report.run_list import list_runs
from pdstudy.analysis.report.study_outputs import Outputs, name_apart
from pdstudy.analysis.tables.builders import comparison_table
from pdstudy.analysis.tables.planned_and_spent import cost_table
from pdstudy.analysis.tables.table import Table, TableCell, latex
from pdstudy.core.identity import encode
from tests.analysis.made_workspace import make_workspace, shown_rows, two_arms


def many_arms(root: Path, outputs: list[Any]) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    gains = {"LM": 0.0, "a": 0.1, "b": 0.2, "c": 0.2}
    losses = {(arm, str(s)): 3 - gain + rng.normal(0, 0.01) for arm, gain in gains.items() for s in range(3)}
    record = make_workspace(root, losses, {"loss": list(gains)})
    record["outputs"] = [encode(o) for o in outputs]
    return record


def test_three_arms_compared_with_make_one_matrix(tmp_path: Path) -> None:
    against = [Compare(title=f"Against {a}", against=a) for a in "abc"]
    shown = Outputs(tmp_path, many_arms(tmp_path, [Compare(), *against])).sections()
    assert [title for title, _ in shown] == ["Differences from the baseline", "Pairwise differences"]
    matrix = shown[1][1][0]
    assert isinstance(matrix, Table)
    assert matrix.columns == ("arm", "minus LM", "minus a", "minus b", "minus c")
    found = {row[0]: dict(zip(matrix.columns[1:], row[1:], strict=True)) for row in matrix.rows}
    assert found["a"]["minus a"] == "–"
    below, above = found["b"]["minus a"], found["a"]["minus b"]
    assert isinstance(below, TableCell)
    assert isinstance(above, TableCell)
    assert below.number == pytest.approx(-(above.number or 0))
    assert not below.noise
    assert isinstance(noise := found["c"]["minus b"], TableCell)
    assert noise.noise


def test_two_arms_compared_with_keep_their_sections(tmp_path: Path) -> None:
    against = [Compare(title=f"Against {a}", against=a) for a in "ab"]
    shown = Outputs(tmp_path, many_arms(tmp_path, [Compare(), *against])).sections()
    assert [title for title, _ in shown][1:] == ["Against a", "Against b"]


def test_a_comparison_has_its_baseline_one_number_of_decimals_and_named_intervals(tmp_path: Path) -> None:
    outputs = Outputs(tmp_path, many_arms(tmp_path, [Compare()]))
    table = comparison_table(outputs.comparisons.find("test", "loss")[0])
    rows = shown_rows(table)
    assert [row[0] for row in rows] == ["LM", "a", "b", "c"]
    assert rows[0][-1] == "the baseline"
    for column in range(3, len(table.columns) - 2):
        assert len({len(row[column].partition(".")[2]) for row in rows if "." in row[column]}) == 1
    assert table.shown_heads[5:7] == ("95 % low", "95 % high")
    assert table.columns[5:7] == ("low", "high")


def test_a_rate_measured_from_the_runs_is_no_plan(tmp_path: Path) -> None:
    record = two_arms(tmp_path)
    record |= {"rate": 7e9, "rate_source": "median of 24 finished runs of this study here"}
    record["machine"] = {"name": "one core", "flops_per_second": 2e9}
    planned = cost_table(tmp_path, record, load_runs(tmp_path, record))
    assert "at 2 GFLOP/s per device, assumed for one core" in planned.caption
    record["first_planned"] = {"time": 0.0, "rate": 3e9, "rate_source": "given"}
    assert "at 3 GFLOP/s" in cost_table(tmp_path, record, load_runs(tmp_path, record)).caption


def grid_of(arms: int) -> pd.DataFrame:
    rows = [{"arm": f"arm{a}", "seed": s, "tokens": t, "loss": 5 - 0.1 * t - 0.001 * a + 0.01 * s, "panel": p}
            for a in range(arms) for s in (0, 1) for t in (1, 2, 3) for p in ("p", "q", "r", "s")]  # fmt: skip
    return pd.DataFrame(rows)


def draw(table: pd.DataFrame, panel: str | None = "panel") -> Plot:
    return line_grid(table, x="tokens", y="loss", arm="arm", panel=panel, x_label="t", y_label="l", logarithmic=False,
                     caption="c")  # fmt: skip


@pytest.mark.slow
def test_four_hundred_arms_stay_one_figure() -> None:
    plot = draw(grid_of(400).query("panel == 'p'"), None)
    assert len(plot.figure.legends[0].get_texts()) == 4
    assert plot.figure.get_figheight() < 5
    assert "Grey: 396 other arms." in plot.caption
    assert plot.seen == "400 lines: arm399 ends lowest, at 4.31; arm0 ends highest, at 4.71."
    assert len(draw(grid_of(MOST_LINES), None).figure.legends[0].get_texts()) == MOST_LINES


def test_four_hundred_differences_stay_one_figure() -> None:
    rng = np.random.default_rng(0)
    rows = [{"arm": a, "seed": s, "loss": 4 - 0.001 * i + rng.normal(0, 0.01)}
            for i, a in enumerate(["LM", *(f"arm{i}" for i in range(MOST_NAMED + 1))]) for s in range(3)]  # fmt: skip
    plot = effects(compare(pd.DataFrame(rows), metric="loss", baseline="LM"))
    assert plot.figure.get_figheight() < 8
    assert not plot.figure.axes[0].get_yticklabels()
    assert plot.seen.startswith(f"{MOST_NAMED + 1} differences of loss, from ")


@pytest.mark.slow
def test_a_figure_is_drawn_for_the_width_of_a_screen_and_of_a_phone() -> None:
    plot = draw(grid_of(2))
    for medium, columns in ((SCREEN, 4), (PHONE, 2)):
        figure = plot.draw_for(medium).figure
        assert figure.get_figwidth() == medium.width
        tops = sorted({round(a.get_subplotspec().rowspan.start) for a in figure.axes})
        assert len(tops) == 4 // columns
    svg = plot.svg(SCREEN)
    assert "<text " in svg
    assert re.search(r'<circle [^>]*r="6"><title>p, arm0, 1: 4.905 \(4.9 to 4.91, 2 seeds\)</title>', svg)
    assert "<text " not in plot.svg()
    assert "<circle" not in plot.svg()


@pytest.mark.slow
def test_a_page_follows_dark_mode_and_says_what_its_figures_show() -> None:
    page = Page("t", (Section("s", (draw(grid_of(2)),)),)).render()
    assert 'aria-label="2 lines: arm1 ends lowest in 4 of 4 panels' in page
    assert "prefers-color-scheme: dark" in page
    assert not re.search(r": #(000000|ffffff)\b", page[page.index("<svg") :])


def test_folded_tables_have_names_and_links_of_their_own(tmp_path: Path) -> None:
    table = Table(("a",), ((TableCell("1", 1),),), "c")
    made = save_blocks(Section("S t", (table, Folded("more", (table,)))), 2, "study", tmp_path, NONE)
    first, folded = made.blocks
    assert isinstance(first, Exhibit)
    assert isinstance(folded, Folded)
    assert isinstance(second := folded.blocks[0], Exhibit)
    assert (first.name, second.name) == ("study-2-s-t", "study-2-s-t-1")
    page = Page("t", (made,)).render()
    assert 'download="study-2-s-t-1.tex" href="data:text/plain;charset=utf-8,%5Cbegin' in page
    assert not list(tmp_path.iterdir())


def test_runs_lead_to_their_configuration_and_log_where_those_are(tmp_path: Path) -> None:
    record = two_arms(tmp_path / "workspace")
    first = record["cells"][0]["run"]
    (tmp_path / "workspace" / "runs" / first / "log.txt").write_text("")
    runs = load_runs(tmp_path / "workspace", record)
    table = list_runs(tmp_path / "workspace", runs, tmp_path / "reports" / "made")
    page = table.to_html()
    assert f'<a href="../../workspace/runs/{first}/config.json">{first}</a>' in page
    assert f'<a href="../../workspace/runs/{first}/log.txt">log</a>' in page
    assert page.count("<a ") == 2
    assert len(table.rows) == len(record["cells"])
    odd = (tmp_path / "workspace").rename(tmp_path / "a #1")
    assert "../../a%20%231/runs" in list_runs(odd, runs, tmp_path / "reports" / "made").to_html()


def test_outputs_of_one_title_are_named_by_what_they_differ_in() -> None:
    law = {"title": "A law"}
    outputs = [
        {"is": "HoldOut", "title": "Held-out runs", "law": law, "where": {"width": "w192", "tokens": "8M"}},
        {"is": "HoldOut", "title": "Held-out runs", "law": law, "where": {"width": "w256", "tokens": "8M"}},
        {"is": "Cost", "title": "Cost"},
    ]
    assert name_apart(outputs) == ["Held-out runs: w192, 8M", "Held-out runs: w256, 8M", "Cost"]
    outputs[1] |= {"law": {"title": "Another"}, "where": outputs[0]["where"]}
    assert name_apart(outputs)[:2] == ["Held-out runs: A law", "Held-out runs: Another"]


def test_a_legend_of_published_exponents_is_as_wide_as_its_medium() -> None:
    assert [medium.fit(3, LEGEND_COLUMN) for medium in (PHONE, SCREEN, PAPER)] == [1, 3, 3]


def test_greek_letters_and_relations_of_labels_are_commands_of_latex() -> None:
    assert latex("θ ≠ Ω") == r"$\theta$ $\ne$ $\Omega$"


@pytest.mark.parametrize(
    ("svg", "light"),
    [
        ('<path style="fill: #0072b2; stroke: currentColor"/>', False),  # the darkest colour of the series
        ('<path style="stroke: #440154"/>', True),  # the dark end of viridis
        ('<path style="fill: #00224e"/>', True),  # and of cividis
        ('<image width="1" xlink:href="data:"/>', True),
    ],
)
def test_figures_that_a_dark_page_would_swallow_stay_light(svg: str, light: bool) -> None:
    assert needs_light(svg) is light
