"""Only the command line prints: everything below it returns data or writes a log."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest

import pdstudy
from pdstudy.cli.main import main

PACKAGE = Path(pdstudy.__file__).parent
LOGS = {
    "launch/worker.py": "the log of a task",
    "models/distributed.py": "the log of a run",
    "slurm/stopping.py": "the log of a job",
    "slurm/job_main.py": "the log of a job",
    "train/__main__.py": "the command of torchrun",
    "train/loader.py": "the log of a run",
    "models/count.py": "the answer of a child process to its parent",
    "analysis/cli.py": "the command line of the analysis",
}


def test_nothing_below_the_command_line_prints() -> None:
    found = set()
    for path in PACKAGE.rglob("*.py"):
        where = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                found.add(where)
    below = {where for where in found if not where.startswith("cli/")}
    assert below <= LOGS.keys()
    assert {where for where in found if where.startswith("cli/")} == {"cli/terminal.py"}


@pytest.mark.parametrize("chosen", [None, "3"])
def test_a_command_uses_one_thread_unless_the_user_says_how_many(
    chosen: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", chosen or "")
    if chosen is None:
        monkeypatch.delenv("OMP_NUM_THREADS")
    with pytest.raises(SystemExit):
        main(["doctor", "--workspace", str(tmp_path)])
    assert os.environ["OMP_NUM_THREADS"] == (chosen or "1")
