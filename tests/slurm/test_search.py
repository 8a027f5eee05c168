"""A search on a real SLURM: its driver killed and interrupted, several trials at a time, nothing made twice."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.slurm.lab import Lab
from tests.slurm.site import Site

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1500)]

SEARCH = """
import dataclasses

from grid import STEP, study

from pdstudy import *
from pdstudy.search import *

def search(scale="mini"):
    grid = study()
    kd = dataclasses.replace(grid.cells[-1].run.objective, rest=Tail())
    wsd = WSD(warmup_tokens=2 * STEP, decay_tokens=4 * STEP)
    return Search(name="little", base=dataclasses.replace(grid.base, objective=kd, schedule=wsd, steps=20),
                  space={{"objective": Simplex({{"LM": LM(), "KL": KLD()}}), "optimiser.lr": Log(2e-3, 1e-2)}},
                  validation=grid.evaluations[0], trials={trials}, pruner=Halving((12 * STEP,), keep=0.4),
                  final=Final(controls={{"LM": {{"objective": LM()}}}}, evaluations=grid.evaluations[1:], best=1,
                              seeds=(8, 9)))
"""


class Searcher(Lab):
    """A user who searches."""

    def declare(self, trials: int) -> Searcher:
        self.write()
        (self.folder / "little.py").write_text(SEARCH.format(trials=trials))
        return self

    def drive(self, *words: str) -> subprocess.Popen[str]:
        return self.start("search", "little.py", "--slurm", "--json", *words)

    @property
    def results(self) -> set[str]:
        return {p.parent.name for p in self.workspace.glob("runs/*/result.json")}

    def sendings(self) -> Counter[str]:
        """How often each run was sent."""
        return Counter(job for row in self._ledger("intent") for element in row["elements"] for job in element)

    @property
    def arrays(self) -> int:
        """How many arrays SLURM has taken."""
        return len(self._ledger("sent"))

    def _ledger(self, event: str) -> list[dict[str, Any]]:
        text = (self.workspace / "slurm" / "ledger.jsonl").read_text()
        return [row for row in map(json.loads, text.splitlines()) if row["event"] == event]

    def trials(self) -> list[dict[str, Any]]:
        return list(json.loads(self.call("status", "little.py", "--json").stdout))


@pytest.fixture
def user(site: Site, texts: Path, tmp_path: Path) -> Iterator[Searcher]:
    yield Searcher(tmp_path / "user", texts, site)
    site.ask("scancel", "-u", "root")


@contextlib.contextmanager
def held(site: Site) -> Iterator[None]:
    """Nothing starts."""
    site.ask("scontrol", "update", "partitionname=low", "state=down")
    try:
        yield
    finally:
        site.ask("scontrol", "update", "partitionname=low", "state=up")


def test_a_search_whose_driver_is_killed_and_interrupted_makes_every_run_once(user: Searcher, site: Site) -> None:
    user.declare(8)
    first = user.drive("--workers", "4")
    user.wait(lambda: len(user.results) >= 2, 600, "the teacher and a run")
    first.send_signal(signal.SIGKILL)
    first.communicate()
    known = user.arrays
    with held(site):  # so that the second cannot be at its end when it is interrupted
        second = user.drive("--workers", "4")
        user.wait(lambda: user.arrays > known, 600, "a run that the second driver sent")
        second.send_signal(signal.SIGINT)
        words = second.communicate(timeout=200)[0]
    assert second.returncode == 130
    assert "what is queued or running of them goes on" in words
    assert "pdstudy cancel little.py" in words
    done = user.call("search", "little.py", "--slurm", "--workers", "4", "--json", timeout=900)
    trials = json.loads(done.stdout)
    assert sorted(t["trial"] for t in trials) == list(range(8))
    states = Counter(t["state"] for t in trials)
    assert set(states) == {"complete", "pruned"}
    for trial in trials:
        if trial["state"] == "complete":
            (key,) = trial["runs"]
            result = json.loads((user.workspace / "runs" / key / "result.json").read_text())
            assert trial["values"] == [result["evals"][-1]["loss"]]
    # 8 first rungs, and the whole length of those that were good enough; one teacher for all.
    assert len(user.results) == 1 + 8 + states["complete"]
    assert set(user.sendings().values()) == {1}
    starts = [p.read_text().count('"event":"start"') for p in user.workspace.glob("slurm/attempts/student~*")]
    assert starts == [1] * (8 + states["complete"])
    assert len(list(user.workspace.glob("stores/*/*/manifest.json"))) == 1
    assert {row["state"] for row in user.trials()} == {"done"}
    assert not (user.workspace / "studies" / "little.json").exists()

    with held(site):
        sent = json.loads(user.call("search", "little.py", "--final", "--slurm", "--json").stdout)
        # The control waits for nothing; what compares itself with the teacher, for the teacher's own score on test.
        assert [(s["stage"], len(s["elements"])) for s in sent["sent"]] == [
            ("evaluate", 1),
            ("student", 2),
            ("student", 2),
        ]
        assert sent["report"] is not None
        assert Counter(row["state"] for row in user.trials())["queued"] == 5
        assert "cancelled the jobs of 5 artifacts" in user.call("cancel", "little.py").stdout
        # The report shows what is there, whatever becomes of the runs.
        assert site.ask("squeue", "-h", "-o", "%j").split() == ["little-final-report"]


def test_a_cancelled_search_stops_its_driver_and_goes_on_when_it_is_asked_again(user: Searcher, site: Site) -> None:
    user.declare(2)
    with held(site):
        driver = user.drive()
        user.wait(lambda: len(site.ask("squeue", "-h", "-r").splitlines()) == 5, 200, "five held jobs")
        assert [row["state"] for row in user.trials()].count("queued") == 5
        assert "cancelled the jobs of 5 artifacts" in user.call("cancel", "little.py").stdout
        assert "its jobs were cancelled" in driver.communicate(timeout=200)[0]
        assert driver.returncode == 130
        assert not site.ask("squeue", "-h").strip()
        again = user.drive("--set", "student.partition=nowhere")
        assert "SLURM refuses student trial=0" in again.communicate(timeout=200)[0]
        assert again.returncode == 2
