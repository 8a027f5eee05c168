"""The work behind each artifact of a plan, as plain data: what a worker or a SLURM job is sent."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

from pdstudy.config.data import Corpus
from pdstudy.config.downstream import Downstream
from pdstudy.config.evaluation import Heldout, TeacherText, probe_teacher
from pdstudy.config.logits import Coverage, StoreSpec
from pdstudy.config.run import Online, Pretrained, Run
from pdstudy.core.files import user_path
from pdstudy.core.identity import fingerprint
from pdstudy.plan.artifact import (
    AnswersArtifact,
    Artifact,
    CorpusArtifact,
    RunArtifact,
    StoreArtifact,
    TeacherLossArtifact,
)
from pdstudy.plan.plan import Plan
from pdstudy.study.study import Study
from pdstudy.train.messages import from_json, message, to_json
from pdstudy.train.training_job import StoreToFill, TrainingJob, missing_model
from pdstudy.workspace.layout import Workspace


@message
class CorpusJob:
    """A corpus to build in `directory`."""

    corpus: Corpus
    directory: Path

    def missing_input(self) -> str | None:
        """Texts are looked for by the build itself."""
        return None


@message
class CaptureJob:
    """Distributions of the model in `teacher` over `sequences`, to be stored in `directory`."""

    spec: StoreSpec
    coverage: Coverage
    sequences: range
    directory: Path
    corpus: Path
    teacher: Path
    threads: int

    def missing_input(self) -> str | None:
        """The first thing that the capture needs and the disk lacks, in words; None where all is there."""
        if not (self.corpus / "manifest.json").exists():
            return f"its corpus {self.corpus} is not there"
        return missing_model("teacher", self.teacher)


@message
class TasksJob:
    """Tasks on which lm-eval evaluates the model in `model`; their results go to `directory`. Prompts begin with
    `bos`."""

    downstream: Downstream
    model: Path
    directory: Path
    bos: str | None = None

    def missing_input(self) -> str | None:
        """The model, in words, where it is not there; None where it is."""
        return missing_model("model", self.model)


@message
class TeacherLossJob:
    """A teacher to score on held-out text; the rows go to `directory`."""

    text: TeacherText
    evaluations: tuple[Heldout, ...]
    directory: Path
    corpus: Path
    threads: int

    def missing_input(self) -> str | None:
        """The first thing that it needs and the disk lacks, in words; None where all is there."""
        if not (self.corpus / "manifest.json").exists():
            return f"its corpus {self.corpus} is not there"
        return missing_model("teacher", Path(self.text.teacher.path).expanduser())


Work = CorpusJob | CaptureJob | TrainingJob | TasksJob | TeacherLossJob


@message
class WorkOrder:
    """One artifact to make: its stage and key, the workspace that it belongs to, a log, and the work itself."""

    kind: str
    key: str
    workspace: Path
    log: Path
    work: Work

    def to_json(self) -> Any:
        return to_json(self)

    @staticmethod
    def from_json(data: Any) -> WorkOrder:
        order = from_json(data)
        assert isinstance(order, WorkOrder)
        return order

    @property
    def claim(self) -> Path:
        """The file that is held by whoever makes this."""
        return Workspace(self.workspace).claim(self.kind, self.key)


def make_order(plan: Plan, artifact: Artifact, workspace: Workspace) -> WorkOrder:
    """The order for one artifact of a plan."""
    log = artifact.log(workspace)
    return WorkOrder(artifact.kind, artifact.key, workspace.root, log, make_work(artifact, plan.study, workspace))


def replicated(order: WorkOrder, replicas: int) -> WorkOrder:
    """The order with so many copies of the model over its ranks; one that trains nothing is as it was."""
    if not isinstance(order.work, TrainingJob):
        return order
    placement = dataclasses.replace(order.work.placement, replicas=replicas)
    return dataclasses.replace(order, work=dataclasses.replace(order.work, placement=placement))


@functools.singledispatch
def make_work(artifact: Artifact, study: Study, workspace: Workspace) -> Work:
    """The work of making an artifact: a job of the class that belongs to it."""
    raise TypeError(f"nothing makes a {type(artifact).__name__}")


@make_work.register
def _(artifact: CorpusArtifact, study: Study, workspace: Workspace) -> CorpusJob:
    return CorpusJob(artifact.corpus, artifact.path(workspace))


@make_work.register
def _(artifact: AnswersArtifact, study: Study, workspace: Workspace) -> TasksJob:
    model, folder = artifact.model(workspace), artifact.path(workspace)
    return TasksJob(artifact.downstream, model, folder, artifact.run.corpus.bos)


@make_work.register
def _(artifact: StoreArtifact, study: Study, workspace: Workspace) -> CaptureJob:
    need = artifact.need
    assert not isinstance(need.spec.teacher, Online)
    return CaptureJob(
        need.spec,
        need.coverage,
        need.sequences,
        artifact.path(workspace),
        workspace.corpus(need.spec.corpus),
        model_folder(need.spec.teacher, workspace),
        study.placement.threads,
    )


@make_work.register
def _(artifact: TeacherLossArtifact, study: Study, workspace: Workspace) -> TeacherLossJob:
    text = artifact.text
    text = dataclasses.replace(
        text, teacher=dataclasses.replace(text.teacher, path=str(model_folder(text.teacher, workspace)))
    )
    return TeacherLossJob(
        text,
        artifact.evaluations,
        artifact.path(workspace),
        workspace.corpus(text.corpus),
        study.placement.threads,
    )


@make_work.register
def training_job(artifact: RunArtifact, study: Study, workspace: Workspace) -> TrainingJob:
    """The job of a run of a study. A student is pointed at the store that the plan found or will have made."""
    run, reads, start = artifact.run, artifact.reads, artifact.run.start
    # A teacher is made before there are others to compare it with.
    probed = [probe_teacher(e, run) for e in study.evaluations] if artifact.role != "teacher" else []
    return TrainingJob(
        run,
        artifact.path(workspace),
        workspace.corpus(run.corpus),
        store=workspace.store(reads.spec, reads.coverage) if reads else None,
        evaluations=study.evaluations,
        placement=study.placement,
        teacher=model_folder(run.teacher, workspace) if run.is_live else None,
        probed={fingerprint(teacher): model_folder(teacher, workspace) for teacher in probed if teacher is not None},
        start=model_folder(start.model, workspace, start.step) if start else None,
        relatives=tuple(workspace.root / "runs" / key for key in artifact.after),
        exports=artifact.exports,
        online=tuple(
            StoreToFill(need.spec, need.coverage, need.sequences, workspace.store(need.spec, need.coverage))
            for need in artifact.records
        ),
        claim=workspace.claim(artifact.kind, artifact.key),
    )


def model_folder(model: Run | Pretrained | Online | None, workspace: Workspace, step: int | None = None) -> Path:
    """The transformers folder of a model, there or not: of a run's, the one after `step` steps where given."""
    if isinstance(model, Pretrained):
        return user_path(model.path).absolute()
    assert isinstance(model, Run)
    directory = workspace.run(model)
    return directory.model if step is None else directory.export(step)
