"""The quickstart (its smallest students and one seed), by `run` and by `submit`, from corpus to report."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.slurm.lab import Lab
from tests.slurm.site import Site

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.timeout(3600)]

PART = """
import dataclasses
import sys

sys.path.insert(0, {studies!r})
from quickstart import study as quickstart

def study(scale="offline"):
    whole = quickstart("offline")
    grid = whole.grid.where(lambda arm: arm["student"] == "w32")
    return dataclasses.replace(whole, name="grid", grid=grid, seeds=(0,))
"""


def test_the_quickstart_submitted_is_the_quickstart_run(site: Site, texts: Path, tmp_path: Path) -> None:
    text = PART.format(studies=str(Path(__file__).parents[2] / "studies"))
    submitted, run = Lab(tmp_path / "submitted", texts, site), Lab(tmp_path / "run", texts, None)
    for lab in (submitted, run):
        lab.folder.mkdir()
        (lab.folder / "grid.py").write_text(text)
    submitted.submit()
    submitted.wait_for_queue(1700)
    run.call("run", "grid.py", "--workers", "2", timeout=1700)
    run.call("report", "grid.py")
    assert set(submitted.states().values()) == {"done"}
    assert len(submitted.outcomes()) == 3
    assert submitted.outcomes() == run.outcomes()
    pages = [lab.folder / "reports" / "grid" for lab in (submitted, run)]
    assert {p.name for p in pages[0].rglob("*")} == {p.name for p in pages[1].rglob("*")}
