"""Running a plan on this machine: a bounded number of persistent worker processes, one artifact each at a time.

The driver imports no torch. On a machine with GPUs each artifact is given the devices that it needs, and its worker
sees no others (`pdstudy.launch.devices`). An artifact is begun when all that it needs is there. A worker that dies
(killed, out of memory) is replaced and its artifact tried again, from the newest checkpoint, up to `RETRIES` times; an
artifact that raises is not tried again, and those that need it are reported as blocked. Nothing is lost when the driver
itself dies: workers stop at their next step boundary when their input closes.
"""

from __future__ import annotations

import os
import queue
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from pdstudy.core.claim import Claim
from pdstudy.launch.devices import Devices, Layout, assign, lay_out_artifact, name_devices
from pdstudy.launch.work_order import make_order, replicated
from pdstudy.launch.worker_process import WorkerProcess, explain_exit
from pdstudy.plan.artifact import Artifact, RunArtifact
from pdstudy.plan.plan import Plan
from pdstudy.plan.run_progress import describe_end
from pdstudy.workspace.failure import write_failure
from pdstudy.workspace.layout import Workspace

RETRIES = 2
"""Times that an artifact is tried again after its worker died."""


CLAIM_WAIT_SECONDS = 3.0
"""Seconds before an artifact that another process is making is looked at again."""


@dataclass
class RunOutcome:
    """The end of a `run`: keys of artifacts by state, and the message of each failure."""

    done: list[str] = field(default_factory=list)
    diverged: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    blocked: list[str] = field(default_factory=list)
    stopped: bool = False


More = Callable[[RunOutcome], Plan]
"""The plan of all that is wanted, after what has come out so far."""


class ProgressView(Protocol):
    """Shows progress; `pdstudy.cli.progress` has one for terminals and one of plain lines."""

    def start(self, plan: Plan) -> None: ...
    def begin(self, worker: int, artifact: Artifact, device: str = "") -> None: ...
    def progress(self, worker: int, artifact: Artifact, what: str, share: float) -> None: ...
    def end(self, worker: int, artifact: Artifact, state: str, message: str = "") -> None: ...
    def note(self, text: str) -> None: ...
    def finish(self, outcome: RunOutcome) -> None: ...


def processor_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


ON_CPU = Devices()


def run_plan(
    plan: Plan, workspace: Workspace, *, workers: int, view: ProgressView, devices: Devices = ON_CPU
) -> RunOutcome:
    """Make everything that a plan lacks, by so many workers at a time on these devices.

    Raises `Claimed` where another process is running this study, and `ConfigError` where texts or models that it names
    are not here.
    """
    plan.check_here()
    with Claim(workspace.root / "studies" / f"{plan.study.name}.claim", f"study {plan.study.name}"):
        return drive(plan, workspace, workers=workers, view=view, devices=devices)


def drive(
    plan: Plan,
    workspace: Workspace,
    *,
    workers: int,
    view: ProgressView,
    more: More | None = None,
    devices: Devices = ON_CPU,
) -> RunOutcome:
    """`run_plan` without a claim on the study. `more` is called where there is room for another artifact; it returns
    the plan of all that is wanted by then."""
    return _Driver(plan, workspace, workers, view, more, devices).run()


class _Driver:
    def __init__(
        self,
        plan: Plan,
        workspace: Workspace,
        workers: int,
        view: ProgressView,
        more: More | None,
        devices: Devices = ON_CPU,
    ) -> None:
        self.plan = plan
        self.more = more
        self.workspace = workspace
        self.view = view
        self.devices = devices
        self.outcome = RunOutcome()
        self.events: queue.Queue[tuple[WorkerProcess, dict[str, Any]]] = queue.Queue()
        threads, sharing = plan.study.placement.threads, devices.per_device
        self.workers = [WorkerProcess(i, self.events, threads, per_device=sharing) for i in range(workers)]
        self.waiting = {a.key: a for a in plan.artifacts if not a.done}
        self.finished = {a.key for a in plan.artifacts if a.done}
        self.attempts: dict[str, int] = {}
        self.not_before: dict[str, float] = {}
        self.layouts: dict[str, Layout] = {}

    def run(self) -> RunOutcome:
        self.view.start(self.plan)
        try:
            self._loop()
        except KeyboardInterrupt:
            self._stop()
        finally:
            for worker in self.workers:
                worker.close(kill=self.outcome.stopped)
            self.outcome.blocked += list(self.waiting) if not self.outcome.stopped else []
            self.view.finish(self.outcome)
        return self.outcome

    def _loop(self) -> None:
        while True:
            if self.more is not None and self._next() is None and self._has_room():
                self._extend(self.more(self.outcome))
            self._begin_all()
            if not any(w.artifact for w in self.workers) and not self._later():
                return
            try:
                worker, event = self.events.get(timeout=0.5)
            except queue.Empty:
                continue
            self._handle(worker, event)

    def _has_room(self) -> bool:
        """Whether a worker is idle and, on a machine with GPUs, a share of one."""
        idle = not all(worker.artifact for worker in self.workers)
        return idle and (not self.devices.ids or min(self._load().values()) < self.devices.per_device)

    def _load(self) -> dict[str, int]:
        """Shares of each device that are taken; several ranks share theirs with nobody."""
        load = dict.fromkeys(self.devices.ids, 0)
        for worker in self.workers:
            used = worker.devices or () if worker.artifact is not None else ()
            for each in used:
                load[each] += 1 if len(used) == 1 else self.devices.per_device
        return load

    def _begin_all(self) -> None:
        """Begin what can be begun, the largest first, while there are idle workers and devices."""
        idle = [worker for worker in self.workers if worker.artifact is None]
        ready = self._ready_now() if idle else []
        counts = (self._layout(artifact).count for artifact in ready)
        for artifact, devices in zip(ready, assign(counts, self._load(), self.devices.per_device), strict=False):
            if devices is None:
                continue
            given = devices if self.devices.ids else None
            # One that is there already, with the same devices, has imported everything.
            worker = min(idle, key=lambda w: (not (w.alive and w.devices == given), w.alive))
            idle.remove(worker)
            self._begin(worker, artifact, given)
            if not idle:
                return

    def _begin(self, worker: WorkerProcess, artifact: Artifact, devices: tuple[str, ...] | None) -> None:
        del self.waiting[artifact.key]
        layout = self._layout(artifact)
        if len(devices or ()) > 1:  # an idle process keeps some of a device's memory for itself
            for other in self.workers:
                if other.artifact is None and not set(devices or ()).isdisjoint(other.devices or ()):
                    other.close()
        self.view.begin(worker.number, artifact, name_devices(devices or ()))
        order = make_order(self.plan, artifact, self.workspace)
        worker.give(artifact, replicated(order, layout.replicas).to_json(), devices)

    def _layout(self, artifact: Artifact) -> Layout:
        if artifact.key not in self.layouts:
            self.layouts[artifact.key] = lay_out_artifact(artifact, self.devices, self.plan.study.placement)
        return self.layouts[artifact.key]

    def _extend(self, plan: Plan) -> None:
        """Go on with a plan that takes the place of the one before."""
        known = {w.artifact.key for w in self.workers if w.artifact is not None} | self.outcome.failed.keys()
        self.plan = plan
        self.finished |= {a.key for a in plan.artifacts if a.done}
        self.waiting = {a.key: a for a in plan.artifacts if not a.done and a.key not in known}

    def _next(self) -> Artifact | None:
        """The largest artifact that can be begun."""
        return next(iter(self._ready_now()), None)

    def _ready_now(self) -> list[Artifact]:
        """Artifacts that can be begun, the largest first: so no worker is left alone with a long one at the end."""
        now = time.monotonic()
        ready = [i for i in self.waiting.values() if self._ready(i) and self.not_before.get(i.key, 0.0) <= now]
        return sorted(ready, key=lambda i: -i.flops)

    def _later(self) -> bool:
        return any(self._ready(i) for i in self.waiting.values())

    def _ready(self, artifact: Artifact) -> bool:
        """Whether all that it needs is there, and no run whose checkpoint it may start from can still be made."""
        return self.finished.issuperset(artifact.needs) and not any(map(self._may_come, artifact.after))

    def _may_come(self, key: str) -> bool:
        if any(worker.artifact is not None and worker.artifact.key == key for worker in self.workers):
            return True
        return key in self.waiting and all(n in self.finished or self._may_come(n) for n in self.waiting[key].needs)

    def _handle(self, worker: WorkerProcess, event: dict[str, Any]) -> None:
        artifact = worker.artifact
        kind = event["event"]
        if artifact is None or kind == "ready":
            return
        if kind == "progress":
            self.view.progress(worker.number, artifact, event["what"], event["share"])
            return
        worker.artifact = None
        if len(worker.devices or ()) > 1 or event.get("memory"):
            # The ranks of one artifact have a rendezvous of their own; what is left of a full device is in pieces.
            worker.close(kill=kind != "end")
        if kind == "end":
            self._ended(worker, artifact, event["state"])
        elif kind == "claimed":
            if artifact.key not in self.not_before:
                self.view.note(f"{artifact.label}: {event['error']}; waiting")
            self.not_before[artifact.key] = time.monotonic() + CLAIM_WAIT_SECONDS
            self.waiting[artifact.key] = artifact
        elif kind == "failed":
            if event.get("unrecorded"):
                self._record(artifact, event["error"])
            self.outcome.failed[artifact.key] = f"{event['error']} (log: {event['log']})"
            self.view.end(worker.number, artifact, "failed", event["error"])
        elif kind == "died":
            code = event["code"]
            how = f"was killed by signal {-code}" if code < 0 else f"left with exit code {code}"
            self._died(worker, artifact, f"its worker {event.get('error', how)}", explain_exit(code))

    def _ended(self, worker: WorkerProcess, artifact: Artifact, state: str) -> None:
        if state == "done":
            self.finished.add(artifact.key)
            self.outcome.done.append(artifact.key)
        elif state == "diverged":
            self.outcome.diverged.append(artifact.key)
        elif not self.outcome.stopped:
            self._died(worker, artifact, "its worker was stopped by signal 15", "not by pdstudy")
            return
        self.view.end(worker.number, artifact, state, describe_end(artifact, self.workspace))

    def _died(self, worker: WorkerProcess, artifact: Artifact, what: str, hint: str) -> None:
        self.attempts[artifact.key] = self.attempts.get(artifact.key, 0) + 1
        if self.attempts[artifact.key] <= RETRIES:
            self.waiting[artifact.key] = artifact
            self.view.note(f"{artifact.label}: {what}; trying again from the newest checkpoint")
            return
        error = f"{what}, {RETRIES + 1} times ({hint})"
        self._record(artifact, error)
        self.outcome.failed[artifact.key] = error
        self.view.end(worker.number, artifact, "failed", error)

    def _record(self, artifact: Artifact, error: str) -> None:
        """Write down a failure that no worker has."""
        if isinstance(artifact, RunArtifact):
            artifact.directory(self.workspace).set_status("failed", error=error)
        else:
            write_failure(artifact.log(self.workspace), error)

    def _stop(self) -> None:
        """Ctrl-C: each worker saves at its next step boundary; a second Ctrl-C does not wait for that."""
        self.outcome.stopped = True
        self.view.note("stopping: each run saves at its next step (Ctrl-C again: now)")
        try:
            for worker in self.workers:
                worker.stop()
            deadline = time.monotonic() + 60
            while any(w.artifact for w in self.workers) and time.monotonic() < deadline:
                try:
                    self._handle(*self.events.get(timeout=0.2))
                except queue.Empty:
                    continue
        except KeyboardInterrupt:
            return
