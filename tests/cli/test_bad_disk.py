"""Disks that are full or read-only: one message, nothing half-written taken for whole, nothing lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.core.cli import call, metrics, results
from tests.core.tiny import write_tiny


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """A tmpfs at `folder`; skips where this user may not mount one."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"needs the right to mount a small file system: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.slow
def test_a_full_disk_fails_runs_with_a_reason_and_room_lets_them_go_on(finished: Path, tmp_path: Path) -> None:
    write_tiny(tmp_path)
    with mounted(tmp_path / "workspace", "size=1500k"):
        failed = call(tmp_path, "run", "tiny.py", "--workers", "1")
        assert failed.returncode == 1, failed.stdout + failed.stderr
        assert "No space left on device" in failed.stderr, failed.stderr
        assert "Traceback" not in failed.stderr
        for path in (tmp_path / "workspace").rglob("*.json"):
            json.loads(path.read_text())  # whole, or absent
        subprocess.run(["mount", "-o", "remount,size=64m", str(tmp_path / "workspace")], check=True)
        done = call(tmp_path, "run", "tiny.py", "--workers", "1")
        assert done.returncode == 0, done.stdout + done.stderr
        losses, rows = results(tmp_path), metrics(tmp_path)
    assert losses == results(finished)
    assert rows == metrics(finished)


@pytest.mark.integration
def test_a_read_only_workspace_is_one_message(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    with mounted(tmp_path / "workspace", "size=1m,ro"):
        failed = call(tmp_path, "run", "tiny.py", "--workers", "1")
        assert failed.returncode == 2
        assert "Read-only file system" in failed.stderr
        assert "Traceback" not in failed.stderr
        assert os.listdir(tmp_path / "workspace") == []
        assert call(tmp_path, "plan", "tiny.py").returncode == 0
        assert call(tmp_path, "status", "tiny.py").returncode == 0


@pytest.mark.slow
def test_a_finished_study_in_a_read_only_workspace_is_read_by_every_command(finished: Path, tmp_path: Path) -> None:
    shutil.copy(finished / "tiny.py", tmp_path)
    with mounted(tmp_path / "workspace", "size=64m"):
        shutil.copytree(finished / "workspace", tmp_path / "workspace", dirs_exist_ok=True)
        for found in (tmp_path / "workspace").glob("stores/*/*/inspect.json"):
            found.unlink()
        subprocess.run(["mount", "-o", "remount,ro", str(tmp_path / "workspace")], check=True)
        done = call(tmp_path, "run", "tiny.py")
        assert done.returncode == 0, done.stderr
        assert "nothing to do" in done.stdout
        for words in (("plan",), ("status",), ("results",), ("logs", "*seed=0"), ("inspect",), ("report",)):
            read = call(tmp_path, words[0], "tiny.py", *words[1:])
            assert read.returncode == 0, (words, read.stderr)
