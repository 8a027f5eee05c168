"""Studies on a real SLURM, undisturbed: what comes out, what is sent twice (nothing), limits, sizes, packing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.slurm.conftest import STEPS
from tests.slurm.lab import Lab, timed
from tests.slurm.site import Site
from tests.slurm.test_trouble import LM0, one_run

pytestmark = pytest.mark.slurm


def test_a_submitted_study_is_the_run_study_bit_for_bit(lab: Lab, undisturbed: Lab) -> None:
    """From corpus to report, students packed in pairs, logits in slices."""
    lab.write(steps=STEPS)
    lab.settings = ["student.pack=2", "logits.slices=2", "minutes=10"]
    sent = lab.submit()
    assert [s["stage"] for s in sent["sent"]] == ["corpus", "teacher", "logits", "student", "student"]
    assert [len(s["elements"]) for s in sent["sent"]][3:] == [1, 1]
    again = lab.submit()
    assert again["sent"] == []
    assert again["report"] is None
    assert len(again["live"]) == 7
    lab.wait_for_queue()
    assert set(lab.states().values()) == {"done"}
    assert lab.outcomes() == undisturbed.outcomes()
    assert "4 runs" in (lab.folder / "reports" / "grid" / "index.html").read_text()
    final = lab.submit()
    assert (final["sent"], final["live"], final["report"]) == ([], {}, None)


def hold(site: Site) -> None:
    site.ask("scontrol", "update", "partitionname=low", "state=down")


@pytest.fixture
def held(site: Site):  # type: ignore[no-untyped-def]
    """Nothing starts."""
    hold(site)
    yield site
    site.ask("scancel", "-u", "root")
    site.limit_submitted(-1)
    site.ask("scontrol", "update", "partitionname=low", "state=up")


def many(lab: Lab, undisturbed: Lab, cells: int) -> Lab:
    rates = f"[{', '.join(f'{1e-3 + i * 1e-6:.6f}' for i in range(cells))}]"
    lab.write(seeds=(0,), losses=("LM",), more=f' * axis("lr", {rates}, field="optimiser.lr")')
    lab.take_from(undisturbed, "corpora")
    return lab


def test_a_thousand_cells_are_sent_and_seen_at_once(lab: Lab, held: Site, undisturbed: Lab) -> None:
    many(lab, undisturbed, 1_000)
    seconds, sent = timed(lab.submit)
    assert [len(s["elements"]) for s in sent["sent"]] == [1_000]
    assert seconds < 2
    looks = [timed(lab.states) for _ in range(3)]
    assert all(list(states.values()).count("queued") == 1_000 for _, states in looks)
    assert min(seconds for seconds, _ in looks) < 1  # others on the machine only add to it
    cancelled = lab.call("cancel", "grid.py").stdout
    assert "cancelled the jobs of 1001 artifacts" in cancelled or "of 1000 artifacts" in cancelled
    assert not held.ask("squeue", "-h").strip()


def test_arrays_longer_than_the_site_allows_are_cut(lab: Lab, held: Site, undisturbed: Lab) -> None:
    many(lab, undisturbed, 2_500)
    sent = lab.submit()
    assert [len(s["elements"]) for s in sent["sent"]] == [833, 833, 834]
    assert len(held.ask("squeue", "-h", "-r").splitlines()) == 2_501


def test_what_the_submit_limit_refuses_is_sent_later(lab: Lab, held: Site, undisturbed: Lab) -> None:
    many(lab, undisturbed, 50)
    held.limit_submitted(20)
    sent = lab.submit()
    assert sum(len(s["elements"]) for s in sent["sent"]) == 20
    assert len(sent["kept"]) == 30
    assert "QOSMaxSubmitJobPerUserLimit" in sent["reason"]
    assert sorted(lab.states().values()).count("kept back") == 30
    # No pickles are left of what was refused.
    arrays = list((lab.workspace / "slurm" / "arrays").iterdir())
    assert len(arrays) == len(sent["sent"])
    assert lab.submit()["sent"] == []
    held.limit_submitted(45)
    topped = lab.submit()
    assert sum(len(s["elements"]) for s in topped["sent"]) == 25
    held.limit_submitted(-1)
    watch = lab.start("status", "grid.py", "--watch")
    try:
        lab.wait(lambda: len(held.ask("squeue", "-h", "-r").splitlines()) == 51, 60, "the watch to send the rest")
    finally:
        watch.terminate()
        watch.communicate()
    assert "kept back" not in lab.states().values()


def test_a_submit_that_dies_around_sbatch_sends_nothing_twice(lab: Lab, held: Site, undisturbed: Lab) -> None:
    many(lab, undisturbed, 3)
    first = lab.submit()
    ledger = lab.workspace / "slurm" / "ledger.jsonl"
    lines = ledger.read_text().splitlines(keepends=True)
    job = first["sent"][0]["job"]
    # As if the process had died between sbatch's answer and the row that notes it, before the pickles got their names.
    ledger.write_text("".join(line for line in lines if f'"job":"{job}"' not in line))
    for pickle in (lab.workspace / "slurm" / "arrays").glob(f"*/{job}_*_submitted.pkl"):
        pickle.unlink()
    again = lab.submit()
    assert again["sent"] == []
    assert len(again["live"]) == 3
    assert len(list((lab.workspace / "slurm" / "arrays").glob(f"*/{job}_*_submitted.pkl"))) == 3


def test_an_impossible_request_is_refused_in_slurms_words(lab: Lab, site: Site, undisturbed: Lab) -> None:
    many(lab, undisturbed, 2)
    lab.settings = ["student.partition=nowhere"]
    told = lab.call("submit", "grid.py", "--set", "student.partition=nowhere", check=False)
    assert told.returncode == 1
    assert "invalid partition specified: nowhere" in told.stdout
    assert not list((lab.workspace / "slurm" / "arrays").iterdir())


def test_the_dry_run_sends_nothing_and_tells_all(lab: Lab, site: Site) -> None:
    lab.write()
    text = lab.call("submit", "grid.py", "--dry-run", "--set", "student.gpus=2").stdout
    assert "longest chain" in text
    assert text.count("#!/bin/bash") == 6
    assert "#SBATCH --gpus-per-node=2" in text
    assert re.search(r"#SBATCH --dependency=afterany:JOB1:JOB2:JOB3:JOB4:JOB5", text)
    assert not lab.workspace.exists()
    assert not site.ask("squeue", "-h").strip()


def test_gc_lists_first_and_deletes_no_result(lab: Lab, site: Site, undisturbed: Lab) -> None:
    lab.write(steps=20, seeds=(0,), losses=("LM",))
    lab.take_from(undisturbed, "corpora")
    lab.submit()
    assert "nothing to clean up" in lab.call("gc").stdout
    lab.wait_for_queue()
    before = {p for p in Path(lab.workspace).rglob("*") if p.is_file()}
    assert "--delete deletes them" in lab.call("gc").stdout
    assert before == {p for p in lab.workspace.rglob("*") if p.is_file()}
    lab.call("gc", "--delete")
    gone = before - {p for p in lab.workspace.rglob("*") if p.is_file()}
    assert gone
    assert all(p.is_relative_to(lab.workspace / "slurm") for p in gone)
    assert lab.states()["loss=LM,seed=0"] == "done"
    assert lab.submit()["sent"] == []


def test_a_setup_line_that_exits_is_named(lab: Lab, undisturbed: Lab) -> None:
    one_run(lab, undisturbed, 'student.setup=["export A=1", "test -d /nowhere || exit 3"]')
    lab.wait_for_queue()
    row = lab.status()[LM0]
    assert (row["state"], row["cause"]) == ("failed", "exception")
    assert "a setup line ended the job with exit code 3 in line: test -d /nowhere || exit 3" in row["error"]
