"""The whole quickstart on a real SLURM, by `submit`, held against the same study by `run`: bit for bit.

    python -m tests.slurm.whole [--against WORKSPACE]        (part of `make test-long`)

`WORKSPACE` is one in which `pdstudy run studies/quickstart.py` has been here; without one it is run first. Jobs of two
students at a time, since all nodes are this machine.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from tests.slurm.lab import Lab
from tests.slurm.site import Site

STUDY = """
import sys

sys.path.insert(0, {studies!r})
from quickstart import study
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, help="a workspace that has the quickstart, made by `run`")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="pdstudy-whole-"))
    site = Site(folder / "cluster", 20_000 + os.getpid() % 200 * 200)
    submitted, run = Lab(folder / "submitted", folder, site), Lab(folder / "run", folder, None)
    for lab in (submitted, run):
        lab.folder.mkdir()
        (lab.folder / "grid.py").write_text(STUDY.format(studies=str(Path(__file__).parents[2] / "studies")))
    if args.against is None:
        run.call("run", "grid.py", "--workers", "2", timeout=3600)
    else:
        run.workspace.symlink_to(args.against.resolve())
    begun = time.perf_counter()
    try:
        site.start()
        submitted.submit("--set", "student.parallelism=2")
        submitted.wait_for_queue(3600)
        seconds = time.perf_counter() - begun
        assert set(submitted.states().values()) == {"done"}, submitted.job_logs()
        found, expected = submitted.outcomes(), run.outcomes()
        assert found == {key: expected[key] for key in found}
        assert (submitted.folder / "reports" / "quickstart" / "index.html").exists()
    finally:
        site.stop()
    print(
        f"{len(found)} runs by submit in {seconds:.0f} s: states, metrics, evaluations and weights are those of `run`"
    )


if __name__ == "__main__":
    main()
