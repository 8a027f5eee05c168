"""What a plan comes to, stage by stage: FLOPs of students, passes, teachers and evaluation, under each scenario of who
pays for the teacher; and what reading the stores asks of a node."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from pdstudy.captures import StoreNeed
from pdstudy.config import Pretrained, Run
from pdstudy.items import Item, Plan
from pdstudy.machines import Machine
from pdstudy.pricing import evaluated_tokens, sizes, training_flops
from pdstudy.storage import stored
from pdstudy.tallies import passes, tallies

DECODED_ENTRIES_PER_CORE = 5.5e7
"""Entries a second that one core decodes of an exact store: 1.1 million tokens at k = 50, the slowest that was measured
(reports/notes/distill.md)."""


@dataclass(frozen=True)
class Charges:
    """FLOPs of all students of a plan by what of their teachers is charged (Busbridge et al. 2025, Eq. 9): nothing, the
    pass over their text, the teachers' training, both. None where a teacher's training is not known (a folder)."""

    free: float
    inference: float
    pretraining: float | None
    both: float | None


@dataclass(frozen=True)
class Reading:
    """The most demanding reader of a store: bytes a second and cores that decode it, on one node of the machine."""

    run: str
    bytes_per_second: float
    cores: float
    fits: bool


def spent(plan: Plan) -> dict[str, float]:
    """FLOPs by stage, made or to make: `student`, `evaluation`, `teacher`, `capture`."""
    total: dict[str, float] = dict.fromkeys(("student", "evaluation", "teacher", "capture"), 0.0)
    for item in plan.items:
        if isinstance(item.subject, StoreNeed):
            total["capture"] += item.flops
        elif isinstance(item.subject, Run):
            run = item.subject
            forward = sizes(run)[2]
            total["student" if item.kind == "student" else "teacher"] += training_flops(run) - item.saved
            total["evaluation"] += forward * sum(evaluated_tokens(e, run) for e in plan.study.evaluations)
    return total


def charges(plan: Plan) -> Charges:
    """The four scenarios over the whole plan, each pass and each teacher once: that is what sharing saves."""
    total = spent(plan)
    stores = [i.subject for i in plan.items if isinstance(i.subject, StoreNeed)]
    known = not any(isinstance(need.spec.teacher, Pretrained) for need in stores)
    free = total["student"]
    inference = free + total["capture"]
    trained = total["teacher"] if known else None
    return Charges(
        free,
        inference,
        None if trained is None else free + trained,
        None if trained is None else inference + trained,
    )


def reading(plan: Plan) -> Reading | None:
    """What the student that reads fastest asks of a node of the plan's machine; None where nobody reads a store."""
    stores = {i.key: i for i in plan.stores}
    found = [_reading(plan.study.machine, item, stores[n]) for item in plan.items for n in item.needs if n in stores]
    return max(found, key=lambda r: r.bytes_per_second, default=None)


def _reading(machine: Machine, item: Item, store: Item) -> Reading:
    assert isinstance(item.subject, Run)
    assert isinstance(store.subject, StoreNeed)
    need = store.subject
    speed = machine.devices * machine.flops_per_second / (3 * sizes(item.subject)[2])
    per_token = store.bytes / (len(need.sequences) * need.spec.view.context)
    entries = need.coverage.k or item.subject.student.vocab
    rate, cores = speed * per_token, speed * entries / DECODED_ENTRIES_PER_CORE
    return Reading(item.label, rate, cores, rate <= machine.read_bytes_per_second and cores <= machine.cores)


def account(plan: Plan) -> dict[str, Any]:
    """All of it as plain data, for `--json`."""
    reader = reading(plan)
    trained, captured, tokens = passes(plan)
    return {
        "flops": spent(plan),
        "charged": vars(charges(plan)),
        "groups": [vars(tally) | {"runs": tally.runs, "tokens": tally.tokens} for tally in tallies(plan)],
        "teachers": {"trained": trained, "passes": captured, "tokens": tokens},
        "store_bytes": sum(i.bytes for i in plan.stores),
        "stored": [dataclasses.asdict(each) for each in stored(plan)],
        "reading": None if reader is None else vars(reader),
    }
