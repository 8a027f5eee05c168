"""Page data: pages made from it are those made from the workspace, and damage of it is said in a line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pdstudy import Compare, Curves
from pdstudy.analysis.data.excerpt import ANSWERS, FILES, REPORT, TABLES, Report, open_excerpt, save_excerpt
from pdstudy.analysis.data.runs import load_runs
from pdstudy.analysis.errors import DataError
from pdstudy.analysis.report.report_files import NONE, FilesBeside
from pdstudy.analysis.report.write_report import rewrite_report, write_report
from pdstudy.core.errors import ConfigError
from pdstudy.core.identity import encode
from tests.analysis.made_workspace import two_arms


def made_report(root: Path) -> Report:
    record = two_arms(root)
    record["outputs"] = [encode(Compare()), encode(Curves(lines="loss", panels="size", split="test"))]
    return Report("Made", (record,))


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.integration
def test_a_page_from_its_data_is_that_from_its_workspace(tmp_path: Path) -> None:
    report = made_report(tmp_path / "workspace")
    write_report(tmp_path / "workspace", report, tmp_path / "out", NONE)
    rewrite_report(tmp_path / "out" / "data", tmp_path / "again", NONE)
    assert content(tmp_path / "again") == content(tmp_path / "out")
    assert not (tmp_path / "out" / "figures").exists()


def test_an_excerpt_holds_what_is_read_and_no_more(tmp_path: Path) -> None:
    report = made_report(tmp_path / "workspace")
    record = report.records[0]
    run = tmp_path / "workspace" / "runs" / record["cells"][0]["run"]
    (run / "config.json").write_text(json.dumps({"schema": 1, "run": {"is": "Run", "steps": 2}, "hashed": {"a": 1}}))
    (run / "sequences").mkdir()
    np.save(run / "sequences" / "e.npy", np.arange(3.0))
    (run / "metrics.jsonl").write_text("{}\n")
    save_excerpt(tmp_path / "workspace", report, tmp_path / "data")
    with open_excerpt(tmp_path / "data") as (workspace, found):
        assert found == report
        assert load_runs(workspace, record).equals(load_runs(tmp_path / "workspace", record))
        taken = workspace / "runs" / run.name
        assert json.loads((taken / "config.json").read_text()) == {"schema": 1, "run": {"is": "Run", "steps": 2}}
        assert (taken / "sequences" / "e.npy").read_bytes() == (run / "sequences" / "e.npy").read_bytes()
        assert not (taken / "metrics.jsonl").exists()
    assert not workspace.exists()


def test_a_damaged_file_of_a_run_stays_damaged(tmp_path: Path) -> None:
    report = made_report(tmp_path / "workspace")
    record = report.records[0]
    run = record["cells"][0]["run"]
    (tmp_path / "workspace" / "runs" / run / "result.json").write_text('{"state": "do')
    save_excerpt(tmp_path / "workspace", report, tmp_path / "data")
    with open_excerpt(tmp_path / "data") as (workspace, _):
        assert load_runs(workspace, record).set_index("run")["state"].value_counts()["damaged"] == 1


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [(FILES, '{"path": "../../x", "content": {}}\n', "leads out of its folder"),
     (FILES, '{"path": "runs/a/result.json"}\n', "'content'"),
     (FILES, "no JSON\n", "files.jsonl, line 1 is not JSON"),
     (FILES, '{"path": "runs/a/resu', "files.jsonl ends within a row"),
     (FILES, "[]\n", "is damaged"),
     (REPORT, '{"title": "a", "records": "abc"}', "records are not those of studies"),
     (REPORT, '{"title": "a", "records": []}', "records are not those of studies"),
     (REPORT, '{"title": "a", "records": [{"study": "a"}]}', "records are not those of studies"),
     (ANSWERS, "\x1f", "is damaged"),
     (REPORT, "{}", "lacks title, records")],
)  # fmt: skip
def test_damage_of_page_data_is_said(tmp_path: Path, name: str, text: str, said: str) -> None:
    save_excerpt(tmp_path / "workspace", made_report(tmp_path / "workspace"), tmp_path / "data")
    (tmp_path / "data" / name).write_text(text)
    with pytest.raises((DataError, ConfigError), match=said), open_excerpt(tmp_path / "data"):
        pass


def test_damage_within_what_is_compressed_is_said(tmp_path: Path) -> None:
    save_excerpt(tmp_path / "workspace", made_report(tmp_path / "workspace"), tmp_path / "data")
    (tmp_path / "data" / ANSWERS).write_bytes(b"\x1f\x8b\x08\0\0\0\0\0\2" + 6 * b"\xff")
    with pytest.raises(DataError, match="is damaged"), open_excerpt(tmp_path / "data"):
        pass


def test_page_data_without_its_files_is_refused(tmp_path: Path) -> None:
    save_excerpt(tmp_path / "workspace", made_report(tmp_path / "workspace"), tmp_path / "data")
    (tmp_path / "data" / FILES).unlink()
    with pytest.raises(DataError, match=r"files\.jsonl"), open_excerpt(tmp_path / "data"):
        pass


def test_files_of_an_earlier_report_are_removed(tmp_path: Path) -> None:
    report = made_report(tmp_path / "workspace")
    (tmp_path / "data").mkdir()
    for name in (ANSWERS, TABLES):
        (tmp_path / "data" / name).write_text("of an earlier report")
    save_excerpt(tmp_path / "workspace", report, tmp_path / "data")
    assert {path.name for path in (tmp_path / "data").iterdir()} == {FILES, REPORT}


def test_a_paper_of_a_search_is_refused(tmp_path: Path) -> None:
    report = Report("Made", (), {"search": "made"})
    with pytest.raises(DataError, match="found the search Made; allowed: a study"):
        write_report(tmp_path, report, tmp_path / "out", FilesBeside(("pdf",), paper=True))


def test_a_folder_without_page_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no report"), open_excerpt(tmp_path):
        pass
