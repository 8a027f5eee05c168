"""A job's side: what submitit calls on a node. Makes one unit, or several at a time where they are packed.

An element ends with 0 when its units are made. Told to stop, it has saved all at the end of a step: it then requeues
its own job, unless the user cancelled it or the budget of time limits is spent.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pdstudy.config.logits import StoreSpec
from pdstudy.config.run import Run
from pdstudy.core.claim import Claimed
from pdstudy.core.errors import ConfigError
from pdstudy.launch.stages import perform_claimed, start_folder
from pdstudy.launch.task import Task
from pdstudy.launch.worker import output_to
from pdstudy.slurm.attempt import Attempt, job_element, requeue, why
from pdstudy.slurm.job import file_name
from pdstudy.train.stop_signals import StopSignals
from pdstudy.workspace.layout import Workspace
from pdstudy.workspace.run_dir import RunDir

FAILED = 1


GOES_ON = 75
"""A unit is stopped, saved, and wants to be requeued (EX_TEMPFAIL)."""


STAYS = 77
"""A unit is stopped and saved, and its job is not to be requeued."""


@dataclass(frozen=True)
class Assigned:
    """What `tasks.jsonl` says of one element."""

    header: dict[str, Any]
    parts: list[dict[str, Any]]

    @staticmethod
    def read(path: Path, index: int) -> Assigned:
        with path.open() as file:
            header = json.loads(next(file))
            for number, line in enumerate(file):
                if number == index:
                    return Assigned(header, json.loads(line))
        raise ConfigError(f"{path} has no element {index}")

    @property
    def workspace(self) -> Workspace:
        return Workspace(Path(self.header["workspace"]))


def work(path: str, index: int) -> str:
    """What the pickles call: element `index` of the array described in `path`."""
    with StopSignals() as signals:
        assigned = Assigned.read(Path(path), index)
        os.chdir(assigned.header["cwd"])
        _export_ranks()
        if len(assigned.parts) == 1:
            code = _unit(assigned, 0, signals)
        else:
            code = _packed(path, index, len(assigned.parts), signals)
        if code == GOES_ON and _rank() == 0 and requeue(job_element()):
            # SLURM ends what is left of the job; lingering could only disturb its next start.
            _leave(0)
    if code:
        _leave(code)
    return "done"


def _leave(code: int) -> None:
    """End without Python's farewells: threads of libraries must not hold a rank back."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _rank() -> int:
    return int(os.environ.get("SLURM_PROCID", "0"))


def _unit(assigned: Assigned, part: int, signals: StopSignals) -> int:
    """Make one unit, as one of its ranks; the exit code."""
    told = assigned.parts[part]
    if _rank():
        state = perform_claimed(Task.from_json(told["task"]), _quiet, signals.seen)
        if state == "stopped":
            _leave(0)
        return 0
    workspace, unit = assigned.workspace, told["unit"]
    kind, _, key = unit.partition("/")
    claim = workspace.claim(kind, key)
    task = Task.from_json(told["task"]) if "task" in told else None
    run = workspace.run(task.subject) if task is not None and isinstance(task.subject, Run) else None
    log = task.log if task is not None else workspace.root / "logs" / f"{file_name(unit)}.txt"
    with output_to(log):
        try:
            with Attempt(workspace, unit, claim, run) as attempt:
                return _attempt(assigned, told, task, run, attempt, signals)
        except Claimed as claimed:
            print(claimed, file=sys.stderr)
            return FAILED


def _quiet(what: str, share: float) -> None:
    """Progress of a job is in its files."""


def _attempt(
    assigned: Assigned,
    told: dict[str, Any],
    task: Task | None,
    run: RunDir | None,
    attempt: Attempt,
    signals: StopSignals,
) -> int:
    try:
        if task is None:
            _report(assigned.workspace, told["report"])
            state = "done"
        else:
            lacking = missing_input(task, assigned.workspace)
            if lacking:
                attempt.end("dependency", lacking)
                print(lacking, file=sys.stderr)
                return FAILED
            state = _perform(task, attempt, signals.seen)
    except Exception as error:
        text = traceback.format_exc()
        print(text, file=sys.stderr, flush=True)
        short = str(error) if isinstance(error, ConfigError) else f"{type(error).__name__}: {error}"
        device = "OutOfMemory" in type(error).__name__  # torch's, which has no such class for the host's memory
        memory = device or isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error)
        attempt.end("oom" if memory else "exception", short, **({"device": True} if device else {}))
        if run is not None:
            with contextlib.suppress(OSError):
                run.set_status("failed", error=short)
        return FAILED
    if state == "stopped":
        return _stopped(assigned, attempt)
    attempt.end(state)
    # What needs a diverged teacher must not start; a diverged student is a result.
    return FAILED if state == "diverged" and task is not None and task.kind == "teacher" else 0


def _perform(task: Task, attempt: Attempt, told_to_stop: Callable[[], bool]) -> str:
    def should_stop() -> bool:
        attempt.glance()
        return told_to_stop()

    return perform_claimed(task, _quiet, should_stop, attempt.guard)


def _stopped(assigned: Assigned, attempt: Attempt) -> int:
    """The unit is saved. Whether its job goes on is a question of why it was stopped, and how often before."""
    cause = why(os.environ["SLURM_JOB_ID"], assigned.header["warning_seconds"])
    goes_on = cause != "cancelled"
    if cause == "time":
        goes_on = attempt.ends("time", assigned.header["sent"]) < assigned.header["time_limits"]
    attempt.end(cause, goes_on=goes_on)
    return GOES_ON if goes_on else STAYS


def missing_input(task: Task, workspace: Workspace) -> str | None:
    """What a unit needs and the disk lacks. A dependency on a job that SLURM has forgotten holds nothing back."""
    from pdstudy.workspace.store_index import holds

    subject = task.subject
    if isinstance(subject, Run | StoreSpec) and not (workspace.corpus(subject.corpus) / "manifest.json").exists():
        return f"its corpus {workspace.corpus(subject.corpus)} is not there"
    reads_it = isinstance(subject, StoreSpec) or (isinstance(subject, Run) and subject.is_live)
    if reads_it and isinstance(subject.teacher, Run):
        result = workspace.run(subject.teacher).result()
        if result is None or result["state"] != "done":
            return f"its teacher {workspace.run(subject.teacher).path} is not there"
    if isinstance(subject, Run) and task.store is not None and workspace.run(subject).result() is None:
        store = Path(task.store)
        if not (store / "manifest.json").exists() or not holds(store, subject.view.sequences(subject.data)):
            return f"its logits {store} are not all there"
    if isinstance(subject, Run) and workspace.run(subject).result() is None:
        try:
            start_folder(subject, workspace)
        except ConfigError as lacking:
            return str(lacking)
    if task.model is not None and not Path(task.model).exists():
        return f"its model {task.model} is not there"
    return None


def _export_ranks() -> None:
    """The variables by which torch finds the other ranks, where there are any."""
    if int(os.environ.get("SLURM_NTASKS", "1")) == 1:
        return
    from submitit.helpers import TorchDistributedEnvironment

    TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
    if len(os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")) == 1:
        os.environ["LOCAL_RANK"] = "0"  # the site shows each rank its own GPU only


def _report(workspace: Workspace, told: dict[str, Any]) -> None:
    from pdstudy.analysis.report.study_page import build
    from pdstudy.distill.store.inspection import look_into
    from pdstudy.plan.record import read_record

    record = read_record(workspace, told["study"])
    look_into(workspace.root / "stores" / each["store"] for each in record.get("captures", ()))
    print(build(workspace.root, record, Path(told["out"])))


def _packed(path: str, index: int, count: int, signals: StopSignals) -> int:
    """Each unit in a process of its own, all at a time; GPUs are dealt out in turn."""
    devices = [d for d in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if d]
    children = []
    for part in range(count):
        environment = dict(os.environ)
        if devices:
            environment["CUDA_VISIBLE_DEVICES"] = devices[part % len(devices)]
        command = ["/bin/sh", "-c", 'trap "" USR2 TERM; exec "$@"', "sh", sys.executable, "-m", __name__]
        children.append(subprocess.Popen([*command, path, str(index), str(part)], env=environment))
    while any(child.poll() is None for child in children):
        if signals.seen():  # told again and again: a child that is just starting hears nothing yet
            for child in children:
                child.terminate()
        time.sleep(0.2)
    codes = [child.returncode for child in children]
    for code in (GOES_ON, STAYS):
        if code in codes:
            return code
    return FAILED if any(codes) else 0


def main(path: str, index: str, part: str) -> int:
    """One unit of a packed element."""
    with StopSignals() as signals:
        return _unit(Assigned.read(Path(path), int(index)), int(part), signals)


if __name__ == "__main__":
    _leave(main(*sys.argv[1:]))
