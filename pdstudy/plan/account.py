"""The account of a plan: totals, the longest chain, and FLOPs by stage, by group and by run.

The teacher's share is charged under each scenario of who pays for it. Bytes of stores are in
`pdstudy.plan.store_bytes`, prices of single things in `pdstudy.plan.cost`."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from pdstudy.config.run import Online, Pretrained
from pdstudy.core.identity import fingerprint
from pdstudy.plan.artifact import AnswersArtifact, Artifact, RunArtifact
from pdstudy.plan.cost import evaluation_flops, inference_flops, live_flops, tokens_read, training_flops
from pdstudy.plan.plan import Plan
from pdstudy.plan.store_bytes import reading, stored
from pdstudy.study.collection import Collection
from pdstudy.study.study import Study


class Step(Protocol):
    """Anything that waits for others of its kind: an artifact of a plan, a job of a cluster."""

    @property
    def key(self) -> str: ...
    @property
    def needs(self) -> tuple[str, ...]: ...
    @property
    def after(self) -> tuple[str, ...]: ...
    @property
    def done(self) -> bool: ...


AnyStep = TypeVar("AnyStep", bound=Step)


def longest_chain(steps: Iterable[AnyStep], duration: Callable[[AnyStep], float]) -> float:
    """The time that no number of devices can shorten. `steps` come in an order in which they can be made."""
    finish: dict[str, float] = {}
    for step in steps:
        start = max((finish.get(key, 0.0) for key in (*step.needs, *step.after)), default=0.0)
        finish[step.key] = start + (0.0 if step.done else duration(step))
    return max(finish.values(), default=0.0)


def totals(plan: Plan) -> dict[str, Any]:
    """Numbers of artifacts, FLOPs, bytes and hours of the whole and of what is to make; a run is on one device."""
    todo = plan.todo
    flops = sum(artifact.flops for artifact in todo)
    return {
        "items": len(plan.artifacts),
        "done": len(plan.artifacts) - len(todo),
        "flops": sum(artifact.flops for artifact in plan.artifacts),
        "flops_todo": flops,
        "device_hours_todo": plan.hours(flops),
        "bytes_todo": sum(artifact.bytes for artifact in todo),
        "longest_chain_hours": longest_chain(plan.artifacts, lambda artifact: plan.seconds(artifact.flops)) / 3600,
    }


def flops_by_stage(plan: Plan) -> dict[str, float]:
    """FLOPs of what is made and to make: `student`, `finetuning`, `evaluation`, `tasks`, `teacher`, and `capture`,
    teacher inference stored or live."""
    stages = {"student": "student", "finetune": "finetuning", "teacher": "teacher"}
    total = dict.fromkeys(("student", "finetuning", "evaluation", "tasks", "teacher", "capture"), 0.0)
    for each in plan.runs:
        live = live_flops(each.run) * each.run.num_tokens
        total[stages[each.role]] += training_flops(each.run) - each.saved - live
        total["capture"] += live
        total["evaluation"] += evaluation_flops(plan.study.evaluations, each.run, compared=each.role != "teacher")
    total["evaluation"] += sum(each.flops for each in plan.teacher_losses)
    total["tasks"] += sum(each.flops for each in plan.answers)
    total["capture"] += sum(store.flops for store in plan.stores)
    return total


@dataclass(frozen=True)
class Charges:
    """FLOPs of training by what of the teacher is charged (Busbridge et al. 2025, Eq. 9): nothing, its inference over
    the text, its training, both. None where a teacher's training is not known (a folder)."""

    free: float
    inference: float
    pretraining: float | None
    both: float | None

    @staticmethod
    def of(student: float, inference: float, teacher: float | None) -> Charges:
        trained = None if teacher is None else student + teacher
        return Charges(student, student + inference, trained, None if trained is None else trained + inference)


def charges(plan: Plan) -> Charges:
    """The four scenarios over the whole plan, each store and each teacher once: that is what sharing saves."""
    total = flops_by_stage(plan)
    known = not any(isinstance(student.run.teacher, Pretrained) for student in plan.runs_as("student"))
    return Charges.of(total["student"], total["capture"], total["teacher"] if known else None)


@dataclass(frozen=True)
class RunAccount:
    """FLOPs of one student as if it were alone: a store or a teacher that several share is charged to each in full.

    student     its training
    finetuning  of its models before they are evaluated on tasks
    evaluation  held-out losses of it and of those, with the forwards of the teachers that probes compare them with
    tasks       downstream tasks, where `pdstudy.plan.cost` knows what they make a model read
    inference   its teacher's forwards over its text
    teacher     the training of that; None where it is not known
    """

    run: str
    label: str
    student: float
    finetuning: float
    evaluation: float
    tasks: float
    inference: float
    teacher: float | None

    @property
    def after(self) -> float:
        """The work after training, the same in every scenario."""
        return self.finetuning + self.evaluation + self.tasks

    @property
    def charged(self) -> Charges:
        return Charges.of(self.student, self.inference, self.teacher)


def run_accounts(plan: Plan) -> list[RunAccount]:
    """Every student of a plan by itself, in the plan's order."""
    finetuned: dict[str, list[RunArtifact]] = {}
    for each in plan.runs_as("finetune"):
        assert each.run.start is not None
        finetuned.setdefault(fingerprint(each.run.start.model), []).append(each)
    answers: dict[str, list[AnswersArtifact]] = {}
    for evaluated in plan.answers:
        answers.setdefault(evaluated.needs[0], []).append(evaluated)
    return [_run_account(plan, each, finetuned.get(each.key, []), answers) for each in plan.runs_as("student")]


def _run_account(
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
        inference=inference_flops(run),
        teacher=training,
    )


@dataclass(frozen=True)
class Tally:
    """Artifacts of the studies of one group, without those that a group before it has already.

    budgets    (tokens, number of students of so many), most tokens first
    evaluated  models evaluated on tasks, a job each; `finetuned` of them are finetuned before
    flops      of training the students; `saved` those of steps that they take over from each other, in `branches` runs
    """

    group: str
    budgets: tuple[tuple[int, int], ...]
    evaluated: int
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
    members: dict[str, list[Artifact]] = {group: [] for group in sorted(set(groups.values()))}
    for each in (*plan.runs_as("student"), *plan.runs_as("finetune"), *plan.answers):
        members[_group(each, runs, groups)].append(each)
    return [_tally(group, artifacts) for group, artifacts in members.items()]


def _tally(group: str, members: list[Artifact]) -> Tally:
    students = [each for each in members if isinstance(each, RunArtifact) and each.role == "student"]
    branches = [each for each in students if each.saved]
    saved = sum(each.saved for each in branches)
    return Tally(
        group,
        budgets=tuple(sorted(Counter(each.run.num_tokens for each in students).items(), reverse=True)),
        evaluated=sum(each.kind == "evaluate" for each in members),
        finetuned=sum(each.kind == "finetune" for each in members),
        flops=sum(training_flops(each.run) for each in students) - saved,
        branches=len(branches),
        saved=saved,
    )


def _groups(study: Study) -> dict[str, str]:
    """Study name to group."""
    members = study.studies if isinstance(study, Collection) else (study,)
    return {member.name: member.group for member in members}


def _group(artifact: Artifact, runs: dict[str, RunArtifact], groups: dict[str, str]) -> str:
    """The first group that has a run among its cells; of any other artifact, that of what it needs."""
    if artifact.cells:
        names = [cell.partition(",")[0].removeprefix("study=") for cell in artifact.cells]
        return min(groups.get(name, min(groups.values())) for name in names)
    parents = [runs[key] for key in artifact.needs if key in runs and runs[key].role != "teacher"]
    return min((_group(parent, runs, groups) for parent in parents), default=min(groups.values()))


def teacher_work(plan: Plan) -> tuple[int, int, int]:
    """Teachers to train, captures, and the tokens of teacher inference in these."""
    return len(plan.runs_as("teacher")), len(plan.stores), sum(store.tokens for store in plan.stores)


def tasks_not_priced(plan: Plan) -> list[str]:
    """Tasks of which it is not known what they make a model read."""
    return list(dict.fromkeys(name for each in plan.answers for name in tokens_read(each.downstream)[1]))


def account(plan: Plan) -> dict[str, Any]:
    """All of it as plain data, for `--json`."""
    reader = reading(plan)
    trained, captured, tokens = teacher_work(plan)
    return {
        "flops": flops_by_stage(plan),
        "charged": vars(charges(plan)),
        "groups": [
            _renamed(tally, evaluated="asked") | {"runs": tally.runs, "tokens": tally.tokens} for tally in tallies(plan)
        ],
        "teachers": {"trained": trained, "passes": captured, "tokens": tokens},
        "runs": [
            {
                **_renamed(each, inference="passed"),
                "charged": vars(each.charged),
                "hours": {
                    name: None if flops is None else plan.hours(flops + each.after)
                    for name, flops in vars(each.charged).items()
                },
                "hours_after_training": plan.hours(each.after),
            }
            for each in run_accounts(plan)
        ],
        "tasks_not_priced": tasks_not_priced(plan),
        "store_bytes": sum(store.bytes for store in plan.stores),
        "stored": [dataclasses.asdict(each) for each in stored(plan)],
        "reading": None if reader is None else vars(reader),
    }


def _renamed(record: Any, **keys: str) -> dict[str, Any]:
    """The fields of a record, under the keys that `--json` has had for them."""
    return {keys.get(name, name): value for name, value in vars(record).items()}
