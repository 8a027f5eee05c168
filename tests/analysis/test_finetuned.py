"""What finetuning did, from run directories: before and after, by arm; finished pairs alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pdstudy.analysis.report.study_page import build
from pdstudy.analysis.tables.finetuned import finetuning_table, load_finetuned
from tests.analysis.made_workspace import make_workspace

BEFORE, AFTER = {"LM": 5.0, "KD": 5.1}, {"LM": 4.4, "KD": 4.2}


def finetuned(root: Path) -> dict[str, Any]:
    """A study of two arms and two seeds whose last models are finetuned: the text's loss rises by 0.1."""
    losses = {(arm, str(seed)): 3.0 + seed for arm in ("LM", "KD") for seed in (0, 1)}
    record = make_workspace(root, losses, {"loss": ["LM", "KD"]})
    record["evaluations"].append({"eval": "r", "split": "responses", "heldout": {"is": "HeldoutResponses"}})
    for cell in record["cells"]:
        arm, source = cell["labels"]["loss"], root / "runs" / cell["run"] / "result.json"
        result = json.loads(source.read_text())
        (test,) = result["evals"]
        tuned = root / "runs" / f"t-{cell['run']}" / "result.json"
        tuned.parent.mkdir()
        for path, loss, responses in (
            (source, test["loss"], BEFORE[arm] + cell["seed"]),
            (tuned, test["loss"] + 0.1, AFTER[arm] + cell["seed"]),
        ):
            evals = [test | {"loss": loss}, {"eval": "r", "split": "responses", "loss": responses, "accuracy": 0.1}]
            path.write_text(json.dumps(result | {"evals": evals}))
        cell["downstream"] = [
            {"suite": 0, "key": f"t-{cell['run']}/q", "step": 2, "tokens": 200, "final": True},
            {"suite": 0, "key": f"t-{cell['run']}-way/q", "step": 1, "tokens": 100, "final": False},
        ]
    return record


def test_losses_before_and_after_are_those_of_the_run_and_of_the_one_that_goes_on_from_it(tmp_path: Path) -> None:
    frame = load_finetuned(tmp_path, finetuned(tmp_path))
    assert len(frame) == 4
    for row in frame.itertuples():
        assert row.responses_loss_before == BEFORE[row.loss] + row.seed
        assert row.responses_loss_after == AFTER[row.loss] + row.seed
        assert row.test_loss_after == pytest.approx(row.test_loss_before + 0.1)


def test_the_page_has_a_row_per_arm(tmp_path: Path) -> None:
    record = finetuned(tmp_path)
    table = finetuning_table(tmp_path, record)
    assert table is not None
    assert [[str(getattr(c, "text", c)) for c in row[:4]] for row in table.rows] == [
        ["LM", "2", "5.500 ± 0.707", "4.900 ± 0.707"],
        ["KD", "2", "5.600 ± 0.707", "4.700 ± 0.707"],
    ]
    build(tmp_path, record, tmp_path / "out")
    assert "Finetuning" in (tmp_path / "out" / "index.html").read_text()


def test_what_is_not_finished_or_not_finetuned_has_no_row(tmp_path: Path) -> None:
    record = finetuned(tmp_path)
    first, second, *_ = record["cells"]
    (tmp_path / "runs" / f"t-{first['run']}" / "result.json").unlink()
    second["downstream"] = [{"suite": 0, "key": f"{second['run']}/q", "step": 2, "tokens": 200, "final": True}]
    assert set(load_finetuned(tmp_path, record)["cell"]) == {c["name"] for c in record["cells"][2:]}
    for cell in record["cells"]:
        cell["downstream"] = []
    assert finetuning_table(tmp_path, record) is None
