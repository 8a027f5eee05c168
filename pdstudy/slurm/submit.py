"""Carrying a decision out: the ledger's intent, sbatch, the answer; and what a refusal leaves for the next time.

`Scheduler` is what this needs of a cluster. `pdstudy.slurm.sbatch` is the real one; tests have one in memory.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from pdstudy.core.identity import encode
from pdstudy.slurm.arrays import Array, arrays_of, arrays_of_each, dependency
from pdstudy.slurm.job import Job
from pdstudy.slurm.ledger import Ledger
from pdstudy.slurm.outcomes import NOTHING, JobHistory
from pdstudy.slurm.reconcile import Decision, decide
from pdstudy.slurm.scheduler import Limits, Queue


class Refused(Exception):
    """sbatch took nothing. `limit`: the site's limit on submitted jobs, which passes; else the request is wrong.

    `unanswered`: the controller did not say; the intent stays open, and the next submit finds out.
    """

    def __init__(self, reason: str, *, limit: bool, unanswered: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.limit = limit
        self.unanswered = unanswered


class Scheduler(Protocol):
    def limits(self) -> Limits: ...

    def send(self, array_id: str, array: Array, after: str) -> str:
        """Submit; the job's id. Raises `Refused`."""
        ...

    def release(self, elements: Sequence[str]) -> None: ...


@dataclass
class SubmitOutcome:
    """What a submit came to."""

    decision: Decision
    released: tuple[str, ...] = ()
    """Elements that SLURM held."""
    sent: list[tuple[str, Array]] = field(default_factory=list)
    """Job id and array."""
    kept: list[str] = field(default_factory=list)
    reason: str = ""
    refused: dict[str, str] = field(default_factory=dict)
    """Unit key to SLURM's words, for requests that it will never take."""
    report: str | None = None


def adopt(ledger: Ledger, queue: Queue, finish: Callable[[str, str, int], None]) -> None:
    """Settle intents whose submitting process died before it noted the answer: their comment tells. `finish` does what
    that process left out: (array, job, elements)."""
    if not queue.known:
        return
    for array in ledger.unresolved():
        job = queue.sent_for.get(array.id)
        if job is not None:
            finish(array.id, job, len(array.row["elements"]))
            ledger.append("sent", array=array.id, job=job)
        else:
            ledger.append("refused", array=array.id, reason="it never reached the queue", limit=False)


def submit(
    units: Sequence[Job],
    facts: Mapping[str, JobHistory],
    ledger: Ledger,
    scheduler: Scheduler,
    study: str,
    *,
    report: Job | None = None,
    among: Collection[str] | None = None,
    details: Mapping[str, object] | None = None,
    request: object = None,
    beyond: Collection[str] = (),
    held: Sequence[str] = (),
) -> SubmitOutcome:
    """Send what is neither done nor live, `among`: of these units only. Call `adopt` before.

    `details` go into each intent (user, code), `request` into the note of what was kept back; `beyond` is what an
    earlier submit of the study kept back and this one is not about. `held` are elements to release.

    The report is sent with the last of a study's arrays, to run after all of them, whatever they come to; also where
    all of them were sent by others.
    """
    outcome = SubmitOutcome(decide(units, facts, among), tuple(held))
    if held:
        scheduler.release(held)
    sender = _Sender(ledger, scheduler, study, details or {}, outcome)
    limits = scheduler.limits() if outcome.decision.groups else Limits()
    for group in outcome.decision.groups:
        for array in arrays_of_each(group, sender.elements) if group.each else arrays_of(group, limits):
            sender.send(array)
    was = ledger.kept.get(study, {"units": [], "reason": "", "request": request})
    if report is not None and not outcome.kept:
        fact = facts.get(report.key, NOTHING)
        if outcome.sent or report.key in was["units"] or (outcome.decision.live and not fact.live):
            sender.send_report(report, fact)
    if outcome.kept or was["units"]:
        left = [*outcome.kept, *beyond]
        reason, asked = (was["reason"], was["request"]) if beyond else ("", request)
        ledger.append("kept", study=study, units=left, reason=outcome.reason or reason, request=asked)
    return outcome


class _Sender:
    def __init__(
        self,
        ledger: Ledger,
        scheduler: Scheduler,
        study: str,
        details: Mapping[str, object],
        outcome: SubmitOutcome,
    ) -> None:
        self.ledger, self.scheduler, self.study = ledger, scheduler, study
        self.details, self.outcome = details, outcome
        self.full = False
        self.elements = dict(outcome.decision.live)
        self.sizes = {a.job: len(a.row["elements"]) for a in ledger.arrays.values() if a.job is not None}

    def send(self, array: Array) -> None:
        """One array, halved as long as the site's limit on jobs refuses it; the rest is kept."""
        lacking = [n for n in array.waits if n not in self.elements]
        lacking += [n for n in array.after if n in self.outcome.kept]
        if self.full or lacking:
            refusal = next((self.outcome.refused[n] for n in lacking if n in self.outcome.refused), None)
            if refusal is None:
                self.outcome.kept += [u.key for element in array.elements for u in element]
            else:
                self._refuse(array, refusal)
            return
        try:
            done = f"aftercorr:{array.beside}" if array.beside else self._done(array.waits)
            ended = dependency("afterany", self._elements_of(array.after & self.elements.keys()), self.sizes)
            self._sent(array, self._try(array, ",".join(filter(None, (done, ended)))))
        except Refused as refused:
            if not refused.limit:
                self._refuse(array, refused.reason)
                return
            self.outcome.reason = refused.reason
            if len(array.elements) == 1 or refused.unanswered:
                self.full = True
                self.outcome.kept += [u.key for element in array.elements for u in element]
                return
            for part in self._parts(array):
                self.send(part)

    def _parts(self, array: Array) -> list[Array]:
        """Two halves; what waits element by element is cut into elements, since the second half has other indices."""
        half = len(array.elements) // 2
        if array.beside is None:
            return [replace(array, elements=array.elements[:half]), replace(array, elements=array.elements[half:])]
        return [
            replace(
                array,
                elements=(element,),
                waits=frozenset(n for n in element[0].needs if n in array.waits),
                beside=None,
            )
            for element in array.elements
        ]

    def _done(self, waits: Collection[str]) -> str:
        return dependency("afterok", self._elements_of(waits), self.sizes)

    def _elements_of(self, units: Collection[str]) -> list[str]:
        return list(dict.fromkeys(self.elements[n] for n in sorted(units)))

    def _refuse(self, array: Array, reason: str) -> None:
        self.outcome.refused |= {u.key: reason for element in array.elements for u in element}

    def send_report(self, unit: Job, facts: JobHistory) -> None:
        array = Array("report", unit.execution, ((unit,),), frozenset())
        before = list(dict.fromkeys(self.elements.values()))
        if facts.element is not None:  # an earlier report writes the same files
            before.append(facts.element)
        try:
            self.outcome.report = self._try(array, dependency("afterany", before, self.sizes))
        except Refused as refused:
            if refused.limit:
                self.outcome.kept.append(unit.key)
                self.outcome.reason = refused.reason
            else:
                self.outcome.refused[unit.key] = refused.reason

    def _try(self, array: Array, after: str) -> str:
        array_id = uuid.uuid4().hex[:12]
        self.ledger.append(
            "intent",
            array=array_id,
            study=self.study,
            stage=array.stage,
            elements=array.keys,
            execution=encode(array.execution),
            after=after,
            **self.details,
        )
        try:
            job = self.scheduler.send(array_id, array, after)
        except Refused as refused:
            if not refused.unanswered:
                self.ledger.append("refused", array=array_id, reason=refused.reason, limit=refused.limit)
            raise
        self.ledger.append("sent", array=array_id, job=job)
        self.sizes[job] = len(array.elements)
        return job

    def _sent(self, array: Array, job: str) -> None:
        self.outcome.sent.append((job, array))
        alone = len(array.elements) == 1
        for index, element in enumerate(array.elements):
            for unit in element:
                self.elements[unit.key] = job if alone else f"{job}_{index}"
