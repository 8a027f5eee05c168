"""A real search of a few small runs, by the command line: killed, continued, and shared with the workspace."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.core.tiny import write_tiny

SEARCH = """
from pdstudy import *
from pdstudy.search import *
import dataclasses
import tiny

def search(scale="mini"):
    study = tiny.study()
    kd = dataclasses.replace(next(c.run for c in study.cells if c.labels["loss"] == "KD").objective, rest=Tail())
    mixture = Simplex({"LM": LM(), "KL": KLD(), "JSD": JensenShannon()})
    return Search(name="little", base=dataclasses.replace(study.base, objective=kd), validation=study.evaluations[0],
                  space={"objective": mixture, "optimiser.lr": Log(2e-3, 1e-2)}, trials=4,
                  pruner=Halving((10 * 256,), keep=0.5))
"""


@pytest.mark.slow
def test_a_search_is_killed_and_continued_by_the_command_line(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    (tmp_path / "little.py").write_text(SEARCH)
    words = [sys.executable, "-m", "pdstudy.cli", "search", "little.py", "--workers", "1", "--json"]
    environment = {**os.environ, "PDSTUDY_WORKSPACE": str(tmp_path / "ws"), "OMP_NUM_THREADS": "1"}
    first = subprocess.Popen(words, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while len(list(tmp_path.glob("ws/runs/*/result.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)  # the teacher and the first trial's first rung
    first.send_signal(signal.SIGKILL)
    first.wait()
    made = {p: p.stat().st_mtime_ns for p in tmp_path.glob("ws/runs/*/result.json")}
    assert len(made) >= 2
    done = subprocess.run(
        words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr
    trials = json.loads(done.stdout)
    assert sorted(t["trial"] for t in trials) == [0, 1, 2, 3]
    assert {t["state"] for t in trials} <= {"complete", "pruned"}
    assert trials[0]["state"] == "complete"
    for trial in trials:
        if trial["state"] == "complete":
            (key,) = trial["runs"]
            result = json.loads((tmp_path / "ws" / "runs" / key / "result.json").read_text())
            assert trial["values"] == [result["evals"][-1]["loss"]]
    assert {p: p.stat().st_mtime_ns for p in made} == made
    assert len(list(tmp_path.glob("ws/stores/*/*/manifest.json"))) == 1
