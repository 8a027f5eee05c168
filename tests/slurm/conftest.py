"""The clusters of the suite, each started once by the first test that wants it and stopped at the end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.lab import Lab, write_texts
from tests.slurm.site import Site, lacking


def _site(folder: Path, number: int, **options: bool) -> Iterator[Site]:
    reason = lacking()
    if reason is not None:
        pytest.skip(reason)
    site = Site(folder / "cluster", 20_000 + os.getpid() % 200 * 200 + number * 60, **options)
    try:
        site.start()
        yield site
    finally:
        site.stop()


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Four nodes, accounting, and the user's signal on preemption."""
    yield from _site(tmp_path_factory.mktemp("site"), 0)


@pytest.fixture(scope="session")
def bare_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """No accounting, and SLURM's default on preemption: SIGTERM and nothing else."""
    yield from _site(tmp_path_factory.mktemp("bare"), 1, accounting=False, user_signal=False)


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_texts(tmp_path_factory.mktemp("text"))


@pytest.fixture
def lab(site: Site, texts: Path, tmp_path: Path) -> Lab:
    return Lab(tmp_path / "user", texts, site)


@pytest.fixture(scope="session")
def undisturbed(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """The study that the tests disturb, made by `pdstudy run` without any cluster: what every outcome must equal."""
    lab = Lab(tmp_path_factory.mktemp("undisturbed"), texts, None).write(steps=STEPS)
    lab.call("run", "grid.py", "--workers", "1", timeout=600)
    return lab


STEPS = 300
"""Steps of the disturbed runs: long enough to be interrupted, some seconds each."""
