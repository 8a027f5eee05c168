"""Figures, tables and pages: the same bytes every time, everything escaped, fonts embedded, marks where they belong."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from pdstudy.analysis.compare.seeds import compare
from pdstudy.analysis.figures import style
from pdstudy.analysis.figures.plot import Plot
from pdstudy.analysis.figures.run_comparisons import bars, effects, gain_and_kept, gain_by_size, learning_curves
from pdstudy.analysis.fit.fit import fit
from pdstudy.analysis.laws import power_law
from pdstudy.analysis.report.page import Listing, Page, Section, Text
from pdstudy.analysis.tables.builders import comparison_table, design_table, fit_table, number, two_baselines
from pdstudy.analysis.tables.table import Table, TableCell
from pdstudy.core.format import si

EVIL = 'a<script>$x_1$ & "b"'


@pytest.fixture(autouse=True)
def _close_figures() -> object:
    yield
    plt.close("all")


@pytest.fixture
def curves() -> pd.DataFrame:
    rows = []
    for i, arm in enumerate(("lm", EVIL)):
        for seed in range(3):
            end = 6 if (arm, seed) == ("lm", 2) else 10
            rows += [
                {"arm": arm, "seed": seed, "tokens": t * 1e6, "loss": 5 / t**0.1 + 0.01 * seed - 0.1 * i}
                for t in range(1, end)
            ]
    return pd.DataFrame(rows)


@pytest.fixture
def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [
        {"arm": a, "seed": s, "loss": 5 - 0.2 * i + rng.normal(0, 0.01), "acc": 40 + i}
        for i, a in enumerate(("lm", EVIL, "kd"))
        for s in range(3)
    ]
    return pd.DataFrame(rows)


def all_plots(curves: pd.DataFrame, table: pd.DataFrame) -> list[Plot]:
    sweep = pd.DataFrame(
        {"k": [1, 10, 100], "difference": [1.0, 2, 3], "low": [0.5, 1, 2], "high": [2.0, 3, 4], "kept": [1, 5, 90]}
    )
    sizes = pd.DataFrame(
        {"student": [1e8, 1e9], "teacher": ["9B", "9B"], "difference": [1.0, 2], "low": [0.0, 1], "high": [2.0, 3]}
    )
    sets = pd.DataFrame(
        {"dataset": ["x", "x"], "arm": ["lm", EVIL], "value": [1.0, 2], "low": [0.5, np.nan], "high": [2, np.nan]}
    )
    return [
        learning_curves(curves),
        effects(compare(table, metric="loss", baseline="lm", margin=0.05)),
        gain_and_kept(sweep, x="k", x_label="k", caption="c", logarithmic=True),
        gain_by_size(sizes, caption="c"),
        bars(sets, caption="c"),
    ]


@pytest.mark.integration
def test_files_have_the_same_bytes_every_time(tmp_path: Path, curves: pd.DataFrame, table: pd.DataFrame) -> None:
    for turn in ("a", "b"):
        for i, plot in enumerate(all_plots(curves, table)[:3]):
            plot.save(tmp_path / turn / f"top-0.95-{i}")
    names = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert len(names) == 3 * 4
    assert "top-0.95-0.pdf" in names
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


@pytest.mark.integration
def test_pdf_embeds_truetype_and_no_date(tmp_path: Path, curves: pd.DataFrame) -> None:
    files = learning_curves(curves).save(tmp_path / "f")
    pdf = files[0].read_bytes()
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    assert b"CreationDate" not in pdf
    assert "<text" not in files[1].read_text()  # glyphs are paths: no font is needed to show it


def test_learning_curve_averages_only_where_every_seed_is(curves: pd.DataFrame) -> None:
    data = learning_curves(curves).data
    lm = data[data.arm == "lm"]
    assert lm["tokens"].max() == 5e6  # one seed ended there
    first = curves[(curves.arm == "lm") & (curves.tokens == 1e6)].loss
    assert lm["mean"].iloc[0] == pytest.approx(first.mean())
    assert (lm["low"].iloc[0], lm["high"].iloc[0]) == (first.min(), first.max())


def test_a_dollar_in_a_name_is_a_dollar() -> None:
    assert style.plain("a$x$") == r"a\$x\$"


def test_the_first_49_series_all_differ() -> None:
    assert len({style.look(i) for i in range(49)}) == 49


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (350e3, "350k"),
        (1.9e9, "1.9B"),
        (1e11, "100B"),
        (3e20, "3e20"),
        (999.95e6, "1B"),
        (float("inf"), "inf"),
    ],
)
def test_counts_read_as_researchers_write_them(value: float, text: str) -> None:
    assert si(value) == text


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (124.5, 2, "120"),
        (-0.2979, 2, "−0.30"),
        (float("nan"), 3, "–"),
        (float("inf"), 3, "∞"),
        (1.25e21, 3, "1.25e21"),
        (0, 3, "0.00"),
    ],
)
def test_numbers_in_tables(value: float, digits: int, text: str) -> None:
    assert number(value, digits) == text


def test_table_marks_and_escapes_in_every_format() -> None:
    made = Table(
        ("arm_1", "loss"),
        ((EVIL, TableCell("4.2", 4.2, best=True)), ("b|c", TableCell("4.3", 4.3, noise=True))),
        "100 % of $x",
    )
    assert r"\textbf{4.2}" in made.to_latex()
    assert r"4.3$^\dagger$" in made.to_latex()
    assert r"a\textless{}script\textgreater{}\$x\_1\$ \& " in made.to_latex()
    assert r"\toprule" in made.to_latex()
    assert r"b\|c" in made.to_markdown()
    assert "**4.2**" in made.to_markdown()
    assert "<script>" not in made.to_html() + made.to_markdown().replace("\\<", "")
    assert made.to_csv().splitlines()[1].endswith(",4.2")
    assert "Bold: best. †: within noise." in made.note
    with pytest.raises(ValueError, match="a row of 1 cells under 2 columns"):
        Table(("a", "b"), (("x",),), "")


def test_design_table_has_the_average_and_the_gain() -> None:
    rows = pd.DataFrame({"arm": ["lm", "lm", "pd"], "x": [10.0, 20, 30], "y": [30.0, 30, 60]})
    made = design_table(rows, metrics=["x", "y"], baseline="lm")
    assert made.columns == ("arm", "seeds", "x", "y", "average", "Δ")
    assert made.to_csv().splitlines()[2] == "pd,1,30.0,60.0,45.0,100.0"
    assert "n = 1 to 2 seeds" in made.caption


def test_both_baselines_stand_side_by_side(table: pd.DataFrame) -> None:
    first = compare(table, metric="loss", baseline={"kd": EVIL})
    second = compare(table, metric="loss", baseline="lm")
    made = two_baselines(first, second)
    assert len(made.rows) == 1
    row = made.to_csv().splitlines()[1]
    assert row.startswith("kd,")
    assert str(first.effects[0].difference) in row
    assert str(next(e for e in second.effects if e.arm == "kd").difference) in row


def test_fit_table_prints_no_number_that_is_not_identified() -> None:
    n = np.linspace(1e8, 1.2e8, 12)
    runs = pd.DataFrame({"N": n, "loss": 2 + 400 * n**-0.3 * np.exp(np.random.default_rng(0).normal(0, 0.01, 12))})
    made = fit_table(fit(runs, power_law("N")))
    text = made.to_markdown()
    assert text.count("not identified") >= 2
    assert "alpha,not identified" not in made.to_csv()  # the CSV has the number


class _Strict(HTMLParser):
    """Fails on tags that don't nest; collects ids and references."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br", "link", "img"):
            self.open.append(tag)
        for key, value in attrs:
            if key == "id":
                self.ids.append(value or "")
            if key in ("href", "src", "xlink:href"):
                self.links.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.integration
def test_page_is_self_contained_escaped_and_deterministic(curves: pd.DataFrame, table: pd.DataFrame) -> None:
    def page() -> str:
        plots = all_plots(curves, table)
        shown = comparison_table(compare(table, metric="loss", baseline="lm"), EVIL)
        sections = (Section(EVIL, (Text(EVIL), *plots)), Section("two", (shown, Listing(EVIL))))
        return Page(EVIL, sections, banner=EVIL, provenance={"commit": EVIL}).render()

    text = page()
    assert text == page()
    assert "<script" not in text
    assert not re.search(r"(?:src|href)=\"(?!#)", text)
    assert "@import" not in text
    parser = _Strict()
    parser.feed(text)
    assert parser.open == []
    assert len(parser.ids) == len(set(parser.ids))
    assert {link[1:] for link in parser.links} <= set(parser.ids)
    assert set(re.findall(r"url\(#([^)]*)\)", text)) <= set(parser.ids)


def test_panels_that_share_an_axis_show_all_their_points() -> None:
    """Sharing after drawing cut every panel to the range of the first."""
    from pdstudy.analysis.figures.diagnostics import small_multiples

    rows = [
        {"axis": a, "x": x, "value": v, "low": v - 1, "high": v + 1}
        for a, v in (("first", 5.0), ("second", 50.0))
        for x in (1.0, 2.0)
    ]
    plot = small_multiples(pd.DataFrame(rows), y_label="loss", caption="")
    low, high = plot.figure.axes[0].get_ylim()
    assert low < 4
    assert high > 51
    plot.close()


def test_latex_takes_no_cell_for_an_argument_and_no_caption_ends_early() -> None:
    r"""`\\ [2pt]` is a space of two points, `\\*` a line break, and a blank line in a caption stops LaTeX."""
    made = Table(("[0, 1]", "x"), (("[2pt]", "1"), ("*", "2"), ("plain", "3")), "one\n\ntwo")
    lines = made.to_latex().splitlines()
    rows = [line for line in lines if line.endswith(r"\\")]
    assert rows == [r"{}[0, 1] & x \\", r"{}[2pt] & 1 \\", r"{}* & 2 \\", r"plain & 3 \\"]
    assert r"\caption{one two}" in lines
    assert "" not in lines


def test_labels_of_saved_tables_are_those_of_their_files(tmp_path: Path) -> None:
    made = Table(("a",), (("1",),), "")
    for stem in ("1-comparison", "2 comparison_x"):
        made.save(tmp_path / stem)
    texts = [path.read_text() for path in sorted(tmp_path.glob("*.tex"))]
    assert [re.findall(r"\\label{(.*)}", text) for text in texts] == [["tab:1-comparison"], ["tab:2-comparison-x"]]
    assert "label" not in made.to_latex()
    replace(made, label="tab:mine").save(tmp_path / "mine")
    assert r"\label{tab:mine}" in (tmp_path / "mine.tex").read_text()
