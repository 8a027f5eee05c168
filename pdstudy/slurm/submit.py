"""Carrying a decision out: the ledger's intent, sbatch, the answer; and what a refusal leaves for the next time.

`Scheduler` is what this needs of a cluster. `pdstudy.slurm.sbatch` is the real one; tests have one in memory.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from pdstudy.core.identity import encode
from pdstudy.slurm.arrays import Array, cut_group, cut_paired_group, format_dependency
from pdstudy.slurm.job import Job
from pdstudy.slurm.ledger import Ledger
from pdstudy.slurm.outcomes import NO_HISTORY, JobHistory
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
        """Submit; SLURM's id of the array. Raises `Refused`."""
        ...

    def release(self, elements: Sequence[str]) -> None: ...


@dataclass
class SubmitOutcome:
    """The result of a submit."""

    decision: Decision
    released: tuple[str, ...] = ()
    """Elements that SLURM held."""
    sent: list[tuple[str, Array]] = field(default_factory=list)
    """SLURM's id and the array."""
    kept: list[str] = field(default_factory=list)
    """Keys of jobs that were kept back, for `reason`."""
    reason: str = ""
    refused: dict[str, str] = field(default_factory=dict)
    """Job key to SLURM's words, for requests that it will never take."""
    report: str | None = None
    """SLURM's id of the report's job."""
    without_gpu: Mapping[str, int] = field(default_factory=dict)
    """Jobs by stage that ask for no GPU where the study is priced on GPUs; `pdstudy.slurm.job.count_without_gpu`."""
    earlier: tuple[str, ...] = ()
    """Living elements that an earlier declaration of the study sent, and that this one does not need."""


def adopt(ledger: Ledger, queue: Queue, finish: Callable[[str, str, int], None]) -> None:
    """Settle intents whose submitting process died before it noted the answer, by their comments. `finish` does what
    that process left out: (array, SLURM's id, number of elements)."""
    if not queue.known:
        return
    for array in ledger.unresolved():
        slurm_id = queue.sent_for.get(array.id)
        if slurm_id is not None:
            finish(array.id, slurm_id, len(array.row["elements"]))
            ledger.append("sent", array=array.id, job=slurm_id)
        else:
            ledger.append("refused", array=array.id, reason="it never reached the queue", limit=False)


def submit(
    jobs: Sequence[Job],
    histories: Mapping[str, JobHistory],
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
    """Send what is neither done nor live, `among`: of these jobs only. Call `adopt` before.

    `details` go into each intent (user, code), `request` into the note of what was kept back; `beyond` is what an
    earlier submit of the study kept back and this one is not about. `held` are elements to release.

    The report is sent with the last of a study's arrays, to run after all of them, whatever they come to; also where
    all of them were sent by others.
    """
    outcome = SubmitOutcome(decide(jobs, histories, among), tuple(held))
    if held:
        scheduler.release(held)
    sender = _Sender(ledger, scheduler, study, details or {}, outcome)
    limits = scheduler.limits() if outcome.decision.groups else Limits()
    for group in outcome.decision.groups:
        for array in cut_paired_group(group, sender.elements) if group.paired_needs else cut_group(group, limits):
            sender.send(array)
    before = ledger.kept.get(study, {"units": [], "reason": "", "request": request})
    if report is not None and not outcome.kept:
        history = histories.get(report.key, NO_HISTORY)
        if outcome.sent or report.key in before["units"] or (outcome.decision.live and not history.live):
            sender.send_report(report, history)
    if outcome.kept or before["units"]:
        left = [*outcome.kept, *beyond]
        reason, requested = (before["reason"], before["request"]) if beyond else ("", request)
        ledger.append("kept", study=study, units=left, reason=outcome.reason or reason, request=requested)
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
        self.sizes = {a.slurm_id: len(a.row["elements"]) for a in ledger.arrays.values() if a.slurm_id is not None}

    def send(self, array: Array) -> None:
        """Send one array, halved as long as the site's limit on jobs refuses it; the rest is kept."""
        lacking = [key for key in array.waits if key not in self.elements]
        lacking += [key for key in array.after if key in self.outcome.kept]
        if self.full or lacking:
            refusal = next((self.outcome.refused[key] for key in lacking if key in self.outcome.refused), None)
            if refusal is None:
                self._keep(array)
            else:
                self._refuse(array, refusal)
            return
        try:
            done = f"aftercorr:{array.paired_with}" if array.paired_with else self._after_success(array.waits)
            ended = format_dependency("afterany", self._find_elements(array.after & self.elements.keys()), self.sizes)
            self._note_sent(array, self._try(array, ",".join(filter(None, (done, ended)))))
        except Refused as refused:
            if not refused.limit:
                self._refuse(array, refused.reason)
                return
            self.outcome.reason = refused.reason
            if len(array.elements) == 1 or refused.unanswered:
                self.full = True
                self._keep(array)
                return
            for part in self._cut(array):
                self.send(part)

    def _cut(self, array: Array) -> list[Array]:
        """Two halves; what waits element by element is cut into elements, since the second half has other indices."""
        half = len(array.elements) // 2
        if array.paired_with is None:
            return [replace(array, elements=array.elements[:half]), replace(array, elements=array.elements[half:])]
        return [
            replace(
                array,
                elements=(element,),
                waits=frozenset(key for key in element[0].needs if key in array.waits),
                paired_with=None,
            )
            for element in array.elements
        ]

    def _after_success(self, waits: Collection[str]) -> str:
        return format_dependency("afterok", self._find_elements(waits), self.sizes)

    def _find_elements(self, keys: Collection[str]) -> list[str]:
        return list(dict.fromkeys(self.elements[key] for key in sorted(keys)))

    def _keep(self, array: Array) -> None:
        self.outcome.kept += [job.key for element in array.elements for job in element]

    def _refuse(self, array: Array, reason: str) -> None:
        self.outcome.refused |= {job.key: reason for element in array.elements for job in element}

    def send_report(self, job: Job, history: JobHistory) -> None:
        array = Array("report", job.execution, ((job,),), frozenset())
        before = list(dict.fromkeys(self.elements.values()))
        if history.element is not None:  # an earlier report writes the same files
            before.append(history.element)
        try:
            self.outcome.report = self._try(array, format_dependency("afterany", before, self.sizes))
        except Refused as refused:
            if refused.limit:
                self.outcome.kept.append(job.key)
                self.outcome.reason = refused.reason
            else:
                self.outcome.refused[job.key] = refused.reason

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
            slurm_id = self.scheduler.send(array_id, array, after)
        except Refused as refused:
            if not refused.unanswered:
                self.ledger.append("refused", array=array_id, reason=refused.reason, limit=refused.limit)
            raise
        self.ledger.append("sent", array=array_id, job=slurm_id)
        self.sizes[slurm_id] = len(array.elements)
        return slurm_id

    def _note_sent(self, array: Array, slurm_id: str) -> None:
        self.outcome.sent.append((slurm_id, array))
        alone = len(array.elements) == 1
        for index, element in enumerate(array.elements):
            for job in element:
                self.elements[job.key] = slurm_id if alone else f"{slurm_id}_{index}"
