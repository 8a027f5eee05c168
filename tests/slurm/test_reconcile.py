"""The reconciler without a cluster: a simulation of all that can go wrong, and cases that it should name."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pdstudy.config.placement import resolve
from pdstudy.core import slurm_command
from pdstudy.core.errors import ConfigError
from pdstudy.slurm import scheduler as queue
from pdstudy.slurm.arrays import format_dependency
from pdstudy.slurm.job import Job
from pdstudy.slurm.ledger import Ledger
from pdstudy.slurm.outcomes import JobHistory, gather_histories
from pdstudy.slurm.reconcile import Decision, decide
from pdstudy.slurm.scheduler import Queue, QueuedJob
from tests.slurm.simulation import simulate

PLAIN = resolve((), "student", 0)
UNCONFIRMED = "srun: error: Unable to confirm allocation for job 61: Zero Bytes were transmitted or received"
"""What srun wrote on the real cluster where the controller was started anew at that moment."""


def simulate_all(seeds: Iterable[int]) -> None:
    for seed in seeds:
        simulate(seed, 40)


@pytest.mark.integration
@pytest.mark.parametrize("first", range(0, 100, 20))
def test_a_hundred_small_studies_all_end(first: int) -> None:
    simulate_all(range(first, first + 20))


def test_the_simulation_notices_a_unit_that_is_sent_without_its_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(kind: str, elements: Iterable[str], sizes: Mapping[str, int]) -> str:
        return "" if kind == "afterany" else format_dependency(kind, elements, sizes)

    monkeypatch.setattr("pdstudy.slurm.submit.format_dependency", forgetful)
    with pytest.raises(AssertionError, match="does not wait for the end of"):
        simulate_all(range(10))


def test_the_simulation_notices_a_unit_that_is_sent_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    def hasty(jobs: Sequence[Job], *more: Any) -> Decision:
        found = decide(jobs, *more)
        return replace(found, groups=found.groups[::-1])

    monkeypatch.setattr("pdstudy.slurm.submit.decide", hasty)
    with pytest.raises(AssertionError, match=r"whose end they wait for|not done after 400"):
        simulate_all(range(10))


def test_branches_of_several_families_are_sent_behind_their_trunks() -> None:
    """Those whose trunk lives make one array with those whose trunk is sent with them: it must come second."""
    made = [
        Job("live", "student", PLAIN),
        Job("after live", "student", PLAIN, after=("live",)),
        Job("trunk", "student", PLAIN),
        Job("after trunk", "student", PLAIN, after=("trunk",)),
    ]
    decision = decide(made, {"live": JobHistory(element="7")})
    assert [[job.key for job in g.jobs] for g in decision.groups] == [["trunk"], ["after live", "after trunk"]]
    assert decision.groups[1].after == {"live", "trunk"}


@pytest.mark.slow
def test_studies_of_ten_thousand_runs_all_end() -> None:
    """Twenty of them; `make test-long` has a hundred."""
    seeds = range(20)
    with ProcessPoolExecutor(os.cpu_count()) as processes:
        ends = {seed: processes.submit(simulate, seed, 10_000) for seed in seeds}
    failed = {seed: end.exception() for seed, end in ends.items() if end.exception() is not None}
    assert not failed


def make_jobs(*needs: tuple[str, ...]) -> list[Job]:
    """u0, u1, ... with these needs."""
    return [Job(f"u{i}", "student", PLAIN, n) for i, n in enumerate(needs)]


def test_students_wait_for_their_own_inputs_only() -> None:
    made = [
        Job("teacher/a", "teacher", PLAIN),
        Job("teacher/b", "teacher", PLAIN, done=True),
        Job("logits/a", "logits", PLAIN, ("teacher/a",)),
        Job("logits/b", "logits", PLAIN, ("teacher/b",)),
        Job("student/lm", "student", PLAIN),
        Job("student/a", "student", PLAIN, ("teacher/a", "logits/a")),
        Job("student/b", "student", PLAIN, ("teacher/b", "logits/b")),
    ]
    waits = {g.jobs[0].key: g.waits for g in decide(made, {}).groups}
    # A finished teacher is not waited for; the teacher behind the logits need not be named.
    assert waits == {
        "teacher/a": frozenset(),
        "logits/a": {"teacher/a"},
        "logits/b": frozenset(),
        "student/lm": frozenset(),
        "student/a": {"logits/a"},
        "student/b": {"logits/b"},
    }


@pytest.mark.parametrize(
    ("cause", "count", "sent"),
    [
        ("exception", 1, False), ("oom", 1, False), ("killed", 5, True), ("killed", 6, False), ("preempted", 99, True),
        ("node", 99, True), ("time", 20, True), ("time", 21, False), ("cancelled", 3, True), ("dependency", 3, True),
    ],
)  # fmt: skip
def test_budgets_by_cause(cause: str, count: int, sent: bool) -> None:
    histories = {"u0": JobHistory(cause=cause, causes={cause: count})}
    decision = decide(make_jobs((), ("u0",), ()), histories)
    assert [job.key for g in decision.groups for job in g.jobs] == (["u0", "u2", "u1"] if sent else ["u2"])
    assert decision.blocked == ({} if sent else {"u1": "u0"})


def ledger_with(*rows: dict[str, object]) -> Ledger:
    ledger = Ledger()
    for row in rows:
        ledger.append(str(row.pop("event")), **row)
    return ledger


def sent(key: str, slurm_id: str) -> list[dict[str, object]]:
    return [
        {
            "event": "intent",
            "array": slurm_id,
            "study": "s",
            "stage": "student",
            "elements": [[key]],
            "execution": None,
        },
        {"event": "sent", "array": slurm_id, "job": slurm_id},
    ]


@pytest.mark.parametrize(
    ("state", "started", "log", "cause"),
    [
        ("FAILED", True, "", "killed"),
        ("FAILED", True, "slurmstepd: error: Step 1.0 exceeded memory limit (2 > 1)", "oom"),
        ("FAILED", False, "bash: line 9: module: command not found", "exception"),
        ("FAILED", False, "RuntimeError: Waited for 60 seconds but could not find submitted jobs in path", "lost"),
        ("FAILED", False, f"{UNCONFIRMED}\nsrun: error: Check SLURM_JOB_ID environment variable.", "lost"),
        ("FAILED", False, "srun: error: n1: task 0: Exited with exit code 1", "exception"),
        ("FAILED", False, f"bash: line 9: module: command not found\n{UNCONFIRMED}", "exception"),
        ("OUT_OF_MEMORY", True, "", "oom"),
        ("TIMEOUT", True, "", "time"),
        ("NODE_FAIL", True, "", "node"),
        ("PREEMPTED", True, "", "preempted"),
        ("CANCELLED", True, "", "cancelled"),
        ("CANCELLED", False, "", "cancelled"),
        ("COMPLETED", True, "", "lost"),
        (None, True, "", "lost"),
    ],
)
def test_what_an_end_without_a_word_means(state: str | None, started: bool, log: str, cause: str) -> None:
    queue = Queue({"7": QueuedJob(state)} if state else {})
    rows = [{"event": "start", "job": "7", "token": "7.0", "time": 2e9}] if started else []
    histories = gather_histories(["u"], ledger_with(*sent("u", "7")), queue, lambda key: rows, stderr=lambda s: log)
    assert histories["u"].cause == cause
    assert not histories["u"].live


def test_a_dependent_that_slurm_dropped_is_said_to_be_so() -> None:
    queue = Queue({"7": QueuedJob("CANCELLED", "DependencyNeverSatisfied")})
    assert gather_histories(["u"], ledger_with(*sent("u", "7")), queue, lambda key: [])["u"].cause == "dependency"
    waiting = Queue({"7": QueuedJob("PENDING", "DependencyNeverSatisfied")})
    assert not gather_histories(["u"], ledger_with(*sent("u", "7")), waiting, lambda key: [])["u"].live


def test_an_older_job_that_lives_is_seen_and_a_refused_one_never_was() -> None:
    ledger = ledger_with(
        *sent("u", "7"), *sent("u", "8"), *sent("v", "9")[:1], {"event": "refused", "array": "9", "reason": ""}
    )
    histories = gather_histories(
        ["u", "v"], ledger, Queue({"7": QueuedJob("REQUEUED"), "8": QueuedJob("NODE_FAIL")}), lambda key: []
    )
    assert histories["u"].element == "7"
    assert "v" not in histories


def test_when_the_scheduler_is_silent_nothing_counts_as_gone() -> None:
    histories = gather_histories(["u"], ledger_with(*sent("u", "7")), Queue(known=False), lambda key: [])
    assert histories["u"].live


def test_accounting_is_asked_once_and_only_for_what_left_the_queue() -> None:
    asked: list[list[str]] = []

    def ended(jobs: list[str]) -> dict[str, str]:
        asked.append(jobs)
        return {"8": "NODE_FAIL"}

    ledger = ledger_with(*sent("u", "7"), *sent("v", "8"), *sent("w", "9"))
    histories = gather_histories(["u", "v", "w"], ledger, Queue({"7": QueuedJob("RUNNING")}), lambda key: [], ended)
    assert asked == [["8", "9"]]
    assert histories["u"].live
    assert (histories["v"].cause, histories["w"].cause) == ("node", "lost")


def test_accounting_is_asked_for_arrays_not_for_each_of_their_elements(monkeypatch: pytest.MonkeyPatch) -> None:
    """The names of ten thousand elements are longer than one argument of a command may be."""
    asked: list[tuple[str, ...]] = []

    def ask(*words: str) -> str:
        asked.append(words)
        return (
            "12345678_0|NODE_FAIL\n12345678_1|CANCELLED by 0\n12345678_[2-9]|PENDING\n12345678_77|COMPLETED\n9|FAILED\n"
        )

    monkeypatch.setattr(slurm_command, "ask", ask)
    monkeypatch.setattr(queue.shutil, "which", lambda tool: tool)
    states = queue.ended_jobs([*(f"12345678_{i}" for i in range(10)), "9"])
    assert asked[0][-1] == "12345678,9"
    assert states == {"12345678_0": "NODE_FAIL", "12345678_1": "CANCELLED", "9": "FAILED"}


def test_a_retry_forgets_what_was_before_it() -> None:
    rows = [
        {"event": "start", "job": "7", "token": "7.0", "time": 1.0},
        {"event": "end", "token": "7.0", "cause": "exception", "error": "ValueError: x", "time": 2.0},
    ]
    ledger = ledger_with(*sent("u", "7"))
    queue = Queue({"7": QueuedJob("FAILED")})
    before = gather_histories(["u"], ledger, queue, lambda key: rows)["u"]
    assert (before.cause, before.error) == ("exception", "ValueError: x")
    ledger.append("retry", study="s", units=["u"])
    after = gather_histories(["u"], ledger, queue, lambda key: rows)["u"]
    assert after.cause is None
    assert [end.cause for end in after.endings] == ["exception"]


def test_a_clock_that_is_set_back_changes_no_order_in_the_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retry forgives what ended before it, by the order of rows."""
    ledger = Ledger(tmp_path / "ledger.jsonl")
    for now in (1000.0, 400.0, 400.0, 2000.0):
        monkeypatch.setattr("pdstudy.slurm.ledger.time.time", lambda now=now: now)
        ledger.append("retry", study="s", units=["a"])
    times = [row["time"] for row in Ledger(tmp_path / "ledger.jsonl").rows]
    assert times == sorted(set(times))
    assert (times[0], times[-1]) == (1000.0, 2000.0)
    assert times[2] < 1001


def test_half_a_row_of_the_ledger_is_left_out_and_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    Ledger(path).append("retry", study="s", units=["u"])
    whole = path.read_bytes()
    for cut in range(1, len(whole)):
        path.write_bytes(whole + whole[:cut].rstrip(b"\n"))
        ledger = Ledger(path)
        ledger.append("retry", study="s", units=["v"])
        assert [row["units"] for row in Ledger(path).rows if row["event"] == "retry"][::-1][0] == ["v"]
        assert json.loads(path.read_text().splitlines()[-1])["units"] == ["v"]


def test_a_job_whose_sbatch_was_not_answered_is_not_lost() -> None:
    """SLURM may have taken it: the queue says so by its comment, or it will be found out at the next submit."""
    ledger = ledger_with(*sent("u", "7")[:1])
    history = gather_histories(["u"], ledger, Queue(), lambda key: [])["u"]
    assert (history.cause, history.live, history.unanswered) == (None, False, True)
    queue = Queue({"9": QueuedJob("RUNNING")}, {"7": "9"})
    history = gather_histories(["u"], ledger, queue, lambda key: [])["u"]
    assert (history.element, history.unanswered) == ("9", False)
    ended = Queue({"9": QueuedJob("FAILED")}, {"7": "9"})
    rows = [
        {"event": "start", "job": "9", "token": "9.0", "time": 1.0},
        {"event": "end", "token": "9.0", "cause": "exception", "error": "ValueError: x", "time": 2.0},
    ]
    assert gather_histories(["u"], ledger, ended, lambda key: rows)["u"].cause == "exception"


def test_a_start_that_another_followed_was_ended_by_its_node_or_killed() -> None:
    """SLURM itself starts the same job again; a later submit sends another."""
    rows = [{"event": "start", "job": job, "token": str(i)} for i, job in enumerate(("7", "7", "8"))]
    ledger = ledger_with(*sent("student/x", "7"), *sent("student/x", "8"))
    found = gather_histories(["student/x"], ledger, Queue({"8": QueuedJob("RUNNING")}), lambda key: rows)
    assert [end.cause for end in found["student/x"].endings] == ["node", "killed"]


@pytest.mark.parametrize("damage", ["lost", "number", "list", "other"])
def test_a_ledger_that_lacks_a_row_is_named_with_the_job(damage: str, tmp_path: Path) -> None:
    """Jobs of an intent that cannot be read would be sent a second time; the command ended in a traceback."""
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path)
    ledger.append("intent", array="a1", stage="student", elements=[["k"]])
    ledger.append("sent", array="a1", job="17")
    intent, sent = path.read_text().splitlines()
    first = {"lost": intent[:-9].replace(":", ";"), "number": "3", "list": "[]", "other": '{"row": 1}'}[damage]
    path.write_text(f"{first}\n{sent}\n")
    with pytest.raises(ConfigError, match=r"ledger\.jsonl is damaged: .*(\"17\"|row 3|row \[\]|\"row\": 1)"):
        Ledger(path)
