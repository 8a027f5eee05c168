"""Damaged JSON in a workspace: one message that names the file and what to do; nothing damaged counts as done."""

from __future__ import annotations

import math
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from pdstudy import results as load_results
from pdstudy.cli.main import main
from pdstudy.core.errors import ConfigError
from pdstudy.core.files import read_jsonl
from tests.core.cli import call, results


@pytest.fixture
def copied(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The finished tiny study, in a folder of its own."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PDSTUDY_WORKSPACE", str(tmp_path / "workspace"))
    return tmp_path


def damage(path: Path) -> Path:
    """Cuts a file in half; its path."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as left:
        main(list(words))
    assert left.value.code == 2
    return capsys.readouterr().err


@pytest.mark.integration
@pytest.mark.parametrize(
    ("pattern", "commands"),
    [
        ("corpora/*/manifest.json", ("plan", "run", "status", "results", "report")),
        ("stores/*/*/manifest.json", ("plan", "run", "status", "results", "report")),
        ("studies/tiny.json", ("results", "report")),
    ],
)
def test_a_damaged_file_is_named_with_its_remedy(
    copied: Path, capsys: pytest.CaptureFixture[str], pattern: str, commands: tuple[str, ...]
) -> None:
    paths = [damage(path) for path in (copied / "workspace").glob(pattern)]
    for command in commands:
        said = refused(capsys, command, "tiny.py")
        assert any(f"{path} is damaged: it is not JSON" in said for path in paths), (command, said)
        assert "delete" in said or "move" in said, (command, said)


@pytest.mark.integration
@pytest.mark.parametrize(
    "pattern", ["corpora/*/manifest.json", pytest.param("stores/*/*/manifest.json", marks=pytest.mark.slow)]
)
def test_a_lost_manifest_is_said_and_the_advice_mends_it(
    copied: Path, capsys: pytest.CaptureFixture[str], pattern: str
) -> None:
    """ "Run" was the advice of `run` itself."""
    (lost,) = (copied / "workspace").glob(pattern)
    lost.unlink()
    with pytest.raises(SystemExit) as left:
        main(["run", "tiny.py"])
    assert left.value.code
    out, err = capsys.readouterr()
    assert re.search(rf"{lost.parent} (holds files|has shards), but no manifest.json", out + err), out + err
    assert "`pdstudy run` builds it" not in out + err
    shutil.move(lost.parent, copied / "away")
    with pytest.raises(SystemExit) as left:
        main(["run", "tiny.py"])
    assert not left.value.code


def said_by(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as left:
        main(list(words))
    out, err = capsys.readouterr()
    return int(left.value.code or 0), out + err


FOREIGN = {
    "config.json": b'[{"state": 3}]',
    "provenance.json": b"null",
    "status.json": b'{"status": "done"}',
    "result.json": b'{"state": "done", "flops": {"student": 1.0}, "seconds": {"train": 1.0}, "evals": [{"nll": 3.0}]}',
}
"""JSON of another program, whose fields may have the names of ours."""


@pytest.mark.integration
@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("result.json", "torn"),
        ("config.json", "empty"),
        *(
            pytest.param(name, how, marks=pytest.mark.slow)
            for name in ("config.json", "provenance.json", "status.json", "result.json")
            for how in ("torn", "empty", "foreign")
            if (name, how) not in (("result.json", "torn"), ("config.json", "empty"))
        ),
    ],
)
def test_a_damaged_file_is_the_trouble_of_its_run_alone(
    copied: Path, capsys: pytest.CaptureFixture[str], name: str, how: str
) -> None:
    """The others' rows are as ever, and every command says which run is damaged, and what to do."""
    before = load_results("tiny.py")
    key = before["run"].iloc[-1]
    path = copied / "workspace" / "runs" / key / name
    path.write_bytes({"torn": path.read_bytes()[:30], "empty": b"", "foreign": FOREIGN[name]}[how])
    after = load_results("tiny.py")
    others = before["run"] != key
    assert list(before) == list(after)
    # As objects: a column of None has another kind of absence beside a row that lacks it.
    rows = [frame[others].astype(object).where(frame[others].notna(), None) for frame in (before, after)]
    pd.testing.assert_frame_equal(*rows)
    (row,) = after[~others].to_dict("records")
    assert row["state"] == "damaged"
    assert math.isnan(row["test_loss"])
    assert str(path) in row["error"]
    for command in ("plan", "status", "results", "report"):
        code, said = said_by(capsys, command, "tiny.py")
        assert code == 0, said
        if command == "status":
            assert "1 damaged" in said
            assert f"{path} is damaged" in said
            assert "delete it" in said
    assert "(damaged)" in (copied / "reports" / "tiny" / "index.html").read_text()
    code, said = said_by(capsys, "run", "tiny.py", "--workers", "1")
    assert (code, f"{path} is damaged" in said) == (1, True)
    path.unlink(missing_ok=True)
    assert said_by(capsys, "run", "tiny.py", "--workers", "1")[0] == 0
    healed = load_results("tiny.py")
    assert set(healed["state"]) == {"done"}
    assert healed["test_loss"].tolist() == before["test_loss"].tolist()


@pytest.mark.slow
def test_a_run_with_a_damaged_result_is_no_finished_one_and_goes_on_when_it_is_deleted(copied: Path) -> None:
    before = results(copied)
    path = damage(next((copied / "workspace").glob("runs/*/result.json")))
    assert call(copied, "run", "tiny.py", "--workers", "1").returncode == 1
    path.unlink()
    assert " 1 stopped" in call(copied, "status", "tiny.py").stdout
    assert call(copied, "run", "tiny.py", "--workers", "1").returncode == 0
    assert results(copied) == before


@pytest.mark.integration
@pytest.mark.parametrize("torn", ['{"step": 5, "tok', "[1, 2]"])
def test_a_damaged_row_is_the_trouble_of_its_run_alone(
    copied: Path, capsys: pytest.CaptureFixture[str], torn: str
) -> None:
    """It is named by its line, and the report of the others is written."""
    before = load_results("tiny.py")
    path = copied / "workspace" / "runs" / before["run"].iloc[-1] / "evals.jsonl"
    path.write_text(torn + "\n" + path.read_text().partition("\n")[2])
    with pytest.raises(ConfigError, match=r"evals.jsonl:1 is damaged"):
        list(read_jsonl(path))
    after = load_results("tiny.py")
    assert after["state"].tolist() == [*before["state"][:-1], "damaged"]
    assert after["test_loss"].tolist()[:-1] == before["test_loss"].tolist()[:-1]
    assert "evals.jsonl:1 is damaged" in after["error"].iloc[-1]
    assert said_by(capsys, "report", "tiny.py")[0] == 0
    assert "(damaged)" in (copied / "reports" / "tiny" / "index.html").read_text()


@pytest.mark.integration
def test_a_damaged_shard_s_time_is_missing_from_the_costs(copied: Path) -> None:
    damage(next((copied / "workspace").glob("stores/*/*/shard-*.json")))
    with pytest.raises(SystemExit, match="0"):
        main(["report", "tiny.py"])
    assert "is damaged: it is not JSON" in (copied / "reports" / "tiny" / "index.html").read_text()
