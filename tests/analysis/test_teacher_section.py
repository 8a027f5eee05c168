"""Teachers on a page: their own losses, and a warning where one is no better than a student."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

from pdstudy.analysis.data.runs import load_runs
from pdstudy.analysis.report.study_page import build
from pdstudy.analysis.report.teacher_section import teacher_table, teacher_warnings
from tests.analysis.made_workspace import shown_rows, two_arms


def with_teachers(root: Path, trained_loss: float, folder_loss: float | None) -> dict[str, Any]:
    """Two arms of which KD has a trained teacher at size 1 and a folder elsewhere; students end between 2.9 and 3.6."""
    record = two_arms(root)
    run, losses = "f" * 16, "e" * 16
    scored = {"eval": "e", "split": "test", "bits_per_byte": 2.0, "accuracy": 0.25, "step": 9, "tokens": 900}
    result = {"state": "done", "evals": [scored | {"loss": trained_loss}], "tokens": 5000, "flops": {"student": 1.0},
              "seconds": {"train": 1.0}, "parameters": {"non_embedding": 900, "total": 1800}}  # fmt: skip
    (root / "runs" / run).mkdir()
    (root / "runs" / run / "result.json").write_text(json.dumps(result))
    if folder_loss is not None:
        (root / "teachers" / losses).mkdir(parents=True)
        about = {"state": "done", "evals": [scored | {"loss": folder_loss}], "parameters": {"total": 7_000_000}}
        (root / "teachers" / losses / "result.json").write_text(json.dumps(about))
    for cell in record["cells"]:
        if cell["labels"]["loss"] == "KD":
            own = cell["labels"]["size"] == "1"
            cell["planned"]["text"] = 400
            cell |= {"teacher": run, "seen": 100} if own else {"teacher": "of a folder", "teacher_losses": losses}
    record["teachers"] = [{"run": run, "name": "teacher, 1.8k parameters", "planned": {"flops": 1.0}}]
    record["models"] = [{"key": losses, "name": "seven", "path": "models/seven", "planned": {"flops": 1.0}}]
    return record


def test_every_teacher_is_shown_with_its_own_losses(tmp_path: Path) -> None:
    record = with_teachers(tmp_path, 2.5, 2.25)
    table = teacher_table(tmp_path, record)
    assert table is not None
    assert table.columns[5:] == ("text seen", "test loss", "test top-1")
    assert shown_rows(table) == [
        [f"Teacher, 1.8k parameters, run {'f' * 16}", "done", "1,800", "900", "5,000", "25%", "2.5000", "25.00"],
        ["seven, folder models/seven", "done", "7,000,000", "not known", "not known", "not known", "2.2500", "25.00"],
    ]
    runs = load_runs(tmp_path, record)
    kd = runs[runs["loss"] == "KD"].drop_duplicates("size").set_index("size")
    assert kd["teacher_test_loss"].to_dict() == {"1": 2.5, "4": 2.25, "9": 2.25, "20": 2.25}
    assert kd["teacher_total"].to_dict() == {"1": 1800, "4": 7e6, "9": 7e6, "20": 7e6}
    assert runs.loc[runs["loss"] == "LM", "teacher_test_loss"].isna().all()
    assert teacher_warnings(tmp_path, record, runs) == []


def test_a_teacher_no_better_than_a_student_is_warned_of(tmp_path: Path) -> None:
    record = with_teachers(tmp_path, 2.5, 3.1)
    out = tmp_path / "out"
    build(tmp_path, record, out)
    page = html.unescape((out / "index.html").read_text())
    runs = load_runs(tmp_path, record)
    count, best = int((runs["test_loss"] <= 3.1).sum()), runs.loc[runs["test_loss"].idxmin()]
    assert 0 < count < len(runs)
    assert f"test loss of 3.1000, which {count} of {len(runs)} runs reach or pass; the best is {best['cell']}" in page
    assert page.count("Warning: ") == 1
    assert "1,800" in page


def test_a_teacher_that_is_not_scored_yet_is_shown(tmp_path: Path) -> None:
    record = with_teachers(tmp_path, 2.5, None) | {"evaluations": []}
    assert [row[:2] for row in shown_rows(teacher_table(tmp_path, record))] == [
        [f"Teacher, 1.8k parameters, run {'f' * 16}", "done"], ["seven, folder models/seven", "new"]
    ]  # fmt: skip
    assert teacher_table(tmp_path, two_arms(tmp_path / "without")) is None
