"""Submissions, what the cluster says of them, and waste, in words and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pdstudy.cli.tables import print_table
from pdstudy.cli.terminal import say, say_warning
from pdstudy.core.format import device_time, duration, hours, size
from pdstudy.core.streams import printable
from pdstudy.plan.account import totals
from pdstudy.plan.memory import declared_memory, memory_warnings
from pdstudy.plan.plan import Plan
from pdstudy.slurm.arrays import Array
from pdstudy.slurm.cluster_status import ClusterStatus
from pdstudy.slurm.cost import longest_chain_hours, stage_prices
from pdstudy.slurm.gc import Waste
from pdstudy.slurm.job import Job, count_without_gpu
from pdstudy.slurm.submit import SubmitOutcome

SHOWN = 12
"""Jobs, refusals or names listed at most."""


def print_preview(plan: Plan, jobs: Sequence[Job], arrays: Sequence[tuple[Array, str]]) -> None:
    """Print the price of a submission, and each array's text for sbatch; of a finished study that it is finished."""
    if not arrays and all(job.done for job in jobs):
        say(_describe_finished(plan))
        return
    prices = stage_prices(jobs, plan.rate)
    unit = plan.study.machine.unit
    rows = [
        [p.stage, str(p.units), hours(p.device_hours), hours(p.node_hours), hours(p.longest_hours),
         str(p.over_limit or "")]
        for p in prices
    ]  # fmt: skip
    header = ["stage", "artifacts", unit, "node-hours", "longest, hours", "longer than one job"]
    print_table(header, rows, right=frozenset({1, 2, 3, 4, 5}))
    say(
        f"\nin all {device_time(sum(p.device_hours for p in prices), unit)}, "
        f"{hours(sum(p.node_hours for p in prices))} node-hours, {size(totals(plan)['bytes_todo'])} on disk; "
        f"longest chain {duration(3600 * longest_chain_hours(jobs, plan.rate))} without waiting"
    )
    say(f"at {plan.rate / 1e9:,.3g} GFLOP/s per device: {plan.rate_source}")
    executions = {job.artifact: job.execution for job in jobs}
    too_large = memory_warnings(plan, lambda artifact: executions[artifact.key], declared_memory)
    for warning in (*plan.warnings, *too_large):
        say_warning(warning)
    for p in prices:
        if p.over_budget:
            say_warning(
                f"{p.over_budget} of {p.stage} take more jobs than time_limits lets them go on in: "
                f"raise {p.stage}.minutes or {p.stage}.time_limits"
            )
    _warn_without_gpu(count_without_gpu(plan, jobs), unit)
    for number, (array, text) in enumerate(arrays, 1):
        say(f"\n== JOB{number}: {array.stage}, {_jobs(len(array.elements))}")
        say(text.rstrip())
    if not arrays:
        say("nothing to send")


def _describe_finished(plan: Plan) -> str:
    return f"{plan.study.name}: all {len(plan.artifacts)} artifacts exist; nothing to send"


def _some(elements: Sequence[str]) -> str:
    """The first elements of a list."""
    return ", ".join(elements[:SHOWN]) + (", ..." if len(elements) > SHOWN else "")


def print_outcome(plan: Plan, outcome: SubmitOutcome, call: str) -> None:
    """Print what a submit came to; `call` is the study as it was named on the command line."""
    labels = {a.id: f"{a.kind} {printable(a.label)}" for a in plan.artifacts}
    decision = outcome.decision
    for job, array in outcome.sent[:SHOWN]:
        say(f"sent {array.stage}: job {job}, {_jobs(len(array.elements))}")
    if len(outcome.sent) > SHOWN:
        say(f"... and {len(outcome.sent) - SHOWN} more arrays")
    if outcome.report:
        say(f"sent report: job {outcome.report}, after all of these")
    if decision.live:
        say(f"{len(decision.live)} already queued or running")
    if outcome.released:
        say(f"released {_some(outcome.released)}, which SLURM held: a node could not start it, or it started too often")
    for key, reason in list(outcome.refused.items())[:SHOWN]:
        say(f"refused: {labels.get(key, key)}: {reason}")
    for cause, count in Counter(decision.stay.values()).items():
        first = next(labels.get(k, k) for k, c in decision.stay.items() if c == cause)
        if cause != "not requested":
            say(f"{count} not sent again after {cause} ({first}{', ...' if count > 1 else ''}): --retry {cause}")
    if decision.blocked:
        say(f"{len(decision.blocked)} not sent: what they need failed")
    if outcome.kept:
        say(
            f"{len(outcome.kept)} kept back ({outcome.reason}); `pdstudy submit {call}` or "
            f"`pdstudy status {call} --watch` sends them when there is room"
        )
    _warn_without_gpu(outcome.without_gpu, plan.study.machine.unit)
    if outcome.earlier:
        say(_describe_earlier(len(outcome.earlier)) + f"; `pdstudy cancel {call}` ends them, with all others")
    sent_or_not = (outcome.sent, outcome.report, outcome.released, outcome.kept, outcome.refused)
    if not any((*sent_or_not, decision.live, decision.stay)):
        say(_describe_finished(plan))
    elif outcome.sent:
        say(f"next: pdstudy status {call} --watch")


def _warn_without_gpu(counts: Mapping[str, int], unit: str) -> None:
    for stage, count in counts.items():
        say_warning(f"{_jobs(count)} of {stage} priced in {unit} ask for no GPU: set gpus, e.g. --set {stage}.gpus=1")


def _describe_earlier(count: int) -> str:
    return f"{_jobs(count)} of an earlier declaration of this study {'is' if count == 1 else 'are'} queued or running"


def print_cluster(cluster: ClusterStatus) -> None:
    """Print what a status adds about the cluster: what was kept back, what SLURM holds, whether it answers."""
    if cluster.kept:
        say(f"{len(cluster.kept)} kept back: {cluster.reason}")
    if cluster.earlier:
        say(_describe_earlier(len(cluster.earlier)) + "; `pdstudy cancel` ends them, with all others")
    if cluster.held:
        say(f"SLURM holds {_some(cluster.held)}: a node could not start it, or it started too often; "
            "`pdstudy submit`, by whoever sent it, releases it")  # fmt: skip
    if not cluster.answered:
        say("the scheduler does not answer: what was sent is shown as the files have it")


def outcome_json(outcome: SubmitOutcome) -> dict[str, Any]:
    """The outcome of a submit, as plain data."""
    decision = outcome.decision
    return {
        "sent": [
            {"job": job, "stage": array.stage, "elements": array.keys, "memory_gb": array.execution.memory_gb}
            for job, array in outcome.sent
        ],
        "report": outcome.report,
        "live": dict(decision.live),
        "stay": dict(decision.stay),
        "blocked": dict(decision.blocked),
        "released": list(outcome.released),
        "kept": outcome.kept,
        "reason": outcome.reason,
        "refused": outcome.refused,
    }


def print_waste(found: Sequence[Waste], *, deleted: bool) -> None:
    """Print what a workspace does not need, or that it was deleted."""
    rows = [[size(w.bytes), str(w.path), w.why] for w in found] if not deleted else []
    if rows:
        print_table(["size", "path", "why"], rows, right=frozenset({0}))
    if not found:
        say("nothing to clean up")
    elif deleted:
        say(f"deleted {len(found)} things")
    else:
        say(f"{len(found)} things, {size(sum(w.bytes for w in found))}; --delete deletes them")


def _jobs(count: int) -> str:
    return f"{count} job{'s' if count != 1 else ''}"
