"""Ten short runs in a storm (thirty and more: `make test-long`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.slurm.lab import Lab
from tests.slurm.site import Site
from tests.slurm.storm import storm

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.timeout(2400)]
RUNS, STEPS = 10, 200


def test_ten_runs_in_a_storm_end_as_without(site: Site, texts: Path, tmp_path: Path) -> None:
    reference = Lab(tmp_path / "reference", texts, None).write(steps=STEPS, seeds=tuple(range(RUNS)), losses=("LM",))
    reference.call("run", "grid.py", "--workers", "2", timeout=1200)
    counts = storm(site, tmp_path / "storm", texts, reference, seed=7, cells=RUNS, steps=STEPS)
    assert counts["starts"] > RUNS
