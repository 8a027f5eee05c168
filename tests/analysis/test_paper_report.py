"""Reports of the paper's studies, on made-up results: gains against k and size, and what is kept, as drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pdstudy.analysis.report.index_page import build_index
from pdstudy.analysis.report.study_outputs import Outputs
from pdstudy.analysis.report.study_page import build
from pdstudy.analysis.tables.table import Table
from pdstudy.config.evaluation import Heldout
from pdstudy.core.identity import fingerprint
from pdstudy.plan.builder import make_plan
from pdstudy.plan.record import make_record
from pdstudy.study.collection import Collection
from pdstudy.study.study import Cell
from pdstudy.study.study_file import load_study
from pdstudy.workspace.layout import Workspace

FOLDER = str(Path(__file__).parents[2] / "studies" / "paper")


def made_up(name: str, workspace: Workspace, loss: Any) -> dict[str, Any]:
    """The record of a study of the mini scale whose runs all ended with `loss(cell)` on test text."""
    studies = load_study(FOLDER, "mini")
    assert isinstance(studies, Collection)
    study = next(s for s in studies.studies if s.name == name)
    plan = make_plan(study, workspace)
    for cell in study.cells:
        evals = []
        for e in study.evaluations:
            row = {"eval": fingerprint(e), "split": e.data.split, "final": True, "step": 1, "tokens": 1, "loss": 3.0}
            if isinstance(e, Heldout):
                value = loss(cell) + 0.01 * cell.seed
                row |= {"loss": value, "bits_per_byte": 2.0, "recalibrated": value, "accuracy": 0.2, "ece": 0.01}
            elif cell.run.teacher is not None:
                entries = float(cell.labels.get("k", 1))
                row |= {"kl": 0.5, "agreement": 0.5, "kept_entries": entries, "kept_mass": 0.5}
            evals.append(row)
        result = {
            "state": "done",
            "steps": cell.run.num_steps,
            "tokens": cell.run.num_tokens,
            "evals": evals,
            "parameters": {},
            "flops": {"student": 1e9},
            "seconds": {"train": 1.0, "evaluate": 1.0},
            "finished": 0.0,
        }
        directory = workspace.root / "runs" / plan.keys[cell.name]
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "result.json").write_text(json.dumps(result))
    return make_record(plan)


def drawn(record: dict[str, Any], workspace: Workspace, output: str) -> pd.DataFrame:
    wanted = next(o for o in record["outputs"] if o["is"] == output)
    (plot, *_) = Outputs(workspace.root, record).blocks(wanted)
    return plot.data  # type: ignore[union-attr]


def test_gain_and_kept_logits_by_k(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)

    def loss(cell: Cell) -> float:
        return 4.0 if cell.labels["k"] == "LM" else 4.0 - float(cell.labels["k"]) / 1000

    record = made_up("mini-s03", workspace, loss)
    data = drawn(record, workspace, "GainAndKept").set_index("k")
    assert list(data.index) == [1, 10, 50, 100]
    assert data["difference"].to_dict() == pytest.approx({k: k / 1000 for k in data.index})
    assert data["kept"].to_dict() == {k: k for k in data.index}
    beside = next(o for o in record["outputs"] if o["is"] == "BesidePaper")
    table = Outputs(workspace.root, record).blocks(beside)[0]
    assert isinstance(table, Table)
    by_arm = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    assert by_arm["LM"]["test loss (nats/token)"] == "–"
    assert str(by_arm["100"]["test loss (nats/token)"]).startswith("no interval −0.100")
    assert by_arm["100"]["test top-1 (points)"] == "same computation"
    assert "top-1 and top-5 are nearest to what the paper scores" in table.caption


@pytest.mark.integration
def test_gain_by_size_has_a_line_per_teacher(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    gains = {"none": 0.0, "0.7M": 0.1, "1.8M": 0.2}
    record = made_up("mini-s10", workspace, lambda cell: 4.0 - gains[cell.labels["teacher"]])
    data = drawn(record, workspace, "GainBySize")
    assert data.groupby("teacher")["difference"].mean().to_dict() == pytest.approx({"0.7M": 0.1, "1.8M": 0.2})
    assert sorted(data["student"].unique()) == [21_664, 49_392, 89_408, 304_800]
    build(workspace.root, record, tmp_path / "out" / "mini-s10")
    page = build_index("paper-mini", [Outputs(workspace.root, record)], tmp_path / "out").read_text()
    assert 'href="mini-s10/index.html"' in page
    assert (tmp_path / "out" / "mini-s10" / "index.html").exists()
    assert list((tmp_path / "out" / "mini-s10" / "figures").glob("*gain-against-student-size*.pdf"))
