"""Any locale and any label: nothing fails for a character that a terminal lacks, and no label drives one."""

from __future__ import annotations

import shutil
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest

from tests.core.cli import call

pytestmark = pytest.mark.integration

NAME = "τ\\x1b[2J模型\\n"
"""A label as the study file has it: Greek, a sequence that clears a terminal, wide characters, a newline."""


@pytest.fixture
def renamed(finished: Path, tmp_path: Path) -> Path:
    """The finished tiny study with another label, which its runs' identity does not depend on."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    study = tmp_path / "tiny.py"
    study.write_text(study.read_text(encoding="utf-8").replace('"KD": kd', f'"{NAME}": kd'), encoding="utf-8")
    return tmp_path


LOCALES = (
    {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"PYTHONIOENCODING": "latin-1", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
)


@pytest.mark.slow
@pytest.mark.parametrize("locale", LOCALES, ids=lambda locale: locale.get("PYTHONIOENCODING", "C"))
def test_every_command_shows_every_label(renamed: Path, locale: dict[str, str]) -> None:
    lines = (
        ("plan", "tiny.py", "--explain"),
        ("run", "tiny.py"),
        ("status", "tiny.py"),
        ("logs", "tiny.py", "*seed=0"),
        ("results", "tiny.py"),
        ("results", "tiny.py", "--csv", "runs.csv"),
        ("analyse", "compare", "runs.csv", "--metric", "test_loss", "--arm", "loss", "--baseline", "LM"),
        ("inspect", "tiny.py"),
        ("report", "tiny.py", "--out", "report"),
    )
    for words in lines:
        done = call(renamed, *words, **locale)
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), (words, done.stderr[-400:])
        assert "\x1b" not in done.stdout + done.stderr, words
    assert "\\u03c4\\x1b[2J" in call(renamed, "status", "tiny.py", **locale).stdout
    assert set(pd.read_csv(renamed / "runs.csv")["loss"]) == {"LM", "τ\x1b[2J模型\n"}
    for figure in (renamed / "report").rglob("*.svg"):
        ElementTree.parse(figure)
    assert "τ" in (renamed / "report" / "index.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_run_is_made_under_a_locale_without_its_label(renamed: Path) -> None:
    """Worker, log and failure have the label: nothing of the way there may need it in the locale's encoding."""
    for result in (renamed / "workspace" / "runs").glob("*/result.json"):
        shutil.rmtree(result.parent / "checkpoints", ignore_errors=True)
    (renamed / "pdstudy.toml").write_text("# τ: a note\n", encoding="utf-8")
    only = ("--only", "*seed=1", "--workers", "1")
    study = renamed / "tiny.py"
    study.write_text(study.read_text(encoding="utf-8").replace("lr=5e-3", "lr=6e-3"), encoding="utf-8")
    done = call(renamed, "run", "tiny.py", *only, **LOCALES[1])
    assert done.returncode == 0, done.stderr
    assert "\\u03c4\\x1b[2J\\u6a21\\u578b\\n,seed=1: done" in done.stdout
