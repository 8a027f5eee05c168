"""Study files and the scales that they know."""

from __future__ import annotations

from pathlib import Path

import pytest

from pdstudy.core.errors import ConfigError
from pdstudy.study.study_file import load_study
from tests.core.tiny import write_tiny

BY_NAME = """
    short = {"mini": 4, "paper": 8}[scale]
"""

ELSE = """
    short = 8 if scale == "paper" else 4
"""


def write(folder: Path, body: str = "", signature: str = 'scale="mini"') -> str:
    path = write_tiny(folder)
    text = path.read_text().replace('def study(scale="mini"):', f"def study({signature}):{body}")
    path.write_text(text.replace("base=run(16, 0, 20)", "base=run(16, 0, short)") if body else text)
    return str(path)


def test_a_scale_that_changes_nothing_is_refused(tmp_path: Path) -> None:
    """A mistyped scale used to run the study at its default."""
    study = write(tmp_path)
    assert load_study(study) == load_study(study, "mini")
    with pytest.raises(ConfigError, match=r"tiny.py has no scale 'papre': its study\(scale\) is the same with any"):
        load_study(study, "papre")


def test_a_scale_that_falls_to_the_default_is_refused(tmp_path: Path) -> None:
    study = write(tmp_path, ELSE)
    assert load_study(study, "paper").base.num_steps == 8
    with pytest.raises(ConfigError, match="has no scale 'papre'"):
        load_study(study, "papre")


def test_a_scale_that_a_study_knows_is_taken_whatever_it_changes(tmp_path: Path) -> None:
    study = write(tmp_path, BY_NAME)
    assert (load_study(study, "mini").base.num_steps, load_study(study, "paper").base.num_steps) == (4, 8)
    with pytest.raises(ConfigError, match="has no scale 'papre'"):
        load_study(study, "papre")
    (tmp_path / "needed").mkdir()
    needed = write(tmp_path / "needed", ELSE, "scale")  # without a default any name may be meant
    assert load_study(needed, "any").base.num_steps == 4


def test_of_a_folder_one_study_at_least_knows_the_scale(tmp_path: Path) -> None:
    knows = write(tmp_path, BY_NAME)
    ignores = tmp_path / "other.py"
    ignores.write_text(Path(knows).read_text().replace(BY_NAME.strip(), "short = 6").replace('"tiny"', '"other"'))
    assert [study.base.num_steps for study in load_study(str(tmp_path), "paper").studies] == [6, 8]
    Path(knows).unlink()
    with pytest.raises(ConfigError, match="has no scale 'papre': its studies are the same with any"):
        load_study(str(tmp_path), "papre")
