"""What `submit`, `cancel` and `gc` tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from pdstudy.cli.tables import print_table
from pdstudy.core.format import hours, size
from pdstudy.plan.plan import Plan
from pdstudy.slurm.arrays import Array
from pdstudy.slurm.cost import longest_chain_hours, stage_prices, storage_bytes
from pdstudy.slurm.gc import Waste
from pdstudy.slurm.job import Job
from pdstudy.slurm.submit import SubmitOutcome

SHOWN = 12


def print_preview(plan: Plan, units: Sequence[Job], arrays: Sequence[tuple[Array, str]]) -> None:
    """The price of a submission, and each array's text for sbatch."""
    prices = stage_prices(units, plan.rate)
    unit = plan.study.machine.unit
    rows = [
        [p.stage, str(p.units), hours(p.device_hours), hours(p.node_hours), hours(p.longest_hours),
         str(p.over_limit or "")]
        for p in prices
    ]  # fmt: skip
    header = ["stage", "artifacts", unit, "node-hours", "longest, hours", "longer than one job"]
    print_table(header, rows, right={1, 2, 3, 4, 5})
    print(
        f"\nin all {hours(sum(p.device_hours for p in prices))} {unit}, "
        f"{hours(sum(p.node_hours for p in prices))} node-hours, {size(storage_bytes(plan))} on disk; "
        f"longest chain {hours(longest_chain_hours(units, plan.rate))} hours without waiting"
    )
    print(f"at {plan.rate / 1e9:,.3g} GFLOP/s per device: {plan.rate_source}")
    for p in prices:
        if p.over_budget:
            print(
                f"warning: {p.over_budget} of {p.stage} take more jobs than time_limits lets them go on in: "
                f"raise {p.stage}.minutes or {p.stage}.time_limits"
            )
    for number, (array, text) in enumerate(arrays, 1):
        print(f"\n== JOB{number}: {array.stage}, {_jobs(len(array.elements))}")
        print(text.rstrip())
    if not arrays:
        print("nothing to send")


def some(elements: Sequence[str]) -> str:
    """A list that stays short."""
    return ", ".join(elements[:SHOWN]) + (", ..." if len(elements) > SHOWN else "")


def print_outcome(plan: Plan, outcome: SubmitOutcome, call: str) -> None:
    """What a submit came to; `call` is how the study was named on the command line."""
    labels = {f"{i.kind}/{i.key}": f"{i.kind} {i.label}" for i in plan.items}
    decision = outcome.decision
    for job, array in outcome.sent[:SHOWN]:
        print(f"sent {array.stage}: job {job}, {_jobs(len(array.elements))}")
    if len(outcome.sent) > SHOWN:
        print(f"... and {len(outcome.sent) - SHOWN} more arrays")
    if outcome.report:
        print(f"sent report: job {outcome.report}, after all of these")
    if decision.live:
        print(f"{len(decision.live)} already queued or running")
    if outcome.released:
        print(
            f"released {some(outcome.released)}, which SLURM held: a node could not start it, or it started too often"
        )
    for key, reason in list(outcome.refused.items())[:SHOWN]:
        print(f"refused: {labels.get(key, key)}: {reason}")
    for cause, count in Counter(decision.stay.values()).items():
        first = next(labels.get(k, k) for k, c in decision.stay.items() if c == cause)
        if cause != "not asked for":
            print(f"{count} not sent again after {cause} ({first}{', ...' if count > 1 else ''}): --retry {cause}")
    if decision.blocked:
        print(f"{len(decision.blocked)} not sent: what they need failed")
    if outcome.kept:
        print(
            f"{len(outcome.kept)} kept back ({outcome.reason}); `pdstudy submit {call}` or "
            f"`pdstudy status {call} --watch` sends them when there is room"
        )
    sent_or_not = (outcome.sent, outcome.report, outcome.released, outcome.kept, outcome.refused)
    if not any((*sent_or_not, decision.live, decision.stay)):
        print(f"{plan.study.name}: all {len(plan.items)} artifacts exist; nothing to send")
    elif outcome.sent:
        print(f"next: pdstudy status {call} --watch")


def outcome_json(outcome: SubmitOutcome) -> dict[str, Any]:
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
    rows = [[size(w.bytes), str(w.path), w.why] for w in found] if not deleted else []
    if rows:
        print_table(["size", "path", "why"], rows, right={0})
    if not found:
        print("nothing to clean up")
    elif deleted:
        print(f"deleted {len(found)} things")
    else:
        print(f"{len(found)} things, {size(sum(w.bytes for w in found))}; --delete deletes them")


def _jobs(count: int) -> str:
    return f"{count} job{'s' if count != 1 else ''}"
