"""What a plan comes to, stage by stage and run by run: FLOPs of students, finetuning, evaluation, passes and teachers,
under each scenario of who pays for the teacher; and what reading the stores asks of a node."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pdstudy.config.logits import StoreNeed
from pdstudy.plan.cost import bytes_per_token, vocabulary

if TYPE_CHECKING:
    from pdstudy.plan.plan import Plan
from collections import Counter
from typing import Any

from pdstudy.config.downstream import Downstream
from pdstudy.config.logits import Kept
from pdstudy.config.placement import Machine
from pdstudy.config.run import Online, Pretrained, Run
from pdstudy.core.identity import fingerprint
from pdstudy.plan.cost import evaluation_flops, live_flops, passed_flops, sizes, tokens_read, training_flops
from pdstudy.plan.plan import Artifact, Plan
from pdstudy.study.collection import Collection
from pdstudy.study.study import Study

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
    `pdstudy.plan.cost`), `passed` its teacher's forwards over its text, `teacher` the training of that, None where it
    is not known."""

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
    tuned: dict[str, list[Artifact]] = {}
    asked: dict[str, list[Artifact]] = {}
    for item in plan.items:
        if item.kind == "finetune" and isinstance(item.subject, Run):
            assert item.subject.start is not None
            tuned.setdefault(fingerprint(item.subject.start.model), []).append(item)
        elif item.kind == "evaluate":
            asked.setdefault(item.needs[0], []).append(item)
    students = [item for item in plan.items if item.kind == "student"]
    return [_account_of(plan, item, tuned.get(item.key, []), asked) for item in students]


def _account_of(plan: Plan, item: Artifact, tuned: list[Artifact], asked: dict[str, list[Artifact]]) -> RunAccount:
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


def _reading(machine: Machine, item: Artifact, store: Artifact) -> Reading:
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


@dataclass(frozen=True)
class Stored:
    """The stores that one `Kept` is about: their tokens, bytes at most, bytes at its mean number of entries, the same
    if they were coded (`KD.stored`), and the bytes that its source would count for them."""

    kept: Kept
    tokens: int
    at_most: float
    expected: float
    coded: float
    published: float


def stored(plan: Plan) -> list[Stored]:
    """One per `Study.kept` that stores of the plan, to be captured or captured, are cut like."""
    needs = [item.subject for item in plan.stores if isinstance(item.subject, StoreNeed)]
    found = []
    for kept in plan.study.kept:
        mine = [n for n in needs if (n.coverage.p, n.coverage.k, n.coverage.draws) == (kept.cut.p, kept.cut.k, 0)]
        tokens = [len(n.sequences) * n.spec.view.context for n in mine]
        if mine:
            coded = [(dataclasses.replace(n.coverage, encoding="small"), n) for n in mine]
            plain = [(n.coverage, n) for n in mine]
            at_most, expected, packed = (
                sum(bytes_per_token(c, vocabulary(n.spec.teacher), entries) * t for (c, n), t in zip(each, tokens))
                for each, entries in ((plain, None), (plain, kept.entries), (coded, kept.entries))
            )
            published = kept.entries * kept.bytes_per_entry * sum(tokens)
            found.append(Stored(kept, sum(tokens), at_most, expected, packed, published))
    return found


@dataclass(frozen=True)
class Tally:
    """What the studies of one group have, less what a group before it has already.

    `budgets` are (tokens, student runs of so many), most tokens first; `asked` are models that are asked tasks, one job
    each; `finetuned` are those that are finetuned before that; `flops` are those of training the students; `saved`
    those of steps that they take over from each other, in `branches` runs.
    """

    group: str
    budgets: tuple[tuple[int, int], ...]
    asked: int
    finetuned: int
    flops: float
    branches: int
    saved: float

    @property
    def runs(self) -> int:
        return sum(runs for _, runs in self.budgets)

    @property
    def tokens(self) -> int:
        return sum(tokens * runs for tokens, runs in self.budgets)


def tallies(plan: Plan) -> list[Tally]:
    """One per group, that of the studies without a name of their group first, whatever exists of it already."""
    groups = _groups(plan.study)
    items = {item.key: item for item in plan.items if item.kind != "evaluate"}
    of: dict[str, list[Artifact]] = {group: [] for group in sorted(set(groups.values()))}
    for item in plan.items:
        if item.kind in ("student", "finetune", "evaluate"):
            of[_group(item, items, groups)].append(item)
    return [_tally(group, members) for group, members in of.items()]


def _tally(group: str, items: list[Artifact]) -> Tally:
    students = [(i, i.subject) for i in items if i.kind == "student" and isinstance(i.subject, Run)]
    branches = [i for i, _ in students if i.saved]
    saved = sum(i.saved for i in branches)
    return Tally(
        group,
        tuple(sorted(Counter(run.num_tokens for _, run in students).items(), reverse=True)),
        sum(i.kind == "evaluate" for i in items),
        sum(i.kind == "finetune" for i in items),
        sum(training_flops(run) for _, run in students) - saved,
        len(branches),
        saved,
    )


def _groups(study: Study) -> dict[str, str]:
    """Study name to group."""
    members = study.studies if isinstance(study, Collection) else (study,)
    return {member.name: member.group for member in members}


def _group(item: Artifact, items: dict[str, Artifact], groups: dict[str, str]) -> str:
    """The first group that has a run as a cell; of what is no cell, that of what it needs."""
    if item.cells:
        names = [cell.partition(",")[0].removeprefix("study=") for cell in item.cells]
        return min(groups.get(name, min(groups.values())) for name in names)
    parents = [items[key] for key in item.needs if key in items]
    found = [_group(p, items, groups) for p in parents if isinstance(p.subject, Run) and p.kind != "teacher"]
    return min(found, default=min(groups.values()))


def passes(plan: Plan) -> tuple[int, int, int]:
    """Teachers to train, teachers' passes over text, and the tokens of those passes."""
    needs = [item.subject for item in plan.stores if isinstance(item.subject, StoreNeed)]
    tokens = sum(len(need.sequences) * need.spec.view.context for need in needs)
    return sum(item.kind == "teacher" for item in plan.items), len(needs), tokens
