"""The clusters of the suite, each started once by the first test that wants it and stopped at the end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pdstudy.core import slurm_command
from pdstudy.slurm import scheduler as queue
from pdstudy.slurm.sbatch import Cluster
from pdstudy.workspace.layout import Workspace
from tests.slurm.lab import Lab, write_texts
from tests.slurm.site import Site, free_ports, lacking
from tests.slurm.small_slurm import Slurm


def _site(folder: Path, number: int, **options: bool) -> Iterator[Site]:
    reason = lacking()
    if reason is not None:
        pytest.skip(reason)
    site = Site(folder / "cluster", free_ports(20_000 + os.getpid() % 100 * 120 + number * 60), **options)
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


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> Slurm:
    made = Slurm()
    monkeypatch.setattr(slurm_command, "ask", made.ask)
    monkeypatch.setattr(queue, "require_slurm", lambda: None)
    monkeypatch.setattr(queue, "available", lambda: True)
    monkeypatch.setattr(Cluster, "send", lambda cluster, *words: made.send(cluster, *words))
    return made


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("a text\n" * 20_000)
    Lab(tmp_path, tmp_path / "texts", None).write()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    return Workspace(tmp_path / "workspace")
