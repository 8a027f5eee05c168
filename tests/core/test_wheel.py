"""The wheel: one name in site-packages, whatever a user's own folders are called."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.core.tiny import write_tiny

ROOT = Path(__file__).parents[2]
RESULTS = """
import analysis, pdstudy, pdstudy.analysis
from pdstudy.analysis.tables.paper import published
print(pdstudy.__file__, pdstudy.analysis.__file__, analysis.MINE)
assert published()
print(sorted(pdstudy.results("tiny.py")["state"].unique()))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as `pip install .` builds it, by the setuptools of this environment, from a copy: a build leaves files."""
    folder, source = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("source")
    for name in ("pdstudy", "analysis"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps",
               "--no-build-isolation", "--wheel-dir", str(folder), str(source)]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, text=True)
    (made,) = folder.glob("pdstudy-*.whl")
    return made


@pytest.mark.integration
def test_a_wheel_holds_one_package_and_its_data(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"pdstudy"}
    inside = {name for name in names if not name.endswith(".py")}
    for path in ("py.typed", "analysis/report/page.css", "analysis/figures/pdstudy.mplstyle",
                 "analysis/tables/published/peng2024.json", "cli/templates/new_quickstart.txt"):  # fmt: skip
        assert f"pdstudy/{path}" in inside


@pytest.mark.integration
@pytest.mark.parametrize("kind", ["a folder beside the notebook", "an installed package"])
def test_a_user_may_have_an_analysis_of_their_own(wheel: Path, tmp_path: Path, kind: str) -> None:
    site, project = tmp_path / "site", tmp_path / "project"
    zipfile.ZipFile(wheel).extractall(site)
    write_tiny(project)
    mine = (project if kind.startswith("a folder") else site) / "analysis"
    mine.mkdir()
    (mine / "__init__.py").write_text("MINE = 'mine'\n")
    path = os.pathsep.join([*([str(project)] if mine.parent == project else []), str(site)])
    told = subprocess.run(
        [sys.executable, "-c", RESULTS], cwd=project, env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    files, states = told.stdout.splitlines()
    assert files.split() == [str(site / "pdstudy/__init__.py"), str(site / "pdstudy/analysis/__init__.py"), "mine"]
    assert states == "['new']"
