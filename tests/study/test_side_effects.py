"""What a study file does to the process that loads it: an end, a change of folder and stray output are the file's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pdstudy.core.errors import ConfigError
from pdstudy.study.study_file import load_study
from tests.core.tiny import write_tiny


def begin_with(folder: Path, line: str) -> str:
    path = write_tiny(folder)
    path.write_text(f"{line}\n{path.read_text()}")
    return str(path)


@pytest.mark.parametrize("end", ["import sys; sys.exit()", "raise SystemExit('no')", "raise BaseException('a\\nb')"])
def test_a_file_that_ends_the_process_is_refused(end: str, tmp_path: Path) -> None:
    """`pdstudy run` used to end with exit code 0 and nothing made."""
    with pytest.raises(ConfigError, match=r"tiny\.py:1: (SystemExit|BaseException): [^\n]*$"):
        load_study(begin_with(tmp_path, end))


def test_a_file_may_change_the_folder_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the workspace and the study itself, named relative to the user's folder, would be others."""
    begin_with(tmp_path / "studies", "import os; os.chdir('/')")
    monkeypatch.chdir(tmp_path)
    assert load_study("studies/tiny.py").name == load_study("tiny").name == "tiny"
    assert os.getcwd() == str(tmp_path)


def test_what_a_file_prints_goes_to_standard_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` was not JSON."""
    load_study(begin_with(tmp_path, "print('hello')"))
    out, err = capsys.readouterr()
    assert (out, err.splitlines()[0]) == ("", "hello")
