"""The paper's published numbers: transcribed soundly, and found by every study that names a row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pdstudy.analysis.errors import AnalysisError
from pdstudy.analysis.tables.paper import loss_beside_paper, paper_gain, paper_table, published, tasks_beside_paper
from pdstudy.analysis.tables.table import Table, TableCell
from pdstudy.config.outputs import BesidePaper, PaperTable
from pdstudy.study.collection import Collection
from pdstudy.study.study_file import load_study

FOLDER = str(Path(__file__).parents[2] / "studies" / "paper")


def test_averages_are_those_of_their_rows() -> None:
    """92 of the paper's rows agree with their printed mean within rounding, four by 0.06 to 0.08."""
    for table in published()["tables"].values():
        for name, *scores, average in table["rows"]:
            assert np.mean(scores) == pytest.approx(average, abs=0.085), name


@pytest.mark.parametrize("scale", ["mini", "paper"])
def test_every_row_that_a_study_names_is_there(scale: str) -> None:
    studies = load_study(FOLDER, scale)
    assert isinstance(studies, Collection)
    shown = set()
    for study in studies.studies:
        for output in study.outputs:
            if isinstance(output, BesidePaper):
                rows = {row[0] for row in published()["tables"][output.table]["rows"]}
                assert {theirs for _, theirs in output.pairs} <= rows, study.name
                labels = {cell.labels[output.axis] for cell in study.cells}
                assert {ours for ours, _ in output.pairs} <= labels, study.name
            if isinstance(output, BesidePaper | PaperTable):
                shown.add(output.table)
            if isinstance(output, PaperTable) and scale == "paper":
                rows = {row[0] for row in published()["tables"][output.table]["rows"]}
                arms = {" ".join(cell.labels.values()) for cell in study.cells}
                assert {theirs for _, theirs in output.pairs} <= rows, study.name
                based = {" ".join((cell.labels | study.baseline).values()) for cell in study.cells}  # no arms, perhaps
                assert {ours for ours, _ in output.pairs} <= arms | based, study.name
                assert paper_table(output.table).rows
    assert shown == set(published()["tables"])


def ended(axes: dict[str, list[str]], loss: list[float]) -> pd.DataFrame:
    return pd.DataFrame({**axes, "test_loss": loss, "test_recalibrated": loss, "test_accuracy": 0.25})


def numbers(table: Table, column: int) -> list[float | None]:
    return [cell.number for row in table.rows if isinstance(cell := row[column], TableCell)]


def test_gains_have_the_signs_of_findings() -> None:
    runs = ended({"alpha": ["0", "0", "0.9", "0.9"]}, [4.0, 4.2, 3.9, 3.9])
    table = loss_beside_paper(runs, ["alpha"], {"alpha": "0"}, "10", {})
    assert numbers(table, 2) == pytest.approx([0, 100 * (1 - 3.9 / 4.1)])
    assert numbers(table, 6) == pytest.approx([0, 3.6]), "as printed: the printed averages give 3.7"
    with pytest.raises(AnalysisError, match="no finished run"):
        loss_beside_paper(runs[runs["alpha"] != "0"], ["alpha"], {"alpha": "0"}, "10", {})


def test_gains_over_another_row_than_the_papers_are_of_means_that_are_not_rounded() -> None:
    assert paper_gain("5", "WSD-α + WSD-LR", "LLM-LM") == 8.0
    assert paper_gain("5", "WSD-α + WSD-LR", "0-α + WSD-LR") == pytest.approx(6.8, abs=0.05), "40.7 / 38.2 is 6.5 %"
    assert np.isnan(paper_gain("5", "WSD-α + WSD-LR", "no such row"))
    for number, table in published()["tables"].items():
        base = table["rows"][0][0]
        for row, gain in table.get("printed", {}).items():
            scores = {name: np.mean(values) for name, *values, _ in table["rows"]}
            assert 100 * (scores[row] / scores[base] - 1) == pytest.approx(gain, abs=0.25), (number, row)


def test_arms_of_several_axes_stand_beside_the_rows_that_they_are_named_with() -> None:
    """As in S12, where the paper compares both windows with one LM run."""
    axes = {"window": ["early", "early", "late", "late"], "source": ["LM", "online", "LM", "online"]}
    runs = ended(axes, [4.0, 5.0, 4.1, 4.0])
    pairs = {"early LM": "LLM-LM", "late LM": "LLM-LM", "early online": "LLM-Online-100B-L",
             "late online": "LLM-Online-100B"}  # fmt: skip
    table = loss_beside_paper(runs, ["window", "source"], {"source": "LM"}, "6", pairs)
    assert [row[0] for row in table.rows] == ["early LM", "early online", "late LM", "late online"]
    assert numbers(table, 2) == pytest.approx([0, -25, 0, 100 * (1 - 4.0 / 4.1)])
    assert numbers(table, 6) == pytest.approx([0, -20.9, 0, -3.9])
    with pytest.raises(AnalysisError, match="no row of the paper's table 13 is named for the baseline 'LM'"):
        loss_beside_paper(runs, ["window", "source"], {"source": "LM"}, "13", pairs)
    with pytest.raises(AnalysisError, match="no arm has a row"):
        loss_beside_paper(runs, ["window", "source"], {"source": "LM"}, "6", {"early LM": "LLM-LM"})


def answered(*rows: tuple[str, str, int, bool, str, float]) -> pd.DataFrame:
    heads = ["student", "loss", "step", "final", "task", "value"]
    return pd.DataFrame(rows, columns=heads).assign(seed=0)


def test_our_tasks_stand_beside_the_papers() -> None:
    values = {"LM": 0.4, "KD": 0.44}
    found = [
        ("1.9B", loss, step, step == 59_604, task, values[loss] + (0.1 if task == "piqa" else 0) + step / 1e6)
        for loss in values for step in (10_000, 59_604) for task in ("piqa", "arc_easy", "hellaswag")
    ]  # fmt: skip
    table = tasks_beside_paper(answered(*found), ["student", "loss"], {"loss": "LM"}, "12", {})
    assert table.columns == ("arm", "", "HellaSwag", "PIQA", "average", "Δ (%)")
    names = ["1.9B LM 10,000", "", "1.9B LM 59,604", "", "1.9B KD 10,000", "", "1.9B KD 59,604", ""]
    assert [row[0] for row in table.rows] == names
    ours, theirs = ([getattr(cell, "number", cell) for cell in row[2:]] for row in table.rows[4:6])
    assert ours == pytest.approx([45.0, 55.0, 50.0, 100 * (50 / 46 - 1)])
    assert theirs == pytest.approx([53.8, 73.0, 63.4, 100 * (63.4 / 62.2 - 1)])


def test_arms_are_paired_by_their_labels() -> None:
    found = answered(("1.9B", "PD*", 7, True, "piqa", 0.7), ("1.9B", "control", 7, True, "piqa", 0.6))
    table = tasks_beside_paper(found, ["student", "loss"], {"loss": "LM"}, "13", {})
    assert [row[:2] for row in table.rows] == [("1.9B PD*", "ours"), ("", "paper")]
    assert numbers(table, -1) == pytest.approx([np.nan, 100 * (73.9 / 72.9 - 1)], nan_ok=True), (
        "its LM is no arm of ours"
    )
    with pytest.raises(AnalysisError, match="no arm that has been evaluated has a row in the paper's table 1"):
        tasks_beside_paper(found, ["student", "loss"], {"loss": "LM"}, "1", {})
    with pytest.raises(AnalysisError, match="none of the paper's tasks"):
        tasks_beside_paper(found.assign(task="sciq"), ["student", "loss"], {}, "13", {})
