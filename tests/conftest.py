"""What holds for every test: one that is not marked `integration` starts no process. And the finished tiny study."""

from __future__ import annotations

import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.core.cli import call
from tests.core.tiny import write_tiny

STARTS = frozenset({"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system"})
"""Events of Python's audit hooks (PEP 578) that start a process."""

SLOWER = ("integration", "slow", "slurm", "gpu")
"""Markers of tests that may start processes."""

_quick: list[str] = []
"""The test that runs now, where it may start no process. A list: audit hooks cannot be removed, and read it."""


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if event in STARTS and _quick:
        raise RuntimeError(f"{_quick[0]} starts a process ({event}, {arguments[:2]}): mark it `integration`")


sys.addaudithook(_watch)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Processes started by a quick test, or by a fixture that it is the first to use, are errors."""
    if "not integration" in item.config.option.markexpr and not any(map(item.get_closest_marker, SLOWER)):
        _quick.append(item.nodeid)
    try:
        with pytest.MonkeyPatch.context() as patch:
            if item.get_closest_marker("gpu") is None:
                _hide_gpus(patch)
            return (yield)
    finally:
        _quick.clear()


def _hide_gpus(patch: pytest.MonkeyPatch) -> None:
    """Tests see the GPUs of their machine where they are marked so; all others find none, on any machine.

    Before the fixtures of a session are made, which outlive their first test. The variable is for processes that a test
    starts; this one has looked at it already where CUDA was asked for anything.
    """
    patch.setenv("CUDA_VISIBLE_DEVICES", "")
    if (torch := sys.modules.get("torch")) is not None:
        patch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the tiny study has been run once."""
    folder = tmp_path_factory.mktemp("tiny")
    write_tiny(folder)
    done = call(folder, "run", "tiny.py", "--workers", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder
