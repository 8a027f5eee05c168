"""Study files: loaded by name or path, with errors that name their line, and runs chosen by a pattern."""

from __future__ import annotations

from pathlib import Path

import pytest

from pdstudy import axis
from pdstudy.core.errors import ConfigError
from pdstudy.plan.study_plan import checked_plan
from pdstudy.search.search_file import load_search
from pdstudy.study.study_file import load_study
from pdstudy.workspace.layout import Workspace
from tests.study.test_study import make_study


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.py"
    path.write_text(text)
    return str(path)


STUDY = """
from tests.study.test_study import make_study
def study(scale="mini"):
    return make_study()
"""


def test_a_study_file_that_raises_names_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"mine\.py:3: ZeroDivisionError"):
        load_study(write(tmp_path, "\ndef study(scale='mini'):\n    return 1 / 0\n"))


def test_a_study_file_with_a_syntax_error_names_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"mine\.py:2: SyntaxError"):
        load_study(write(tmp_path, "\ndef study(:\n"))


def test_an_unknown_field_names_the_nearest(tmp_path: Path) -> None:
    text = "from pdstudy import Shape\ndef study(scale='mini'):\n    return Shape(widht=3)\n"
    with pytest.raises(ConfigError, match=r"mine\.py:3: Shape has no field 'widht'.*did you mean 'width'"):
        load_study(write(tmp_path, text))
    for text in ("from pdstudy import Stduy\n", "x = 1\ny = Stduy()\n"):
        with pytest.raises(ConfigError, match=r"did you mean 'Study'\?"):
            load_study(write(tmp_path, text))


def test_a_file_without_a_study_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="defines no function"):
        load_study(write(tmp_path, "x = 1\n"))
    with pytest.raises(ConfigError, match="returned int"):
        load_study(write(tmp_path, "def study(scale='mini'):\n    return 3\n"))
    nothing = "from pdstudy import Study\n\ndef study(scale='mini'):\n    base = None\n    Study(\n        base)\n"
    with pytest.raises(ConfigError, match=r"mine\.py:5: .*returned None, not a Study; end it with `return Study"):
        load_study(write(tmp_path, nothing.replace("base)", "name='a', base=base)")))
    with pytest.raises(ConfigError, match=r"study is 5; allowed: a function `study\(scale\)`"):
        load_study(write(tmp_path, "study = 5\n"))
    with pytest.raises(ConfigError, match="it declares a study: `pdstudy run`"):
        load_search(write(tmp_path, STUDY))
    with pytest.raises(ConfigError, match="no study file"):
        load_study(str(tmp_path / "absent.py"))


def test_the_studies_that_there_are_are_named_folders_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"there is none in .*studies; `pdstudy new NAME` writes one"):
        load_study("papr")
    (tmp_path / "studies" / "paper").mkdir(parents=True)
    for name in ("mine.py", "paper/first.py"):
        (tmp_path / "studies" / name).touch()
    with pytest.raises(ConfigError) as refused:
        load_study("papr")
    hint = "(did you mean 'paper'?); files in studies/: mine; folders in studies/: paper"
    assert str(refused.value) == f"no study file 'papr' {hint}"


def test_what_is_no_python_file_is_no_study(tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("no study")
    with pytest.raises(ConfigError, match="no Python file"):
        load_study(str(notes))


def test_a_study_that_needs_a_scale_or_takes_none_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"mine\.py: no scale was given \(--scale\), and study\(scale\)"):
        load_study(write(tmp_path, "def study(scale):\n    return 3\n"))
    with pytest.raises(ConfigError, match=r"scale 'mini' was given, and study\(\) does not take"):
        load_study(write(tmp_path, "def study():\n    return 3\n"), "mini")


def test_only_chooses_exactly_the_cells_that_match(tmp_path: Path) -> None:
    path, workspace = write(tmp_path, STUDY), Workspace(tmp_path)
    for pattern, expected in (
        ("*KD*seed=0", ["loss=KD,seed=0"]),  # the baseline's arm is not among them
        ("*[!M],seed=1", ["loss=KD,seed=1"]),
        ("*L*0", ["loss=LM,seed=0"]),
        ("*", ["loss=LM,seed=0", "loss=LM,seed=1", "loss=KD,seed=0", "loss=KD,seed=1"]),
    ):
        assert [c.name for c in checked_plan(path, None, workspace, pattern).study.cells] == expected
    with pytest.raises(ConfigError, match="matches no run"):
        checked_plan(path, None, workspace, "*XY*")
    grid = axis("lr", {"1": 1e-3, "2": 2e-3}, field="optimiser.lr")
    some = make_study(grid=grid, baseline={}, only="*1*")
    assert [c.name for c in some.cells] == ["lr=1,seed=0", "lr=1,seed=1", "lr=2,seed=1"]
