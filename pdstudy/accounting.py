"""What a plan comes to, stage by stage and run by run: FLOPs of students, finetuning, evaluation, passes and teachers,
under each scenario of who pays for the teacher; and what reading the stores asks of a node."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from pdstudy.asking import tokens_read
from pdstudy.captures import StoreNeed
from pdstudy.config import Online, Pretrained, Run
from pdstudy.downstream import Downstream
from pdstudy.items import Item, Plan
from pdstudy.machines import Machine
from pdstudy.normal import fingerprint
from pdstudy.pricing import evaluation_flops, live_flops, passed_flops, sizes, training_flops
from pdstudy.storage import stored
from pdstudy.tallies import passes, tallies

DECODED_ENTRIES_PER_CORE = 5.5e7
"""Entries a second that one core decodes of an exact store: 1.1 million tokens at k = 50, the slowest that was measured
(reports/notes/distill.md)."""


@dataclass(frozen=True)
class Charges:
    """FLOPs of training by what of the teacher is charged (Busbridge et al. 2025, Eq. 9): nothing, its pass over the
    text, its training, both. None where a teacher's training is not known (a folder)."""

    free: float
    inference: float
    pretraining: float | None
    both: float | None


@dataclass(frozen=True)
class RunAccount:
    """FLOPs of one student as if it were alone: a pass or a teacher that several share is charged to each in full.

    `student` is its training, `finetuning` that of all its models which are asked, `evaluation` the held-out losses of
    it and of those (with the forwards of the teachers that probes compare them with), `tasks` their answers (those of
    `pdstudy.asking`), `passed` its teacher's forwards over its text, `teacher` the training of that, None where it is
    not known.
    """

    run: str
    label: str
    student: float
    finetuning: float
    evaluation: float
    tasks: float
    passed: float
    teacher: float | None

    @property
    def after(self) -> float:
        """What comes after training, the same in every scenario."""
        return self.finetuning + self.evaluation + self.tasks

    @property
    def charged(self) -> Charges:
        return _charges(self.student, self.passed, self.teacher)


@dataclass(frozen=True)
class Reading:
    """The most demanding reader of a store: bytes a second and cores that decode it, on one node of the machine."""

    run: str
    bytes_per_second: float
    cores: float
    fits: bool


def spent(plan: Plan) -> dict[str, float]:
    """FLOPs by stage, made or to make: `student`, `finetuning`, `evaluation`, `tasks`, `teacher`, `capture` (passes of
    teachers, those of live ones among them)."""
    stages = {"student": "student", "finetune": "finetuning", "teacher": "teacher"}
    total = dict.fromkeys(("student", "finetuning", "evaluation", "tasks", "teacher", "capture"), 0.0)
    for item in plan.items:
        if isinstance(item.subject, StoreNeed):
            total["capture"] += item.flops
        elif isinstance(item.subject, Downstream):
            total["tasks"] += item.flops
        elif isinstance(item.subject, Run):
            run = item.subject
            live = live_flops(run) * run.num_tokens
            total[stages[item.kind]] += training_flops(run) - item.saved - live
            total["capture"] += live
            total["evaluation"] += evaluation_flops(plan.study.evaluations, run, compared=item.kind != "teacher")
    return total


def charges(plan: Plan) -> Charges:
    """The four scenarios over the whole plan, each pass and each teacher once: that is what sharing saves."""
    total = spent(plan)
    students = [i.subject for i in plan.items if i.kind == "student" and isinstance(i.subject, Run)]
    known = not any(isinstance(run.teacher, Pretrained) for run in students)
    return _charges(total["student"], total["capture"], total["teacher"] if known else None)


def runs(plan: Plan) -> list[RunAccount]:
    """Every student of a plan by itself, in the plan's order."""
    tuned: dict[str, list[Item]] = {}
    asked: dict[str, list[Item]] = {}
    for item in plan.items:
        if item.kind == "finetune" and isinstance(item.subject, Run):
            assert item.subject.start is not None
            tuned.setdefault(fingerprint(item.subject.start.model), []).append(item)
        elif item.kind == "evaluate":
            asked.setdefault(item.needs[0], []).append(item)
    students = [item for item in plan.items if item.kind == "student"]
    return [_account_of(plan, item, tuned.get(item.key, []), asked) for item in students]


def _account_of(plan: Plan, item: Item, tuned: list[Item], asked: dict[str, list[Item]]) -> RunAccount:
    assert isinstance(item.subject, Run)
    run, teacher = item.subject, item.subject.teacher
    finetuned = [i.subject for i in tuned if isinstance(i.subject, Run)]
    training: float | None = None
    if not isinstance(teacher, Pretrained):
        trained = teacher.run if isinstance(teacher, Online) else teacher
        training = 0.0 if trained is None else training_flops(trained)
    return RunAccount(
        run=item.key,
        label=item.label,
        student=training_flops(run) - live_flops(run) * run.num_tokens,
        finetuning=sum(training_flops(r) for r in finetuned),
        evaluation=sum(evaluation_flops(plan.study.evaluations, r) for r in (run, *finetuned)),
        tasks=sum(i.flops for key in (item.key, *(t.key for t in tuned)) for i in asked.get(key, [])),
        passed=passed_flops(run),
        teacher=training,
    )


def _charges(student: float, passed: float, teacher: float | None) -> Charges:
    trained = None if teacher is None else student + teacher
    return Charges(student, student + passed, trained, None if trained is None else trained + passed)


def not_priced(plan: Plan) -> list[str]:
    """Tasks of which it is not known what they make a model read."""
    asked = [item.subject for item in plan.items if isinstance(item.subject, Downstream)]
    return list(dict.fromkeys(name for a in asked for name in tokens_read(a)[1]))


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
    entries = (need.coverage.k or item.subject.student.vocab) + need.coverage.draws
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
        "runs": [
            {
                **vars(each),
                "charged": vars(each.charged),
                "hours": _hours(each, plan.rate),
                "hours_after_training": each.after / plan.rate / 3600,
            }
            for each in runs(plan)
        ],
        "tasks_not_priced": not_priced(plan),
        "store_bytes": sum(i.bytes for i in plan.stores),
        "stored": [dataclasses.asdict(each) for each in stored(plan)],
        "reading": None if reader is None else vars(reader),
    }


def _hours(run: RunAccount, rate: float) -> dict[str, float | None]:
    """Device-hours of a run and of all that comes after its training, by scenario."""
    charged = vars(run.charged).items()
    return {name: None if flops is None else (flops + run.after) / rate / 3600 for name, flops in charged}
