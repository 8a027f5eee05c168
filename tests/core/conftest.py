"""One finished tiny study for all tests that need one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.core.cli import call
from tests.core.tiny import write_tiny


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the tiny study has been run once."""
    folder = tmp_path_factory.mktemp("tiny")
    write_tiny(folder)
    done = call(folder, "run", "tiny.py", "--workers", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder
