"""Artifacts: what a study needs, each kept once in the workspace under its key.

A corpus, a run, a logit store, a teacher's held-out losses, and a model's answers to tasks. How one is made is the
business of `pdstudy.launch`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pdstudy.config.data import Corpus
from pdstudy.config.downstream import Downstream
from pdstudy.config.evaluation import Heldout, TeacherText
from pdstudy.config.logits import StoreNeed
from pdstudy.config.run import Run
from pdstudy.core.claim import Claim
from pdstudy.plan.cost import sizes, teacher_parameters
from pdstudy.workspace.layout import Workspace
from pdstudy.workspace.run_dir import RunDir

Role = Literal["teacher", "student", "finetune"]
"""The part that a run plays in a study."""

Kind = Literal["corpus", "teacher", "logits", "student", "finetune", "evaluate"]
"""The stage of an artifact, as files and `--json` name it."""


@dataclass(frozen=True, kw_only=True)
class Artifact(ABC):
    """One thing that a study needs.

    `needs` are the keys of the artifacts that must be there first. `done` and `state` are as planning found
    them. `flops` and `bytes` are its price: all of it where it is done, else what is left to do.
    """

    key: str
    label: str
    done: bool
    state: str = "new"
    needs: tuple[str, ...] = ()
    flops: float = 0.0
    bytes: float = 0.0

    @property
    @abstractmethod
    def kind(self) -> Kind:
        """The stage that makes it."""

    @abstractmethod
    def path(self, workspace: Workspace) -> Path:
        """The folder that holds it, or will."""

    @property
    def id(self) -> str:
        """Kind and key: a name that no other artifact of a workspace has."""
        return f"{self.kind}/{self.key}"

    @property
    def stage(self) -> str:
        """The stage whose resources its job needs."""
        return self.kind

    @property
    def after(self) -> tuple[str, ...]:
        """Keys of artifacts whose end it waits for, good or bad, because it may go on from where they are."""
        return ()

    @property
    def cells(self) -> tuple[str, ...]:
        """Names of the study's cells that this is."""
        return ()

    @property
    def parameters(self) -> float:
        """Non-embedding parameters of the model that making it loads; 0 without one."""
        return 0.0

    def log(self, workspace: Workspace) -> Path:
        """The file for the output of whoever makes it."""
        return workspace.root / "logs" / f"{self.kind}-{self.key.replace('/', '-')}.txt"

    def holder(self, workspace: Workspace) -> dict[str, Any] | None:
        """Who is making it now; None where nobody is."""
        return Claim.holder(workspace.claim(self.kind, self.key))


@dataclass(frozen=True, kw_only=True)
class CorpusArtifact(Artifact):
    """Text as tokens."""

    corpus: Corpus

    @property
    def kind(self) -> Kind:
        return "corpus"

    def path(self, workspace: Workspace) -> Path:
        return workspace.corpus(self.corpus)


@dataclass(frozen=True, kw_only=True)
class RunArtifact(Artifact):
    """A run: a teacher, a student, or the finetuning of one.

    `reads` is the store that it learns from, `records` those that it writes as it trains, `exports` the steps whose
    models others need, `saved` the FLOPs that it is spared by going on from another run's checkpoint.
    """

    run: Run
    role: Role
    cells: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    saved: float = 0.0
    reads: StoreNeed | None = None
    records: tuple[StoreNeed, ...] = ()
    exports: tuple[int, ...] = ()

    @property
    def kind(self) -> Kind:
        return self.role

    @property
    def stage(self) -> str:
        return "evaluate" if self.state == "evaluate" else self.role

    @property
    def parameters(self) -> float:
        return sizes(self.run)[0]

    def directory(self, workspace: Workspace) -> RunDir:
        return RunDir(workspace.root / "runs" / self.key)

    def path(self, workspace: Workspace) -> Path:
        return self.directory(workspace).path

    def log(self, workspace: Workspace) -> Path:
        return self.path(workspace) / "log.txt"


@dataclass(frozen=True, kw_only=True)
class StoreArtifact(Artifact):
    """A teacher's distributions over a stretch of a corpus."""

    need: StoreNeed

    @property
    def kind(self) -> Kind:
        return "logits"

    @property
    def parameters(self) -> float:
        return teacher_parameters(self.need.spec.teacher)

    @property
    def tokens(self) -> int:
        return len(self.need.sequences) * self.need.spec.view.context

    def path(self, workspace: Workspace) -> Path:
        return workspace.store(self.need.spec, self.need.coverage)


@dataclass(frozen=True, kw_only=True)
class TeacherLossArtifact(Artifact):
    """Held-out losses of a teacher that is not trained here; `taught` are the names of its students' cells."""

    text: TeacherText
    evaluations: tuple[Heldout, ...]
    taught: tuple[str, ...] = ()

    @property
    def kind(self) -> Kind:
        return "evaluate"

    @property
    def stage(self) -> str:
        return "logits"  # a teacher takes what its capture would

    @property
    def parameters(self) -> float:
        return teacher_parameters(self.text.teacher)

    def path(self, workspace: Workspace) -> Path:
        return workspace.teacher(self.text)


@dataclass(frozen=True, kw_only=True)
class AnswersArtifact(Artifact):
    """The answers to tasks of the model that `run` has after `step`, or at its end (None)."""

    downstream: Downstream
    run: Run
    step: int | None = None

    @property
    def kind(self) -> Kind:
        return "evaluate"

    @property
    def parameters(self) -> float:
        return sizes(self.run)[0]

    def path(self, workspace: Workspace) -> Path:
        return workspace.root / "downstream" / self.key

    def model(self, workspace: Workspace) -> Path:
        """The folder of the model that answers."""
        directory = workspace.run(self.run)
        return directory.model if self.step is None else directory.export(self.step)
