"""What a plan comes to, stage by stage and run by run: FLOPs of students, finetuning, evaluation, passes and teachers,
under each scenario of who pays for the teacher; and what reading the stores asks of a node."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass
from typing import Any

from pdstudy.config.logits import Kept
from pdstudy.config.placement import Machine
from pdstudy.config.run import Online, Pretrained
from pdstudy.core.identity import fingerprint
from pdstudy.plan.artifact import AnswersArtifact, Artifact, RunArtifact, StoreArtifact
from pdstudy.plan.cost import (
    bytes_per_token,
    evaluation_flops,
    live_flops,
    passed_flops,
    sizes,
    tokens_read,
    training_flops,
    vocabulary,
)
from pdstudy.plan.plan import Plan
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
    for each in plan.runs:
        live = live_flops(each.run) * each.run.num_tokens
        total[stages[each.role]] += training_flops(each.run) - each.saved - live
        total["capture"] += live
        total["evaluation"] += evaluation_flops(plan.study.evaluations, each.run, compared=each.role != "teacher")
    total["tasks"] += sum(each.flops for each in plan.answers)
    total["capture"] += sum(store.flops for store in plan.stores)
    return total


def charges(plan: Plan) -> Charges:
    """The four scenarios over the whole plan, each pass and each teacher once: that is what sharing saves."""
    total = spent(plan)
    known = not any(isinstance(student.run.teacher, Pretrained) for student in plan.runs_as("student"))
    return _charges(total["student"], total["capture"], total["teacher"] if known else None)


def runs(plan: Plan) -> list[RunAccount]:
    """Every student of a plan by itself, in the plan's order."""
    finetuned: dict[str, list[RunArtifact]] = {}
    for each in plan.runs_as("finetune"):
        assert each.run.start is not None
        finetuned.setdefault(fingerprint(each.run.start.model), []).append(each)
    answers: dict[str, list[AnswersArtifact]] = {}
    for evaluated in plan.answers:
        answers.setdefault(evaluated.needs[0], []).append(evaluated)
    return [_account_of(plan, each, finetuned.get(each.key, []), answers) for each in plan.runs_as("student")]


def _account_of(
    plan: Plan, student: RunArtifact, finetuned: list[RunArtifact], answers: dict[str, list[AnswersArtifact]]
) -> RunAccount:
    run, teacher = student.run, student.run.teacher
    models = (student, *finetuned)
    training: float | None = None
    if not isinstance(teacher, Pretrained):
        trained = teacher.run if isinstance(teacher, Online) else teacher
        training = 0.0 if trained is None else training_flops(trained)
    return RunAccount(
        run=student.key,
        label=student.label,
        student=training_flops(run) - live_flops(run) * run.num_tokens,
        finetuning=sum(training_flops(each.run) for each in finetuned),
        evaluation=sum(evaluation_flops(plan.study.evaluations, each.run) for each in models),
        tasks=sum(each.flops for model in models for each in answers.get(model.key, [])),
        passed=passed_flops(run),
        teacher=training,
    )


def _charges(student: float, passed: float, teacher: float | None) -> Charges:
    trained = None if teacher is None else student + teacher
    return Charges(student, student + passed, trained, None if trained is None else trained + passed)


def not_priced(plan: Plan) -> list[str]:
    """Tasks of which it is not known what they make a model read."""
    return list(dict.fromkeys(name for each in plan.answers for name in tokens_read(each.downstream)[1]))


def reading(plan: Plan) -> Reading | None:
    """What the student that reads fastest asks of a node of the plan's machine; None where nobody reads a store."""
    stores = {store.key: store for store in plan.stores}
    found = [_reading(plan.study.machine, each, stores[n]) for each in plan.runs for n in each.needs if n in stores]
    return max(found, key=lambda r: r.bytes_per_second, default=None)


def _reading(machine: Machine, reader: RunArtifact, store: StoreArtifact) -> Reading:
    coverage = store.need.coverage
    speed = machine.devices * machine.flops_per_second / (3 * sizes(reader.run)[2])
    per_token = store.bytes / store.tokens
    entries = (coverage.k or reader.run.student.vocab) + coverage.draws
    rate, cores = speed * per_token, speed * entries / DECODED_ENTRIES_PER_CORE
    return Reading(reader.label, rate, cores, rate <= machine.read_bytes_per_second and cores <= machine.cores)


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
        "store_bytes": sum(store.bytes for store in plan.stores),
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
    needs = [store.need for store in plan.stores]
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
    runs = {each.key: each for each in plan.runs}
    of: dict[str, list[Artifact]] = {group: [] for group in sorted(set(groups.values()))}
    for each in (*plan.runs_as("student"), *plan.runs_as("finetune"), *plan.answers):
        of[_group(each, runs, groups)].append(each)
    return [_tally(group, members) for group, members in of.items()]


def _tally(group: str, members: list[Artifact]) -> Tally:
    students = [each for each in members if isinstance(each, RunArtifact) and each.role == "student"]
    branches = [each for each in students if each.saved]
    saved = sum(each.saved for each in branches)
    return Tally(
        group,
        tuple(sorted(Counter(each.run.num_tokens for each in students).items(), reverse=True)),
        sum(each.kind == "evaluate" for each in members),
        sum(each.kind == "finetune" for each in members),
        sum(training_flops(each.run) for each in students) - saved,
        len(branches),
        saved,
    )


def _groups(study: Study) -> dict[str, str]:
    """Study name to group."""
    members = study.studies if isinstance(study, Collection) else (study,)
    return {member.name: member.group for member in members}


def _group(artifact: Artifact, runs: dict[str, RunArtifact], groups: dict[str, str]) -> str:
    """The first group that has a run as a cell; of what is no cell, that of what it needs."""
    if artifact.cells:
        names = [cell.partition(",")[0].removeprefix("study=") for cell in artifact.cells]
        return min(groups.get(name, min(groups.values())) for name in names)
    parents = [runs[key] for key in artifact.needs if key in runs and runs[key].role != "teacher"]
    return min((_group(parent, runs, groups) for parent in parents), default=min(groups.values()))


def passes(plan: Plan) -> tuple[int, int, int]:
    """Teachers to train, teachers' passes over text, and the tokens of those passes."""
    return len(plan.runs_as("teacher")), len(plan.stores), sum(store.tokens for store in plan.stores)
