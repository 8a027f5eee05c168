"""A job's side: the function that submitit calls on a node. Makes one artifact, or several at a time where packed.

An element ends with 0 when its jobs are done. Stopped by a signal, it has saved all at the end of a step: it then
requeues itself, unless the user cancelled it or the budget of time limits is spent.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pdstudy.core.claim import Claimed
from pdstudy.core.errors import ConfigError
from pdstudy.core.streams import prepare_streams
from pdstudy.launch.stages import perform_claimed
from pdstudy.launch.work_order import WorkOrder
from pdstudy.launch.worker import output_to
from pdstudy.slurm.attempt import Attempt, job_element
from pdstudy.slurm.job import escape_key
from pdstudy.slurm.stopping import StopRequest, find_stop_cause, requeue
from pdstudy.train.stop_signals import StopSignals
from pdstudy.train.training_job import TrainingJob
from pdstudy.workspace.layout import Workspace
from pdstudy.workspace.run_dir import RunDir

FAILED = 1
"""Exit code of a job that is not done, and not to be requeued."""


REQUEUE = 75
"""Exit code of a job that is stopped, saved, and to be requeued (EX_TEMPFAIL)."""


STAY = 77
"""Exit code of a job that is stopped and saved, and not to be requeued."""


@dataclass(frozen=True)
class ArrayElement:
    """The part of `tasks.jsonl` that concerns one element: the header, and a part per job."""

    header: dict[str, Any]
    parts: list[dict[str, Any]]

    @staticmethod
    def read(path: Path, index: int) -> ArrayElement:
        with path.open() as file:
            header = json.loads(next(file))
            for number, line in enumerate(file):
                if number == index:
                    return ArrayElement(header, json.loads(line))
        raise ConfigError(f"{path} has no element {index}")

    @property
    def warning_seconds(self) -> float:
        return float(self.header["warning_seconds"])

    @property
    def workspace(self) -> Workspace:
        return Workspace(Path(self.header["workspace"]))


def work(path: str, index: int) -> str:
    """Make element `index` of the array described in `path`. submitit's pickles refer to this function by its name."""
    prepare_streams()
    with StopSignals() as signals:
        element = ArrayElement.read(Path(path), index)
        os.chdir(element.header["cwd"])
        _export_ranks()
        if len(element.parts) == 1:
            code = _make_part(element, 0, signals)
        else:
            code = _make_packed(path, index, element, signals)
        if code == REQUEUE and _rank() == 0 and requeue(job_element()):
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


def _make_part(element: ArrayElement, index: int, signals: StopSignals) -> int:
    """Make one job's artifact, as one of its ranks; the exit code."""
    part = element.parts[index]
    if _rank():
        stop = StopRequest(signals, element.warning_seconds, main=False)
        state = perform_claimed(WorkOrder.from_json(part["task"]), _ignore_progress, stop)
        if state == "stopped":
            _leave(0)
        return 0
    workspace, job = element.workspace, part["unit"]
    kind, _, key = job.partition("/")
    claim = workspace.claim(kind, key)
    order = WorkOrder.from_json(part["task"]) if "task" in part else None
    run = RunDir(order.work.directory) if order is not None and isinstance(order.work, TrainingJob) else None
    log = order.log if order is not None else workspace.root / "logs" / f"{escape_key(job)}.txt"
    with output_to(log):
        try:
            with Attempt(workspace, job, claim, run) as attempt:
                stop = StopRequest(signals, element.warning_seconds)
                return _carry_out(element, part, order, run, attempt, stop)
        except Claimed as claimed:
            print(claimed, file=sys.stderr)
            return FAILED


def _ignore_progress(what: str, share: float) -> None:
    """The progress of a job is in its files."""


def _carry_out(
    element: ArrayElement,
    part: dict[str, Any],
    order: WorkOrder | None,
    run: RunDir | None,
    attempt: Attempt,
    stop: StopRequest,
) -> int:
    try:
        if order is None:
            _make_report(element.workspace, part["report"])
            state = "done"
        else:
            lacking = order.work.missing_input()
            if lacking:
                attempt.end("dependency", lacking)
                print(lacking, file=sys.stderr)
                return FAILED
            state = _perform(order, attempt, stop)
    except Exception as error:
        words = isinstance(error, ConfigError)  # they say what is wrong, and where
        short = str(error) if words else f"{type(error).__name__}: {error}"
        print(short if words else traceback.format_exc(), file=sys.stderr, flush=True)
        device = "OutOfMemory" in type(error).__name__  # torch's, which has no such class for the host's memory
        memory = device or isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error)
        with contextlib.suppress(OSError):  # a full disk, which is what failed, takes no more rows
            attempt.end("oom" if memory else "exception", short, **({"device": True} if device else {}))
            if run is not None:
                run.set_status("failed", error=short)
        return FAILED
    if state == "stopped":
        return _end_stopped(element, attempt)
    attempt.end(state)
    # What needs a diverged teacher must not start; a diverged student is a result.
    return FAILED if state == "diverged" and order is not None and order.kind == "teacher" else 0


def _perform(order: WorkOrder, attempt: Attempt, stop: StopRequest) -> str:
    def should_stop() -> bool:
        attempt.guard_step()
        return stop()

    return perform_claimed(order, _ignore_progress, should_stop, attempt.guard)


def _end_stopped(element: ArrayElement, attempt: Attempt) -> int:
    """The exit code of a job that is saved. Whether it goes on depends on why it was stopped, and how often before."""
    cause = find_stop_cause(element.warning_seconds)
    if cause == "requeued":  # it goes on, and SLURM needs no more for that
        attempt.end("preempted", "SLURM has put the job back into the queue", goes_on=True)
        return STAY
    goes_on = cause != "cancelled"
    if cause == "time":
        goes_on = attempt.count_endings("time") < element.header["time_limits"]
    attempt.end(cause, goes_on=goes_on)
    return REQUEUE if goes_on else STAY


def _export_ranks() -> None:
    """Set the variables by which torch finds the other ranks, where there are any."""
    if int(os.environ.get("SLURM_NTASKS", "1")) == 1:
        return
    from submitit.helpers import TorchDistributedEnvironment

    TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
    if len(os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")) == 1:
        os.environ["LOCAL_RANK"] = "0"  # the site shows each rank its own GPU only


def _make_report(workspace: Workspace, report: dict[str, Any]) -> None:
    from pdstudy.analysis.data.excerpt import Report
    from pdstudy.analysis.report.write_report import write_report
    from pdstudy.distill.store.inspection import look_into
    from pdstudy.plan.record import read_record

    record = read_record(workspace, report["study"])
    look_into(workspace.root / "stores" / capture["store"] for capture in record.get("captures", ()))
    print(write_report(workspace.root, Report(record["title"], (record,)), Path(report["out"])))


def _make_packed(path: str, index: int, element: ArrayElement, signals: StopSignals) -> int:
    """Make each job of an element in a process of its own, all at a time; GPUs are dealt out in turn."""
    devices = [d for d in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if d]
    stop = StopRequest(signals, element.warning_seconds)
    children = []
    for part in range(len(element.parts)):
        environment = dict(os.environ)
        if devices:
            environment["CUDA_VISIBLE_DEVICES"] = devices[part % len(devices)]
        command = ["/bin/sh", "-c", 'trap "" USR2 TERM; exec "$@"', "sh", sys.executable, "-m", __name__]
        children.append(subprocess.Popen([*command, path, str(index), str(part)], env=environment))
    while any(child.poll() is None for child in children):
        if stop():  # again and again: a child that is just starting hears nothing yet
            for child in children:
                child.terminate()
        time.sleep(0.2)
    codes = [child.returncode for child in children]
    for code in (REQUEUE, STAY):
        if code in codes:
            return code
    return FAILED if any(codes) else 0


def main(path: str, index: str, part: str) -> int:
    """Make one job of a packed element."""
    with StopSignals() as signals:
        return _make_part(ArrayElement.read(Path(path), int(index)), int(part), signals)


if __name__ == "__main__":
    _leave(main(*sys.argv[1:]))
