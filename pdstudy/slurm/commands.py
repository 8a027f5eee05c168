"""`pdstudy submit` and `cancel`, and the topping up of `status --watch`. Return data; `pdstudy.cli` prints it."""

from __future__ import annotations

import dataclasses
import functools
import getpass
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pdstudy.config.placement import Execution
from pdstudy.core.errors import ConfigError
from pdstudy.core.identity import decode
from pdstudy.plan.plan import Plan
from pdstudy.plan.record import write_record
from pdstudy.slurm import scheduler as slurm
from pdstudy.slurm import snapshot
from pdstudy.slurm.arrays import Array
from pdstudy.slurm.job import Job, count_without_gpu, make_job_order, make_jobs, make_report_job
from pdstudy.slurm.ledger import Ledger, lock_ledger, slurm_folder
from pdstudy.slurm.outcomes import NO_HISTORY, JobHistory, find_held_jobs
from pdstudy.slurm.profiles import load_profile
from pdstudy.slurm.reconcile import decide, should_retry
from pdstudy.slurm.sbatch import Cluster, finish_submission, render_sbatch, require_plain_path
from pdstudy.slurm.scheduler import Limits, Queue, Unanswered
from pdstudy.slurm.sent_jobs import (
    find_all_sent,
    find_earlier_jobs,
    find_sent_keys,
    list_open_artifacts,
    read_histories,
    read_queue,
    strip_slice,
)
from pdstudy.slurm.submit import SubmitOutcome, adopt, submit
from pdstudy.workspace.layout import Workspace

MEMORY_FACTOR = 2.0
"""By how much the memory of a job that ran out of it grows when it is tried again."""


@dataclass(frozen=True)
class Request:
    """The options of a submit; kept in the ledger with what could not be sent.

    `report`: whether the study's record is written and its report made, which takes all of its runs.
    """

    profile: str | None = None
    settings: tuple[str, ...] = ()
    retry: tuple[str, ...] = ()
    only: str | None = None
    report: bool = True

    @property
    def whole(self) -> bool:
        return self.report and self.only is None


def submit_study(
    make_plan: Callable[[], Plan],
    workspace: Workspace,
    request: Request,
    *,
    among: Collection[str] | None = None,
    note: Callable[[str], None] = lambda line: None,
) -> tuple[Plan, SubmitOutcome]:
    """Send all of a study that is neither done nor live; `among`: only these jobs. Returns at once, but where it waits
    for another command to send, which `note` says."""
    slurm.require_slurm()
    require_plain_path(workspace)
    profile = load_profile(request.profile, request.settings)
    with lock_ledger(workspace, note):
        ledger = Ledger.of(workspace)
        # The queue before the disk: what is not alive then, and not done afterwards, is nowhere.
        queue = read_queue(ledger)
        if not queue.known:
            raise Unanswered("SLURM's controller does not answer (squeue failed); nothing was sent, try again later")
        plan = make_plan()
        rules = profile.rules(plan.study.executions)
        plan.check_here(packages=not any(rule.container for rule in rules))  # a container has packages of its own
        jobs = make_jobs(plan, rules, workspace)
        report = make_report_job(plan.study.name, rules) if request.whole else None
        cluster = _make_cluster(plan, workspace)
        adopt(ledger, queue, functools.partial(finish_submission, workspace))
        keys = [job.key for job in jobs if not job.done] + [f"report/{plan.study.name}"]
        histories = read_histories(keys, ledger, queue, workspace)
        jobs, histories = _apply_retry(jobs, histories, ledger, plan.study.name, request.retry, keys, queue, workspace)
        if request.whole:
            write_record(plan, workspace)
        details = {"user": getpass.getuser(), "code": cluster.code.name}
        outcome = submit(jobs, histories, ledger, cluster, plan.study.name, report=report, among=among,
                         details=details, request=dataclasses.asdict(request),
                         held=find_held_jobs(find_all_sent(plan, ledger), ledger, queue, getpass.getuser()),
                         beyond=_list_kept_beyond(ledger, jobs, plan.study.name) if request.only else ())  # fmt: skip
        outcome.without_gpu = count_without_gpu(plan, jobs)
        if request.whole:
            outcome.earlier = tuple(find_earlier_jobs(plan, ledger, queue, details["user"]))
    return plan, outcome


def _list_kept_beyond(ledger: Ledger, jobs: Sequence[Job], study: str) -> list[str]:
    """Keys of a study's jobs that are kept back and are none of these: `submit --only` leaves them as they are."""
    keys = {job.key for job in jobs}
    return [key for key in ledger.kept.get(study, {}).get("units", ()) if key not in keys]


def top_up(make_plan: Callable[[], Plan], workspace: Workspace, study: str) -> SubmitOutcome | None:
    """Send what the last submit kept back, with its options; None where nothing is kept."""
    kept = Ledger.of(workspace).kept.get(study)
    if kept is None or not kept["units"]:
        return None
    options = kept["request"]
    request = Request(options["profile"], tuple(options["settings"]), (), options["only"], options.get("report", True))
    return submit_study(make_plan, workspace, request, among=set(kept["units"]))[1]


def _make_cluster(plan: Plan, workspace: Workspace) -> Cluster:
    artifacts = {artifact.key: artifact for artifact in plan.artifacts}
    out = str((Path("reports") / plan.study.name).resolve())

    def describe(job: Job) -> dict[str, Any]:
        if job.stage == "report":
            return {"unit": job.key, "report": {"study": plan.study.name, "out": out}}
        return {"unit": job.key, "task": make_job_order(plan, job, artifacts[job.artifact], workspace).to_json()}

    code = snapshot.take_snapshot(workspace)
    threads = plan.study.placement.threads
    return Cluster(workspace, plan.study.name, describe, code=code, threads=threads)


def _apply_retry(
    jobs: Sequence[Job],
    histories: dict[str, JobHistory],
    ledger: Ledger,
    study: str,
    causes: Sequence[str],
    keys: Sequence[str],
    queue: Queue,
    workspace: Workspace,
) -> tuple[list[Job], dict[str, JobHistory]]:
    """Jobs and histories after the user's `--retry`: earlier endings of the jobs concerned do not count any more, and
    what ran out of memory asks for more."""
    stay = decide(jobs, histories).stay
    retried = [key for key, cause in stay.items() if cause in causes or "all" in causes]
    if retried:
        ledger.append("retry", study=study, units=retried, causes={key: stay[key] for key in retried})
        histories = read_histories(keys, ledger, queue, workspace)
    return [_add_memory(job, histories.get(job.key, NO_HISTORY), ledger) for job in jobs], histories


def _add_memory(job: Job, history: JobHistory, ledger: Ledger) -> Job:
    """The job, asking for more memory than it had where it ran out of it, and for no less ever after. A device's memory
    is none that SLURM could give more of."""
    ran_out = [end.cause == "oom" and not end.device for end in history.endings]
    if job.done or history.live or history.last is None or not any(ran_out) or not should_retry(history, job.execution):
        return job
    before = decode(ledger.arrays[history.last.array].row["execution"])
    assert isinstance(before, Execution)
    factor = MEMORY_FACTOR if ran_out[-1] else 1.0
    memory = max(factor * (before.memory_gb or 0.0), job.execution.memory_gb or 0.0)
    if not memory:
        raise ConfigError(
            f"{job.label or job.key} ran out of memory, and its job has no memory_gb: set it, "
            f"e.g. --set {job.stage}.memory_gb=16"
        )
    return dataclasses.replace(job, execution=dataclasses.replace(job.execution, memory_gb=memory))


def preview(plan: Plan, workspace: Workspace, request: Request) -> tuple[list[Job], list[tuple[Array, str]]]:
    """The jobs of a study, and what a submit would give to sbatch now; sends and writes nothing."""
    require_plain_path(workspace)
    rules = load_profile(request.profile, request.settings).rules(plan.study.executions)
    jobs = make_jobs(plan, rules, workspace)
    ledger = Ledger.of(workspace).copy()
    available = slurm.available()
    queue = read_queue(ledger) if available else Queue(known=False)
    keys = [job.key for job in jobs if not job.done]
    histories = read_histories(keys, ledger, queue, workspace)
    jobs, histories = _apply_retry(jobs, histories, ledger, plan.study.name, request.retry, keys, queue, workspace)
    rehearsal = _Rehearsal(plan, workspace, slurm.read_limits() if available and queue.known else Limits())
    report = make_report_job(plan.study.name, rules) if request.whole else None
    submit(jobs, histories, ledger, rehearsal, plan.study.name, report=report)
    return jobs, rehearsal.sent


class _Rehearsal:
    """A `pdstudy.slurm.submit.Scheduler` that takes everything, calls the jobs JOB1, JOB2, ... and does nothing."""

    def __init__(self, plan: Plan, workspace: Workspace, limits: Limits) -> None:
        self._plan, self._workspace, self._limits = plan, workspace, limits
        self.sent: list[tuple[Array, str]] = []

    def limits(self) -> Limits:
        return self._limits

    def release(self, elements: Sequence[str]) -> None:
        pass

    def send(self, array_id: str, array: Array, after: str) -> str:
        code, study = slurm_folder(self._workspace) / "code" / "HASH", self._plan.study
        text = render_sbatch(array, after, study.name, self._workspace, code, study.placement.threads)
        self.sent.append((array, text))
        return f"JOB{len(self.sent)}"


def drop_shared(plan: Plan, whole: Plan) -> Plan:
    """The plan of some runs without what other runs of the whole study need, too."""
    mine = {artifact.key for artifact in plan.artifacts}
    needed: set[str] = set()
    for artifact in reversed(whole.artifacts):
        if artifact.key in needed or (artifact.key not in mine and not artifact.done):
            needed |= set(artifact.needs)
    return dataclasses.replace(plan, artifacts=tuple(a for a in plan.artifacts if a.cells or a.key not in needed))


@dataclass(frozen=True)
class CancelOutcome:
    """The result of a cancel."""

    cancelled: tuple[str, ...]
    """Keys of the plan's jobs."""
    sent_by_others: tuple[str, ...]
    """Those of them that another study sent."""
    earlier: tuple[str, ...]
    """Elements of jobs of an earlier declaration of the study, cancelled too."""


def cancel_study(plan: Plan, workspace: Workspace, *, note: Callable[[str], None] = lambda line: None) -> CancelOutcome:
    """Cancel the living jobs of a plan's artifacts, and those of an earlier declaration of its study; let go of what
    was kept back of them."""
    slurm.require_slurm()
    study = plan.study.name
    with lock_ledger(workspace, note):
        ledger = Ledger.of(workspace)
        queue = read_queue(ledger)
        if not queue.known:
            raise Unanswered("SLURM's controller does not answer (squeue failed); nothing was cancelled")
        adopt(ledger, queue, functools.partial(finish_submission, workspace))
        histories = read_histories(find_sent_keys(plan, ledger), ledger, queue, workspace)
        live = {key: history for key, history in histories.items() if history.element is not None}
        kept = ledger.kept.get(study)
        if kept and kept["units"]:
            ours = list_open_artifacts(plan)
            left = [key for key in kept["units"] if strip_slice(key) not in ours]
            ledger.append("kept", study=study, units=left, reason=kept["reason"], request=kept["request"])
        # All that lives of them: reports queue up, each after the one before.
        living = {element for element, queued in queue.jobs.items() if queued.live}
        elements = {str(s.element) for key in live for s in ledger.sent(key) if s.element in living}
        elements |= set(find_held_jobs(find_all_sent(plan, ledger), ledger, queue))
        earlier = find_earlier_jobs(plan, ledger, queue, getpass.getuser())
        elements |= set(earlier)
        if elements:
            # Noted first: whoever watches must not take them for dropped, nor send them again.
            keys = dict.fromkeys([*live, *(key for keys in earlier.values() for key in keys)])
            if keys:
                ledger.append("cancelled", study=study, units=list(keys))
            slurm.cancel(_name_whole_arrays(elements, queue))
        others = [k for k, h in live.items() if h.last and ledger.arrays[h.last.array].row["study"] != study]
    return CancelOutcome(tuple(live), tuple(others), tuple(earlier))


def _name_whole_arrays(elements: Collection[str], queue: Queue) -> list[str]:
    """The elements, with whole arrays by their id, where all that lives of them is meant."""
    living: dict[str, set[str]] = {}
    for element, queued in queue.jobs.items():
        if queued.live:
            living.setdefault(element.partition("_")[0], set()).add(element)
    by_array: dict[str, set[str]] = {}
    for element in elements:
        by_array.setdefault(element.partition("_")[0], set()).add(element)
    names: list[str] = []
    for array, members in sorted(by_array.items()):
        names += [array] if living.get(array) == members else sorted(members)
    return names
