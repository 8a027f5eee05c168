"""Modules beside a study file: each study has its own, read anew by every load, and none stays behind."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from pdstudy import results
from pdstudy.core.errors import ConfigError
from pdstudy.search.search_file import load_search
from pdstudy.study.study_file import load_study
from tests.core.tiny import write_tiny

STUDY = """
from settings import TOKENS
from tests.study.test_study import make_study, make_run

def study(scale="mini"):
    return make_study(base=make_run(tokens=TOKENS), name="s")
"""


def write(folder: Path, tokens: int, study: str = STUDY) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "settings.py").write_text(f"TOKENS = {tokens}\n")
    (folder / "x.py").write_text(study)
    os.utime(folder / "settings.py", (1e9, 1e9))  # an edit may keep size and second
    return str(folder / "x.py")


def tokens(path: str) -> int | None:
    return load_study(path).base.tokens


def test_two_studies_each_have_their_own_settings(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a", 1280), write(tmp_path / "b", 2560)
    assert [tokens(first), tokens(second), tokens(first)] == [1280, 2560, 1280]
    assert "settings" not in sys.modules
    assert not {str(tmp_path / "a"), str(tmp_path / "b"), str(tmp_path)} & {*sys.path}


def test_an_edited_helper_is_read_by_the_next_load(tmp_path: Path) -> None:
    path = write(tmp_path, 1280)
    assert tokens(path) == 1280
    before = results(path, workspace=tmp_path / "workspace")
    write(tmp_path, 2560)
    assert tokens(path) == 2560
    after = results(path, workspace=tmp_path / "workspace")
    assert len(before) == len(after) > 0
    assert set(before["run"]).isdisjoint(after["run"])
    assert not list(tmp_path.rglob("*.pyc")), "a compiled file would hide an edit of the same second and size"


def test_a_module_of_the_same_name_in_a_notebook_is_neither_used_nor_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notebook").mkdir()
    (tmp_path / "notebook" / "settings.py").write_text("TOKENS = 640\n")
    monkeypatch.syspath_prepend(str(tmp_path / "notebook"))
    import settings  # type: ignore[import-not-found]

    assert tokens(write(tmp_path / "a", 1280)) == 1280
    assert sys.modules["settings"] is settings
    monkeypatch.delitem(sys.modules, "settings")


def test_a_path_that_a_study_adds_is_not_another_s(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "deep.py").write_text("TOKENS = 3200\n")
    adds = f"import sys\nsys.path.append({str(tmp_path / 'lib')!r})\nfrom deep import TOKENS\n"
    path = write(tmp_path / "a", 0, STUDY.replace("from settings import TOKENS", adds))
    assert tokens(path) == 3200
    lost = write(tmp_path / "b", 0, STUDY.replace("from settings", "from deep"))
    with pytest.raises(ConfigError, match="No module named 'deep'"):
        load_study(lost)
    assert str(tmp_path / "lib") not in sys.path


def test_folders_are_imported_by_name_from_beside_and_from_within(tmp_path: Path) -> None:
    inside = STUDY.replace("from settings", "from family.settings")
    write(tmp_path / "family", 1280, inside)
    (tmp_path / "beside.py").write_text(inside)
    assert tokens(str(tmp_path / "family" / "x.py")) == tokens(str(tmp_path / "beside.py")) == 1280
    assert [study.base.tokens for study in load_study(str(tmp_path / "family")).studies] == [1280]  # type: ignore[attr-defined]
    assert "family" not in sys.modules


def test_libraries_that_a_study_imports_first_stay(tmp_path: Path) -> None:
    """An environment inside the project's folder: what lies there is not the study's own."""
    site = tmp_path / "env" / "site-packages"
    site.mkdir(parents=True)
    (site / "library.py").write_text("LOADS = []\n")
    sys.path.append(str(site))
    try:
        load_study(write(tmp_path, 1280, "import library\n" + STUDY))
        assert sys.modules["library"].LOADS == []
    finally:
        sys.path.remove(str(site))
        del sys.modules["library"]


def test_a_search_has_its_own_modules_too(tmp_path: Path) -> None:
    search = """
from settings import TOKENS
from tests.search.synthetic import make_search

def search(scale="mini"):
    return make_search(trials=TOKENS)
"""
    first, second = write(tmp_path / "a", 3, search), write(tmp_path / "b", 5, search)
    assert [load_search(first).trials, load_search(second).trials] == [3, 5]


def test_an_edited_text_is_another_run_for_the_next_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one process, as a notebook or `status --watch` is: the same declaration, other text."""
    monkeypatch.setenv("PDSTUDY_CACHE", str(tmp_path / "cache"))
    path = str(write_tiny(tmp_path))
    before = results(path, workspace=tmp_path / "workspace")
    assert results(path, workspace=tmp_path / "workspace")["run"].tolist() == before["run"].tolist()
    text = next((tmp_path / "texts").glob("*.txt"))
    text.write_text(text.read_text() + "One more line.\n")
    after = results(path, workspace=tmp_path / "workspace")
    assert set(before["run"]).isdisjoint(after["run"])


def test_a_text_that_was_missing_is_found_by_the_next_load(tmp_path: Path) -> None:
    path = str(write_tiny(tmp_path))
    (tmp_path / "texts").rename(tmp_path / "away")
    with pytest.raises(ConfigError, match="a file, folder or glob that is there"):
        results(path, workspace=tmp_path / "workspace")
    (tmp_path / "away").rename(tmp_path / "texts")
    assert len(results(path, workspace=tmp_path / "workspace"))
