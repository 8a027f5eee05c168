"""A cluster in memory that fails in every way SLURM does: a scheduler, a disk, and the rows that jobs leave on it.

It asserts what no submit may do: send what is done or alive, start what lacks what it needs, overtake an end that is
waited for.
"""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pdstudy.slurm.arrays import Array
from pdstudy.slurm.job import Job
from pdstudy.slurm.scheduler import Limits, Queue, QueuedJob
from pdstudy.slurm.submit import Refused


class Crash(Exception):
    """The submitting process dies here."""


@dataclass
class Element:
    """One array element; `keys` are those of all its jobs, `jobs` those that are still to be made."""

    id: str
    array: str
    jobs: tuple[Job, ...]
    keys: tuple[str, ...]
    state: str = "PENDING"
    reason: str = ""
    waits: dict[str, list[str]] = field(default_factory=dict)
    """Elements that it waits for, by kind of dependency."""
    restart: int = 0
    ended: float = 0.0


@dataclass
class World:
    """The cluster, the disk and the jobs of one study."""

    rng: random.Random
    jobs: list[Job]
    allowed: Limits
    max_submitted: int | None
    accounting: bool
    trouble: float
    done: set[str] = field(default_factory=set)
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    elements: dict[str, Element] = field(default_factory=dict)
    arrays: dict[str, list[Element]] = field(default_factory=dict)
    """The elements of each array, by SLURM's id."""
    purged: dict[str, str] = field(default_factory=dict)
    pending: dict[str, Element] = field(default_factory=dict)
    running: dict[str, Element] = field(default_factory=dict)
    busy: set[str] = field(default_factory=set)
    homes: dict[str, str] = field(default_factory=dict)
    """The element in which a job was last sent, by the job's key."""
    clock: float = 0.0
    calls: Counter[str] = field(default_factory=Counter)
    crash_before: bool = False
    crash_after: bool = False
    silent: bool = False
    """Whether sbatch may hear nothing from the controller, which may or may not have taken the jobs."""
    sent_in_round: set[str] = field(default_factory=set)
    followers: dict[str, set[str]] = field(default_factory=dict)
    """Jobs that wait for the end of a job, by its key."""

    # --- what the reconciler sees

    def queue(self) -> Queue:
        self.calls["squeue"] += 1
        jobs = {e.id: QueuedJob(e.state, e.reason) for e in self.elements.values()}
        return Queue(jobs, {e.array: slurm_id for slurm_id, members in self.arrays.items() for e in members[:1]})

    def limits(self) -> Limits:
        return self.allowed

    def send(self, array_id: str, array: Array, after: str) -> str:
        self.calls["sbatch"] += 1
        assert len(array.elements) <= self.allowed.array
        wanted_jobs = len(self.pending) + len(self.running) + len(array.elements)
        if self.max_submitted is not None and wanted_jobs > self.max_submitted:
            raise Refused("QOSMaxSubmitJobPerUserLimit", limit=True)
        if self.crash_before and self.rng.random() < 0.3:
            raise Crash
        unanswered = Refused("Socket timed out on send/recv operation", limit=True, unanswered=True)
        silent = self.silent and self.rng.random() < 0.3
        if silent and self.rng.random() < 0.5:
            raise unanswered
        slurm_id = str(len(self.arrays) + len(self.purged) + 1 + self.calls["sbatch"])
        waits: dict[str, list[str]] = {}
        for part in filter(None, after.split(",")):
            kind, *names = part.split(":")
            for name in names:
                members = [name] if name in self.elements else [e.id for e in self.arrays.get(name, ())]
                assert members, f"waits for {name}, which the queue does not know"
                waits.setdefault(kind, []).extend(members)
        alone = len(array.elements) == 1
        ends = {id for ids in waits.values() for id in ids}
        keys = [job.key for jobs in array.elements for job in jobs if job.stage != "report"]
        assert len(set(keys)) == len(keys), "a job is sent twice in one array"
        made = []
        for index, jobs in enumerate(array.elements):
            for job in jobs:
                assert job.key not in self.done, f"{job.key} is done and was sent"
                if job.stage != "report":  # reports queue up, each after the one before
                    assert job.key not in self.busy, f"{job.key} lives and was sent"
                    self._check_ends(job, ends)
            id = slurm_id if alone else f"{slurm_id}_{index}"
            own = {k: ids if k != "aftercorr" else [f"{ids[0].partition('_')[0]}_{index}"] for k, ids in waits.items()}
            assert own.keys() != {"aftercorr"} or own["aftercorr"][0] in waits["aftercorr"]
            made.append(Element(id, array_id, jobs, tuple(job.key for job in jobs), waits=own))
        self.arrays[slurm_id] = made
        self.busy.update(keys)
        for element in made:
            self.homes.update(dict.fromkeys(element.keys, element.id))
            self.elements[element.id] = self.pending[element.id] = element
        if silent:
            raise unanswered
        if self.crash_after and self.rng.random() < 0.3:
            raise Crash
        return slurm_id

    def _check_ends(self, job: Job, waits: set[str]) -> None:
        """A job is sent behind those living ones from which it may go on, and behind those sent with it."""
        for key in job.after:
            # A packed element may live on when one of its jobs is done.
            over = key in self.done or key not in self.busy
            assert over or self.homes[key] in waits, f"{job.key} does not wait for the end of {key}"
        early = self.followers.get(job.key, set()) & self.sent_in_round
        assert not early, f"{sorted(early)} were sent before {job.key}, whose end they wait for"
        self.sent_in_round.add(job.key)

    def release(self, elements: Sequence[str]) -> None:
        for id in elements:
            if id in self.elements:
                self.elements[id].reason = ""

    def adopt(self, array_id: str, slurm_id: str, count: int) -> None:
        assert len(self.arrays[slurm_id]) == count
        assert self.arrays[slurm_id][0].array == array_id

    def ended(self, gone: list[str]) -> dict[str, str]:
        return {e: self.purged[e] for e in gone if e in self.purged} if self.accounting else {}

    # --- what happens

    def step(self, share: float) -> None:
        """Let about `share` of what could happen happen."""
        self.clock += 1
        for element in list(self.pending.values()):
            if element.reason == "launch failed requeued held":
                continue
            verdict = self._dependency(element)
            if verdict is False:
                self._end(element, "CANCELLED", "DependencyNeverSatisfied")
            elif verdict and self.rng.random() < share:
                self._start(element)
        for element in list(self.running.values()):
            if self.rng.random() < share:
                self._finish(element)
        for element in [e for e in self.elements.values() if e.ended and self.clock - e.ended > 3]:
            self.purged[element.id] = element.state
            del self.elements[element.id]

    def _dependency(self, element: Element) -> bool | None:
        """True: it may start; False: never; None: not yet."""
        for kind, ids in element.waits.items():
            for id in ids:
                other = self.elements.get(id)
                state = other.state if other is not None else self.purged[id]
                if state in ("PENDING", "RUNNING"):
                    return None  # whatever became of the others shows when this one ends
                if kind in ("afterok", "aftercorr") and state != "COMPLETED":
                    return False
        return True

    def _start(self, element: Element) -> None:
        again = element.restart > 0  # what SLURM itself starts again, it launches in haste
        if self.rng.random() < (0.2 if again else 0.02) * self.trouble:
            element.reason = "launch failed requeued held"
            return
        if self.rng.random() < 0.03 * self.trouble:
            self._end(element, "CANCELLED")
            return
        if self.rng.random() < 0.02 * self.trouble:
            self._end(element, "FAILED")  # before its process began
            return
        del self.pending[element.id]
        self.running[element.id] = element
        element.state = "RUNNING"
        for job in element.jobs:
            if job.stage != "report":
                assert all(n in self.done for n in job.needs), f"{job.key} started without what it needs"
            token = f"{element.id}.{element.restart}"
            self.rows[job.key].append({"event": "start", "job": element.id, "token": token, "time": time.time()})

    def _finish(self, element: Element) -> None:
        if self.rng.random() > 0.35 * self.trouble:
            self._end_jobs(element, {job.key: "done" for job in element.jobs})
            self._end(element, "COMPLETED")
            return
        misfortune = self.rng.choice(
            ["preempted", "chain", "requeued node", "late node", "lost node", "killed", "exception", "oom", "OOM",
             "timeout", "scancel"]
        )  # fmt: skip
        keys = [job.key for job in element.jobs]
        if misfortune in ("preempted", "chain"):
            some = keys[: self.rng.randrange(len(keys))]
            cause = "preempted" if misfortune == "preempted" else "time"
            self._end_jobs(element, {k: "done" if k in some else cause for k in keys})
            self._requeue(element)
        elif misfortune == "requeued node":
            self._requeue(element)
        elif misfortune == "late node":  # all was made, and SLURM, which did not hear of it, starts the job again
            self._end_jobs(element, dict.fromkeys(keys, "done"))
            self._requeue(element)
        elif misfortune in ("exception", "oom"):
            bad = self.rng.choice(keys)
            self._end_jobs(element, {k: misfortune if k == bad else "done" for k in keys})
            self._end(element, "FAILED")
        else:
            states = {"lost node": "NODE_FAIL", "killed": "FAILED", "OOM": "OUT_OF_MEMORY", "timeout": "TIMEOUT"}
            self._end(element, states.get(misfortune, "CANCELLED"))

    def _end_jobs(self, element: Element, causes: dict[str, str]) -> None:
        for key, cause in causes.items():
            token = f"{element.id}.{element.restart}"
            self.rows[key].append({"event": "end", "token": token, "cause": cause, "time": time.time()})
            if cause == "done" and not key.startswith("report/"):
                self.done.add(key)

    def _requeue(self, element: Element) -> None:
        del self.running[element.id]
        element.restart += 1
        element.state, element.waits = "PENDING", {}
        # What a packed element has made is not made again by its next attempt.
        element.jobs = tuple(job for job in element.jobs if job.key not in self.done) or element.jobs[:1]
        self.pending[element.id] = element

    def _end(self, element: Element, state: str, reason: str = "") -> None:
        self.pending.pop(element.id, None)
        self.running.pop(element.id, None)
        element.state, element.reason, element.ended = state, reason, self.clock
        self.busy.difference_update(element.keys)
