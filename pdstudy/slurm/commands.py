"""`pdstudy submit`, `cancel`, and the topping up of `status --watch`."""

from __future__ import annotations

import dataclasses
import functools
import getpass
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pdstudy.config.placement import Execution
from pdstudy.core.claim import Claim
from pdstudy.core.errors import ConfigError
from pdstudy.core.identity import decode
from pdstudy.plan.plan import Plan
from pdstudy.plan.record import write_record
from pdstudy.slurm import scheduler as slurm
from pdstudy.slurm import snapshot
from pdstudy.slurm.arrays import Array
from pdstudy.slurm.attempt import read_attempts
from pdstudy.slurm.job import Job, jobs_of, report_job, task_of
from pdstudy.slurm.ledger import Ledger, Sent, slurm_folder
from pdstudy.slurm.outcomes import NOTHING, JobHistory, gather, held_jobs
from pdstudy.slurm.profiles import load_profile
from pdstudy.slurm.reconcile import decide, should_retry
from pdstudy.slurm.sbatch import Cluster, finish_submission, last_words, sbatch_text
from pdstudy.slurm.scheduler import Limits, Queue, Unanswered
from pdstudy.slurm.submit import SubmitOutcome, adopt, submit
from pdstudy.workspace.layout import Workspace

MORE_MEMORY = 2.0
"""How much more a unit that ran out of memory asks for when it is tried again."""


@dataclass(frozen=True)
class Request:
    """What the user asked of `submit`; kept in the ledger with what could not be sent.

    `report`: whether the study's record is written and its report made, which takes all of its cells.
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
    planned: Callable[[], Plan], workspace: Workspace, request: Request, *, among: Collection[str] | None = None
) -> tuple[Plan, SubmitOutcome]:
    """Send all of a study that is neither done nor live; `among`: only these units. Returns at once."""
    slurm.require_slurm()
    profile = load_profile(request.profile, request.settings)
    with Claim(slurm_folder(workspace) / "submit.claim", "sending to the cluster"):
        ledger = Ledger.of(workspace)
        # The queue before the disk: what is not alive then, and not done afterwards, is nowhere.
        queue = read_queue(ledger)
        if not queue.known:
            raise Unanswered("SLURM's controller does not answer (squeue failed); nothing was sent, try again later")
        plan = planned()
        plan.check_here()
        rules = profile.rules(plan.study.executions)
        units = jobs_of(plan, rules, workspace)
        report = report_job(plan.study.name, rules) if request.whole else None
        cluster = _cluster(plan, workspace)
        adopt(ledger, queue, functools.partial(finish_submission, workspace))
        wanted = [u.key for u in units if not u.done] + [f"report/{plan.study.name}"]
        facts = gather_facts(wanted, ledger, queue, workspace)
        units, facts = _retried(units, facts, ledger, plan.study.name, request.retry, wanted, queue, workspace)
        if request.whole:
            write_record(plan, workspace)
        details = {"user": getpass.getuser(), "code": cluster.code.name}
        outcome = submit(units, facts, ledger, cluster, plan.study.name, report=report, among=among,
                         details=details, request=dataclasses.asdict(request),
                         held=held_jobs(_sent_of(plan, ledger), ledger, queue, getpass.getuser()),
                         beyond=_beyond(ledger, units, plan.study.name) if request.only else ())  # fmt: skip
    return plan, outcome


def read_queue(ledger: Ledger) -> Queue:
    """One squeue call, for all who have sent anything from this workspace."""
    return slurm.read_queue(users_of(ledger))


def users_of(ledger: Ledger) -> list[str]:
    return sorted({str(a.row["user"]) for a in ledger.arrays.values()})


def gather_facts(units: Sequence[str], ledger: Ledger, queue: Queue, workspace: Workspace) -> dict[str, JobHistory]:
    """Facts from the real places: attempts on disk, accounting where there is some, logs beside the jobs."""

    def log(sent: Sent) -> str:
        return last_words(workspace, ledger, sent.array, sent.index)

    return gather(units, ledger, queue, lambda unit: read_attempts(workspace, unit), slurm.ended_jobs, log)


def _beyond(ledger: Ledger, units: Sequence[Job], study: str) -> list[str]:
    """What is kept back of a study beside these units: `submit --only` leaves it as it is."""
    keys = {unit.key for unit in units}
    return [key for key in ledger.kept.get(study, {}).get("units", ()) if key not in keys]


def top_up(planned: Callable[[], Plan], workspace: Workspace, study: str) -> SubmitOutcome | None:
    """Send what the last submit kept back, as it was asked for then; None where nothing is kept."""
    kept = Ledger.of(workspace).kept.get(study)
    if kept is None or not kept["units"]:
        return None
    asked = kept["request"]
    request = Request(asked["profile"], tuple(asked["settings"]), (), asked["only"], asked.get("report", True))
    return submit_study(planned, workspace, request, among=set(kept["units"]))[1]


def _cluster(plan: Plan, workspace: Workspace) -> Cluster:
    items = {i.key: i for i in plan.items}
    out = str((Path("reports") / plan.study.name).resolve())

    def describe(unit: Job) -> dict[str, Any]:
        if unit.stage == "report":
            return {"unit": unit.key, "report": {"study": plan.study.name, "out": out}}
        return {"unit": unit.key, "task": task_of(plan, unit, items[unit.item], workspace).to_json()}

    code = snapshot.take(workspace)
    threads = plan.study.placement.threads
    return Cluster(workspace, plan.study.name, describe, code=code, threads=threads)


def _retried(
    units: Sequence[Job],
    facts: dict[str, JobHistory],
    ledger: Ledger,
    study: str,
    causes: Sequence[str],
    wanted: Sequence[str],
    queue: Queue,
    workspace: Workspace,
) -> tuple[list[Job], dict[str, JobHistory]]:
    """Units and facts after the user's `--retry`: earlier ends of the units concerned do not count any more, and what
    ran out of memory asks for more."""
    stay = decide(units, facts).stay
    again = [key for key, cause in stay.items() if cause in causes or "all" in causes]
    if again:
        ledger.append("retry", study=study, units=again, causes={key: stay[key] for key in again})
        facts = gather_facts(wanted, ledger, queue, workspace)
    return [_with_more_memory(unit, facts.get(unit.key, NOTHING), ledger) for unit in units], facts


def _with_more_memory(unit: Job, fact: JobHistory, ledger: Ledger) -> Job:
    """A unit that ran out of memory asks for more than it had then, and for no less ever after. A device's memory is
    none that SLURM could give more of."""
    ends = [end.cause == "oom" and not end.device for end in fact.ends]
    if unit.done or fact.live or fact.last is None or not any(ends) or not should_retry(fact, unit.execution):
        return unit
    before = decode(ledger.arrays[fact.last.array].row["execution"])
    assert isinstance(before, Execution)
    factor = MORE_MEMORY if ends[-1] else 1.0
    memory = max(factor * (before.memory_gb or 0.0), unit.execution.memory_gb or 0.0)
    if not memory:
        raise ConfigError(
            f"{unit.label or unit.key} ran out of memory, and no memory_gb was asked for: set it, "
            f"e.g. --set {unit.stage}.memory_gb=16"
        )
    return dataclasses.replace(unit, execution=dataclasses.replace(unit.execution, memory_gb=memory))


def preview(plan: Plan, workspace: Workspace, request: Request) -> tuple[list[Job], list[tuple[Array, str]]]:
    """The units of a study, and what a submit would give to sbatch now; sends and writes nothing."""
    rules = load_profile(request.profile, request.settings).rules(plan.study.executions)
    units = jobs_of(plan, rules, workspace)
    ledger = Ledger.of(workspace).copy()
    there = slurm.available()
    queue = read_queue(ledger) if there else Queue(known=False)
    wanted = [u.key for u in units if not u.done]
    facts = gather_facts(wanted, ledger, queue, workspace)
    units, facts = _retried(units, facts, ledger, plan.study.name, request.retry, wanted, queue, workspace)
    paper = _Paper(plan, workspace, slurm.read_limits() if there and queue.known else Limits())
    report = report_job(plan.study.name, rules) if request.whole else None
    submit(units, facts, ledger, paper, plan.study.name, report=report)
    return units, paper.sent


class _Paper:
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
        text = sbatch_text(array, after, study.name, self._workspace, code, study.placement.threads)
        self.sent.append((array, text))
        return f"JOB{len(self.sent)}"


def without_shared(plan: Plan, whole: Plan) -> Plan:
    """The plan of some cells without what other cells of the whole study need, too."""
    mine = {item.key for item in plan.items}
    needed: set[str] = set()
    for item in reversed(whole.items):
        if item.key in needed or (item.key not in mine and not item.done):
            needed |= set(item.needs)
    return dataclasses.replace(plan, items=tuple(i for i in plan.items if i.cells or i.key not in needed))


def cancel_study(plan: Plan, workspace: Workspace) -> tuple[list[str], list[str]]:
    """Cancel the living jobs of a plan's items, and let go of what was kept back of them: (unit keys cancelled, those
    of them that another study sent)."""
    slurm.require_slurm()
    study = plan.study.name
    with Claim(slurm_folder(workspace) / "submit.claim", "sending to the cluster"):
        ledger = Ledger.of(workspace)
        queue = read_queue(ledger)
        if not queue.known:
            raise Unanswered("SLURM's controller does not answer (squeue failed); nothing was cancelled")
        adopt(ledger, queue, functools.partial(finish_submission, workspace))
        facts = gather_facts(units_known(plan, ledger), ledger, queue, workspace)
        live = {key: fact for key, fact in facts.items() if fact.element is not None}
        kept = ledger.kept.get(study)
        if kept and kept["units"]:
            ours = item_keys(plan)
            left = [key for key in kept["units"] if item_of(key) not in ours]
            ledger.append("kept", study=study, units=left, reason=kept["reason"], request=kept["request"])
        elements = {str(fact.element) for fact in live.values()} | set(held_jobs(_sent_of(plan, ledger), ledger, queue))
        if elements:
            # Noted first: whoever watches must not take them for dropped, nor send them again.
            if live:
                ledger.append("cancelled", study=study, units=list(live))
            slurm.cancel(_compact(elements, queue))
        others = [k for k, f in live.items() if f.last and ledger.arrays[f.last.array].row["study"] != study]
    return list(live), others


def _compact(elements: Collection[str], queue: Queue) -> list[str]:
    """Whole arrays by their job, where all that lives of them is meant."""
    living: dict[str, set[str]] = {}
    for element, job in queue.jobs.items():
        if job.live:
            living.setdefault(element.partition("_")[0], set()).add(element)
    by_job: dict[str, set[str]] = {}
    for element in elements:
        by_job.setdefault(element.partition("_")[0], set()).add(element)
    out: list[str] = []
    for number, members in sorted(by_job.items()):
        out += [number] if living.get(number) == members else sorted(members)
    return out


def units_known(plan: Plan, ledger: Ledger, *, done: bool = False) -> list[str]:
    """The units of a plan that were ever sent and are not done (or are), and its report with the former.

    Slices are found by the store that they belong to.
    """
    keys = {f"{i.kind}/{i.key}" for i in plan.items if i.done} if done else item_keys(plan)
    return [unit for unit in ledger.sendings if item_of(unit) in keys]


def _sent_of(plan: Plan, ledger: Ledger) -> list[str]:
    """All units of a plan that were ever sent, whatever slices they were sent in."""
    return [*units_known(plan, ledger), *units_known(plan, ledger, done=True)]


def item_keys(plan: Plan) -> set[str]:
    """The items of a plan that are not done, as kinds and keys, and the report of all its cells."""
    report = {f"report/{plan.study.name}"} if plan.study.only is None else set()
    return {f"{i.kind}/{i.key}" for i in plan.items if not i.done} | report


def item_of(unit: str) -> str:
    """A unit's key without its slice: `logits/SPEC/COVERAGE/0-400` -> `logits/SPEC/COVERAGE`."""
    return "/".join(unit.split("/")[:3]) if unit.startswith("logits/") else unit
