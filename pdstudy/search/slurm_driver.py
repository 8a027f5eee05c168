"""A search on a SLURM cluster: its trials are runs of arrays that `pdstudy submit` would send.

The driver, one process, begins trials, sends what they lack and reads the files of their runs. Nothing is in its memory
alone: killed, it leaves jobs that go on, and the next one finds them in the ledger and their results in the workspace.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import time

from pdstudy.core.claim import Claimed
from pdstudy.core.errors import ConfigError
from pdstudy.launch.local import RunOutcome
from pdstudy.plan.plan import Plan
from pdstudy.search.progress import NewlyEnded, SearchView
from pdstudy.search.search import Search
from pdstudy.search.storage import explain_lost_storage
from pdstudy.search.trial_plans import plan_trials
from pdstudy.search.trial_results import read_run_result
from pdstudy.search.trials import ActiveTrial, Trials
from pdstudy.slurm.commands import Request, submit_study
from pdstudy.slurm.ledger import Ledger
from pdstudy.slurm.scheduler import Unanswered
from pdstudy.slurm.sent_jobs import strip_slice
from pdstudy.slurm.submit import SubmitOutcome as Submitted
from pdstudy.workspace.layout import Workspace

POLL_SECONDS = 2.0
"""Seconds between two readings of the files of the runs under way."""


SUBMIT_SECONDS = 30.0
"""Seconds between two submits where no file shows that anything has happened: a job may end without a word."""


class Cancelled(Exception):
    """The user has cancelled jobs of this search while it was carried out."""


def search_on_cluster(
    search: Search, workspace: Workspace, request: Request, *, width: int, view: SearchView
) -> RunOutcome:
    """Carry out a search as jobs, `width` trials at a time, until its trials are used up; on Ctrl-C jobs go on.

    Raises `ConfigError` where its space is not sound, where SLURM refuses its jobs, and where something
    that all trials need has failed.
    """
    with explain_lost_storage(search):
        return _Driver(search, workspace, dataclasses.replace(request, report=False), view).run(width)


class _Driver:
    def __init__(self, search: Search, workspace: Workspace, request: Request, view: SearchView) -> None:
        self.search, self.workspace, self.request, self.view = search, workspace, request, view
        self.started = time.time()
        self.outcome = RunOutcome()
        failed = self.outcome.failed
        read_result = functools.partial(read_run_result, search, workspace, failed=failed)
        self.trials = Trials(search, workspace, read_result, claims=False)
        self.newly_ended = NewlyEnded(self.trials)
        self.hindrance = ""

    def run(self, width: int) -> RunOutcome:
        try:
            self._loop(width)
        except (KeyboardInterrupt, Cancelled) as reason:
            self.outcome.stopped = True
            what = "its jobs were cancelled" if isinstance(reason, Cancelled) else "no more trials are begun"
            count = len(self.trials.active)
            self.view.note(f"{what}; {count} trials are under way, and what is queued or running of them goes on")
        return self.outcome

    def _show_ended(self) -> None:
        for trial in self.newly_ended():
            self.view.trial_ended(trial)

    def _loop(self, width: int) -> None:
        sent: list[tuple[int, int]] | None = None
        submitted = -math.inf
        while active := self.trials.step(width):
            self._show_ended()
            wanted = [(a.number, a.rung) for a in active]
            if wanted != sent or time.monotonic() - submitted > SUBMIT_SECONDS:
                sent = wanted if self._send(active) else None
                submitted = time.monotonic()
            time.sleep(POLL_SECONDS)
        self._show_ended()

    def _send(self, active: list[ActiveTrial]) -> bool:
        """Send what is not done and has no living job; False where that has to wait."""
        try:
            plan, submitted = submit_study(
                lambda: self._plan(active), self.workspace, self.request, note=self._hindered
            )
        except (Claimed, Unanswered) as error:
            self._hindered(str(error))
            return False
        self.request = dataclasses.replace(self.request, retry=())  # one submit tries again what the user named
        for job, array in submitted.sent:
            self.view.note(f"sent {array.stage}: job {job}, {len(array.elements)} in all")
        self._hindered(f"{len(submitted.kept)} kept back: {submitted.reason}" if submitted.kept else "")
        self._note_failures(plan, submitted)
        return True

    def _plan(self, active: list[ActiveTrial]) -> Plan:
        plan = plan_trials(self.search, self.workspace, [(a.number, a.changes, a.rung) for a in active])
        wanted = {f"{i.kind}/{i.key}" for i in plan.todo}
        cancelled = Ledger.of(self.workspace).cancelled
        if any(at > self.started and strip_slice(unit) in wanted for unit, at in cancelled.items()):
            raise Cancelled
        return plan

    def _note_failures(self, plan: Plan, submitted: Submitted) -> None:
        labels = {a.id: f"{a.kind} {a.label}" for a in plan.artifacts}
        for unit, reason in submitted.refused.items():
            raise ConfigError(f"SLURM refuses {labels[strip_slice(unit)]}: {reason}")
        trials = {a.id for a in plan.artifacts if a.cells}
        for unit, cause in submitted.decision.stay.items():
            if unit not in trials:
                what = f"{labels[strip_slice(unit)]}, which trials need, ended by {cause}"
                raise ConfigError(f"{what}; once that is mended, --retry {cause} sends it again")
            self.view.note(f"{labels[unit]}: {cause}")
            self.outcome.failed[unit.partition("/")[2]] = cause

    def _hindered(self, why: str) -> None:
        """Say once what keeps jobs from being sent."""
        if why and why != self.hindrance:
            self.view.note(why)
        self.hindrance = why
