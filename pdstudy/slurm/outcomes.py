"""The history of each job: whether it lives, and how its attempts ended. Pure: no file is read here.

Causes of an ending:

    done, diverged          the artifact is made (a diverged student is a result)
    preempted, node, signal SLURM or a person took the machine away; SLURM requeues, or the next submit sends again
    time                    the time limit
    killed                  the process ended without a word, by a signal
    lost                    the job is gone from the queue and nobody knows why, or srun could not start its process
    dependency              a job that it waited for failed, so SLURM dropped it
    cancelled               scancel or `pdstudy cancel`
    claimed                 another process was making it
    exception, oom          the work itself failed
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pdstudy.slurm.ledger import Ledger, Sent
from pdstudy.slurm.scheduler import Queue, QueuedJob

Attempts = Callable[[str], list[dict[str, Any]]]
"""The rows that the attempts at a job wrote (`pdstudy.slurm.attempt`), oldest first, by the job's key."""


DEPENDENCY = "DEPENDENCY"
"""Stands for the state of a job that SLURM dropped because one that it waited for failed."""


FINAL_STATES = {
    DEPENDENCY: "dependency",
    "OUT_OF_MEMORY": "oom",
    "TIMEOUT": "time",
    "DEADLINE": "time",
    "NODE_FAIL": "node",
    "BOOT_FAIL": "node",
    "PREEMPTED": "preempted",
    "CANCELLED": "cancelled",
}
"""SLURM's final states, and the causes that they stand for."""


@dataclass(frozen=True)
class Ending:
    """The end of one attempt. `sent` is when its job was sent, by the clock of the ledger; `device`: what ran out of
    memory was the accelerator."""

    cause: str
    error: str
    sent: float
    device: bool = False


@dataclass(frozen=True)
class JobHistory:
    """One job as the cluster sees it."""

    element: str | None = None
    """The array element that may still make it."""
    queued: QueuedJob | None = None
    """That element, or the last one, as the queue shows it."""
    last: Sent | None = None
    causes: Mapping[str, int] = field(default_factory=dict)
    """Endings by cause since the user last asked for a retry."""
    cause: str | None = None
    """How the last attempt ended; None where none did."""
    error: str = ""
    endings: tuple[Ending, ...] = ()
    """Every ending so far, oldest first, whatever the user asked for since."""
    starts: int = 0
    lost_seconds: float = 0.0
    unanswered: bool = False
    """Whether sbatch was not answered when the job was last sent, and the queue does not have it (yet)."""

    @property
    def live(self) -> bool:
        return self.element is not None


NO_HISTORY = JobHistory()
"""The history of a job that was never sent."""


def gather_histories(
    keys: Iterable[str],
    ledger: Ledger,
    queue: Queue,
    attempts: Attempts,
    final_states: Callable[[list[str]], Mapping[str, str]] = lambda elements: {},
    stderr: Callable[[Sent], str] = lambda sent: "",
) -> dict[str, JobHistory]:
    """Histories of those jobs that were ever sent, by key.

    `final_states` answers for elements that left the queue (sacct), in one call; `stderr` gives the end of what SLURM
    wrote beside an element.
    """
    sent = {key: [_find_element(s, ledger, queue) for s in ledger.sent(key)] for key in keys if key in ledger.sendings}
    gone = [
        last.element
        for sendings in sent.values()
        if sendings and (last := sendings[-1]).element is not None and last.element not in queue.jobs
    ]
    states: dict[str, str] = {e: _name_final_state(queued) for e, queued in queue.jobs.items() if not queued.live}
    if gone:
        states |= final_states(gone)
    return {
        key: _make_history(key, sendings, ledger, queue, attempts(key), states, stderr)
        for key, sendings in sent.items()
        if sendings
    }


def _find_element(sent: Sent, ledger: Ledger, queue: Queue) -> Sent:
    """The sending; where sbatch did not answer with SLURM's id, with the element that the queue has for it."""
    slurm_id = queue.sent_for.get(sent.array)
    if sent.element is not None or slurm_id is None:
        return sent
    return replace(sent, element=replace(ledger.arrays[sent.array], slurm_id=slurm_id).element(sent.index))


def find_held_jobs(keys: Iterable[str], ledger: Ledger, queue: Queue, user: str | None = None) -> list[str]:
    """The elements of jobs that SLURM holds, of all users or of one; also where all that they were sent for is made:
    the report waits for them."""
    found = {element for element, queued in queue.jobs.items() if queued.held}
    if not found:
        return []
    sent = (s for key in keys for s in ledger.sent(key) if s.element in found)
    return list(dict.fromkeys(str(s.element) for s in sent if user in (None, ledger.arrays[s.array].row.get("user"))))


def _name_final_state(queued: QueuedJob) -> str:
    return DEPENDENCY if queued.reason.startswith("Dependency") else queued.state


def _make_history(
    key: str,
    sendings: list[Sent],
    ledger: Ledger,
    queue: Queue,
    rows: list[dict[str, Any]],
    states: Mapping[str, str],
    stderr: Callable[[Sent], str],
) -> JobHistory:
    last = sendings[-1]
    elements = (s.element for s in reversed(sendings) if s.element is not None)
    live = next((e for e in elements if (queued := queue.jobs.get(e)) and queued.live), None)
    if live is None and not queue.known and not _reports_end(last, rows):
        live = last.element  # the scheduler did not answer: what was sent may be there
    if ledger.cancelled.get(key, 0.0) > last.time and states.get(last.element or "") == DEPENDENCY:
        states = {**states, str(last.element): "CANCELLED"}  # the user's doing, whatever it waited for then
    endings = tuple(_list_endings(sendings, rows, states, stderr, live is not None))
    # Of what was sent before the user asked for a retry all has ended, and does not count any more. The clocks of nodes
    # have no say in that.
    current = [end for end in endings if end.sent >= ledger.retried.get(key, 0.0)]
    starts = [r for r in rows if r["event"] == "start"]
    return JobHistory(
        unanswered=last.element is None,
        element=live,
        queued=queue.jobs.get(live or last.element or ""),
        last=last,
        causes=Counter(end.cause for end in current),
        cause=current[-1].cause if current else None,
        error=current[-1].error if current else "",
        endings=endings,
        starts=len(starts),
        lost_seconds=sum(r.get("lost_seconds", 0.0) for r in starts),
    )


def _reports_end(last: Sent, rows: list[dict[str, Any]]) -> bool:
    """Whether the last element that was sent has itself written that it ended, and does not go on."""
    tokens = [r["token"] for r in rows if r["event"] == "start" and r["job"] == last.element]
    return any(r["event"] == "end" and r["token"] == tokens[-1] and not r.get("goes_on") for r in rows if tokens)


def _list_endings(
    sendings: list[Sent],
    rows: list[dict[str, Any]],
    states: Mapping[str, str],
    stderr: Callable[[Sent], str],
    live: bool,
) -> Iterable[Ending]:
    """Every attempt that is over, in order; the last sending also where it never started."""
    last = sendings[-1]
    sent = {s.element: s.time for s in sendings}
    ended = {r["token"]: r for r in rows if r["event"] == "end"}
    starts = [r for r in rows if r["event"] == "start"]
    for number, start in enumerate(starts):
        end, at = ended.get(start["token"]), sent.get(start["job"], 0.0)
        if end is not None:
            yield Ending(end["cause"], end.get("error", ""), at, end.get("device", False))
        elif number < len(starts) - 1:
            # SLURM (or a later submit) started it again: the machine was taken away without a word.
            yield Ending("node" if starts[number + 1]["job"] == start["job"] else "killed", "", at)
    if live or last.element is None:
        return
    mine = [s for s in starts if s["job"] == last.element]
    if mine and mine[-1]["token"] in ended:
        return
    state = states.get(last.element or "")
    text = "" if state in (None, "CANCELLED", DEPENDENCY) else stderr(last)
    cause, error = _infer_ending(state, started=bool(mine), text=text)
    yield Ending(cause, error, last.time)


def _infer_ending(state: str | None, *, started: bool, text: str) -> tuple[str, str]:
    """Cause and error of a job that ended without writing how, from SLURM's state and what it wrote beside the job."""
    if any(mark in text for mark in ("exceeded memory limit", "oom-kill", "oom_kill", "Out Of Memory")):
        return "oom", "out of memory: killed by SLURM"
    if state in ("CANCELLED", DEPENDENCY) and not started:
        return FINAL_STATES[state], "what it waited for failed" if state == DEPENDENCY else ""
    if state in FINAL_STATES:
        return FINAL_STATES[state], f"SLURM says {state}"
    if state == "FAILED":
        if started:
            return "killed", "the process was killed"
        if _failed_to_launch(text):
            return "lost", f"SLURM could not start its process: {text.strip().splitlines()[0]}"
        if "could not find submitted jobs" in text:  # the submitting process died before the pickle had its name
            return "lost", "its job started and found nothing to do"
        last_words = text.strip().splitlines()[-1:] or ["it wrote nothing"]
        return "exception", f"the job failed before its work began: {last_words[0]}"
    return "lost", "the job is gone from the queue, and how it ended is not recorded" if state is None else state


def _failed_to_launch(text: str) -> bool:
    """Whether what SLURM wrote beside a job is srun's word alone: no process of ours came up, so none can have failed.

    srun gives up where the controller or a node does not answer it in time, which another start mends.
    """
    lines = text.strip().splitlines()
    return bool(lines) and all(line.startswith("srun:") for line in lines) and "Exited with exit code" not in text
