"""What a cluster may do to a study: every run ends as the undisturbed one, or says why it did not."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import pytest

from tests.slurm.conftest import STEPS
from tests.slurm.lab import Lab
from tests.slurm.site import Site

pytestmark = pytest.mark.slurm

CHAIN_STEPS = 24_000
"""More than two jobs of one minute take, also on a quiet machine."""

LM0, LM1, KD0, KD1 = "loss=LM,seed=0", "loss=LM,seed=1", "loss=KD,seed=0", "loss=KD,seed=1"


def causes(lab: Lab, cell: str) -> list[str]:
    return [row["cause"] for row in lab.attempts(cell) if row["event"] == "end"]


def starts(lab: Lab, cell: str) -> list[dict[str, Any]]:
    return [row for row in lab.attempts(cell) if row["event"] == "start"]


def same(lab: Lab, undisturbed: Lab, *cells: str) -> None:
    for cell in cells:
        assert lab.outcome(lab.run_key(cell)) == undisturbed.outcome(undisturbed.run_key(cell)), cell


def one_run(lab: Lab, undisturbed: Lab, *settings: str, steps: int = STEPS) -> Lab:
    """The study's first LM run alone, its corpus made already."""
    lab.write(steps=steps, seeds=(0,), losses=("LM",))
    lab.take_from(undisturbed, "corpora")
    lab.settings = ["minutes=10", "student.warning_seconds=30", *settings]
    lab.submit()
    return lab


def take_all_nodes(site: Site, seconds: int = 2) -> str:
    """A job of somebody more important, who needs every processor for a while; its id."""
    return site.ask("sbatch", "--parsable", "-p", "high", "-N", "4", "--exclusive", "-o", "/dev/null",
                    "--wrap", f"sleep {seconds}").strip()  # fmt: skip


def test_a_raise_and_a_kill_stop_nothing_else_and_are_sent_again_as_asked(lab: Lab, undisturbed: Lab) -> None:
    """Teacher, logits, four students, of which one raises and one is killed; then the failed ones alone."""
    site = lab.site
    assert site is not None
    lab.write(steps=STEPS)
    lab.take_from(undisturbed, "corpora")
    lab.settings = ["minutes=10", "student.parallelism=1"]
    lab.submit()
    # A folder that holds another run is an error of the kind that trying again does not mend.
    broken = lab.workspace / "runs" / lab.run_key(KD0)
    broken.mkdir(parents=True)
    (broken / "config.json").write_bytes(
        (undisturbed.workspace / "runs" / undisturbed.run_key(LM0) / "config.json").read_bytes()
    )
    lab.wait_for_step(LM0, 20)
    for process in site.processes(lab.raw_job(LM0)):
        os.kill(process, signal.SIGKILL)
    lab.wait_for_queue()
    rows = lab.status()
    assert {name: row["state"] for name, row in rows.items()} == {
        "corpus": "done", "teacher": "done", "logits": "done", LM0: "failed", LM1: "done", KD0: "failed", KD1: "done",
    }  # fmt: skip
    assert (rows[LM0]["cause"], rows[KD0]["cause"]) == ("killed", "exception")
    assert "holds another run" in rows[KD0]["error"]
    assert "2 of 4 runs are not done" in (lab.folder / "reports" / "grid" / "index.html").read_text()

    again = lab.submit()
    assert [s["elements"] for s in again["sent"]] == [[[f"student/{lab.run_key(LM0)}"]]]
    assert list(again["stay"].values()) == ["exception"]
    (broken / "config.json").unlink()
    (broken / "status.json").unlink()
    retried = lab.submit("--retry", "exception")
    assert [s["elements"] for s in retried["sent"]] == [[[f"student/{lab.run_key(KD0)}"]]]
    lab.wait_for_queue()
    assert set(lab.states().values()) == {"done"}
    assert lab.submit()["sent"] == []
    same(lab, undisturbed, LM0, LM1, KD0, KD1)


def test_what_waits_for_a_failure_is_dropped_and_said_so(lab: Lab, undisturbed: Lab) -> None:
    lab.write(seeds=(0,))
    lab.take_from(undisturbed, "corpora")
    teacher = lab.workspace / "runs" / undisturbed.run_key("teacher")
    teacher.mkdir(parents=True)
    (teacher / "config.json").write_bytes(
        (undisturbed.workspace / "runs" / undisturbed.run_key(LM0) / "config.json").read_bytes()
    )
    lab.submit()
    lab.wait_for_queue()
    rows = lab.status()
    assert {name: row["state"] for name, row in rows.items()} == {
        "corpus": "done", "teacher": "failed", "logits": "dropped", LM0: "done", KD0: "dropped",
    }  # fmt: skip
    assert rows[KD0]["cause"] == "dependency"
    assert (lab.folder / "reports" / "grid" / "index.html").exists()
    again = lab.submit()
    assert again["sent"] == []
    assert set(again["blocked"]) == {f"logits/{k}" for k in [rows["logits"]["key"]]} | {f"student/{rows[KD0]['key']}"}


def test_a_preempted_run_goes_on_from_where_it_was(lab: Lab, site: Site, undisturbed: Lab) -> None:
    one_run(lab, undisturbed)
    lab.wait_for_step(LM0, 20)
    take_all_nodes(site)
    lab.wait_for_queue()
    assert lab.states()[LM0] == "done"
    assert causes(lab, LM0) == ["preempted", "done"]
    assert lab.status()[LM0]["attempts"] == 2
    same(lab, undisturbed, LM0)


def test_a_preemption_by_sigterm_alone_is_saved_too(bare_site: Site, lab: Lab, undisturbed: Lab) -> None:
    """SLURM's default sends no user signal. The second start goes on from the step at which the first was told."""
    lab.site = bare_site
    one_run(lab, undisturbed)
    lab.wait_for_step(LM0, 20)
    take_all_nodes(bare_site)
    lab.wait_for_queue()
    assert causes(lab, LM0) == ["preempted", "done"]
    assert starts(lab, LM0)[1].get("lost_seconds", 0) == 0
    same(lab, undisturbed, LM0)


def test_a_preemption_without_notice_is_no_cancellation(lab: Lab, site: Site, undisturbed: Lab) -> None:
    """A partition without grace: the job is in the queue again before its process hears anything."""
    one_run(lab, undisturbed, "student.partition=scavenge")
    lab.wait_for_step(LM0, 20)
    take_all_nodes(site)
    lab.wait_for_queue()
    assert causes(lab, LM0) == ["preempted", "done"]
    assert len(starts(lab, LM0)) == 2
    same(lab, undisturbed, LM0)


def test_a_job_of_a_minute_works_until_its_warning_is_due(lab: Lab, undisturbed: Lab) -> None:
    """SLURM warns up to a minute early: such a job would save and start again without a step in between."""
    one_run(lab, undisturbed, "student.minutes=1", "student.warning_seconds=20", steps=CHAIN_STEPS)
    lab.wait(lambda: "time" in causes(lab, LM0), 120, "a warning")
    begun, ended = (row["time"] for row in lab.attempts(LM0)[:2])
    assert 30 < ended - begun < 58
    assert "cancelled" in lab.call("cancel", "grid.py").stdout


def test_without_accounting_a_kill_is_a_failure_and_status_answers(bare_site: Site, lab: Lab, undisturbed: Lab) -> None:
    lab.site = bare_site
    one_run(lab, undisturbed)
    lab.wait_for_step(LM0, 20)
    for process in bare_site.processes(lab.raw_job(LM0)):
        os.kill(process, signal.SIGKILL)
    lab.wait_for_queue()
    begun = time.monotonic()
    row = lab.status()[LM0]
    assert time.monotonic() - begun < 20
    assert (row["state"], row["cause"]) == ("failed", "killed")
    assert len(lab.submit()["sent"]) == 1
    lab.wait_for_queue()
    same(lab, undisturbed, LM0)


def test_cancelled_jobs_take_their_dependents_along_and_stay_away(lab: Lab, site: Site, undisturbed: Lab) -> None:
    """scancel by hand, of the teacher: what depends on it is dropped; nothing is requeued."""
    lab.write(seeds=(0,), losses=("KD",), steps=STEPS)
    lab.take_from(undisturbed, "corpora")
    lab.settings = ["minutes=10"]
    sent = lab.submit()["sent"]
    lab.wait(lambda: lab.attempts("teacher"), 60, "the teacher to start")
    site.ask("scancel", sent[0]["job"])
    lab.wait_for_queue()
    rows = lab.status()
    assert {n: rows[n].get("cause") for n in ("teacher", "logits", KD0)} == {
        "teacher": "cancelled", "logits": "dependency", KD0: "dependency",
    }  # fmt: skip
    assert len(starts(lab, "teacher")) == 1
    again = lab.submit()
    assert [s["stage"] for s in again["sent"]] == ["teacher", "logits", "student"]
    lab.wait(lambda: len(starts(lab, "teacher")) == 2, 60, "the teacher to start again")
    assert "cancelled the jobs of" in lab.call("cancel", "grid.py").stdout
    lab.wait_for_queue(30)
    assert {lab.states()[n] for n in ("teacher", "logits", KD0)} == {"cancelled"}


def test_a_node_that_is_lost_gives_its_run_to_another(lab: Lab, site: Site, undisturbed: Lab) -> None:
    """The operator takes the node down: SLURM requeues at once, while the old process may still be there."""
    one_run(lab, undisturbed)
    lab.wait_for_checkpoint(LM0)
    node = starts(lab, LM0)[0]["node"]
    site.down(node)
    try:
        lab.wait_for_queue()
    finally:
        site.resume(node)
    assert lab.states()[LM0] == "done"
    assert len(starts(lab, LM0)) == 2
    same(lab, undisturbed, LM0)


def test_a_process_that_outlives_its_node_publishes_nothing(lab: Lab, site: Site, undisturbed: Lab) -> None:
    """Only the node's daemon dies, so the run there goes on while SLURM starts it elsewhere."""
    one_run(lab, undisturbed, steps=STEPS * 4)
    lab.wait_for_checkpoint(LM0)
    node = starts(lab, LM0)[0]["node"]
    old = site.processes(lab.raw_job(LM0))
    assert old
    site.kill_daemon(node)
    try:
        for process in old:
            os.kill(process, signal.SIGSTOP)  # the machine hangs
        lab.wait(lambda: len(starts(lab, LM0)) == 2, 120, "a second start")
        lab.wait_for_step(LM0, 40)
        for process in old:
            os.kill(process, signal.SIGCONT)  # and comes back
        lab.wait(lambda: not any(_alive(p) for p in old), 60, "the old process to end")
        assert [row["event"] for row in lab.attempts(LM0)].count("fenced") == 1
    finally:
        site.start_node(node)
    lab.wait_for_queue()
    assert lab.states()[LM0] == "done"
    reference = Lab(lab.folder.parent / "reference", lab.texts, None).write(steps=STEPS * 4, seeds=(0,), losses=("LM",))
    reference.take_from(undisturbed, "corpora")
    reference.call("run", "grid.py", "--workers", "1")
    same(lab, reference, LM0)  # and so no row twice


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_killed_node_is_noticed_and_its_run_goes_on(lab: Lab, site: Site, undisturbed: Lab) -> None:
    one_run(lab, undisturbed)
    lab.wait_for_checkpoint(LM0)
    node = starts(lab, LM0)[0]["node"]
    site.kill_node(node)
    try:
        lab.wait_for_queue()
    finally:
        site.start_node(node)
    assert len(starts(lab, LM0)) == 2
    same(lab, undisturbed, LM0)


def test_out_of_memory_is_told_and_tried_again_with_more(lab: Lab, undisturbed: Lab) -> None:
    one_run(lab, undisturbed, "student.memory_gb=0.3")
    lab.wait_for_queue()
    row = lab.status()[LM0]
    assert (row["state"], row["cause"]) == ("failed", "oom"), row
    assert lab.submit()["stay"] == {f"student/{row['key']}": "oom"}
    again = lab.submit("--retry", "oom")
    assert [s["memory_gb"] for s in again["sent"]] == [0.6]
    lab.wait_for_queue()
    assert causes(lab, LM0) == ["done"]
    same(lab, undisturbed, LM0)


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_a_run_longer_than_its_jobs_goes_on_in_a_chain(lab: Lab, site: Site, undisturbed: Lab) -> None:
    """Jobs of one minute, told half a minute before: three and more of them make one run, as one job."""
    one_run(lab, undisturbed, "student.minutes=1", "student.warning_seconds=40", steps=CHAIN_STEPS)
    lab.wait_for_queue(1100)
    ends = causes(lab, LM0)
    assert ends[-1] == "done"
    assert ends.count("time") >= 2
    assert len({row["job"] for row in starts(lab, LM0)}) == 1
    reference = Lab(lab.folder.parent / "reference", lab.texts, None)
    reference.write(steps=CHAIN_STEPS, seeds=(0,), losses=("LM",))
    reference.take_from(undisturbed, "corpora")
    reference.call("run", "grid.py", "--workers", "1", timeout=1100)
    assert lab.outcomes() == reference.outcomes()


@pytest.mark.slow
def test_the_budget_of_time_limits_ends_a_chain(lab: Lab, undisturbed: Lab) -> None:
    one_run(lab, undisturbed, "minutes=1", "warning_seconds=40", "student.time_limits=0", steps=100_000)
    lab.wait_for_queue(300)
    assert causes(lab, LM0) == ["time"]
    row = lab.status()[LM0]
    assert (row["state"], row["cause"]) == ("failed", "time")
    assert lab.submit()["stay"]
