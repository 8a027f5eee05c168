"""The work order of a worker: one artifact, and where."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pdstudy.config.data import Corpus
from pdstudy.config.downstream import Downstream
from pdstudy.config.evaluation import Evaluation
from pdstudy.config.logits import Coverage, StoreNeed, StoreSpec
from pdstudy.config.placement import Placement
from pdstudy.config.run import Run
from pdstudy.core.identity import decode, encode
from pdstudy.plan.plan import Artifact, Plan
from pdstudy.workspace.layout import Workspace
from pdstudy.workspace.run_dir import RunDir


@dataclass(frozen=True)
class Task:
    """What a worker is told: one item, and where. Plain JSON on the wire (`encode`, `decode`), never a pickle."""

    kind: str
    key: str
    workspace: str
    subject: Any
    coverage: Coverage | None = None
    sequences: tuple[int, int] | None = None
    store: str | None = None
    model: str | None = None
    relatives: tuple[str, ...] = ()
    records: tuple[tuple[StoreSpec, Coverage, int, int], ...] = ()
    exports: tuple[int, ...] = ()
    evaluations: tuple[Evaluation, ...] = ()
    placement: Placement = Placement()

    def to_json(self) -> dict[str, Any]:
        return {name: encode(value) for name, value in vars(self).items()}

    @staticmethod
    def from_json(data: dict[str, Any]) -> Task:
        return Task(**{name: decode(value) for name, value in data.items()})

    @property
    def claim(self) -> Path:
        """The file that is held by whoever makes this."""
        return Workspace(Path(self.workspace)).claim(self.kind, self.key)

    @property
    def log(self) -> Path:
        """Where the worker's output for this task goes."""
        if isinstance(self.subject, Run):
            return Path(self.workspace) / "runs" / self.key / "log.txt"
        return Path(self.workspace) / "logs" / f"{self.kind}-{self.key.replace('/', '-')}.txt"


def make_task(plan: Plan, item: Artifact, workspace: Workspace) -> Task:
    """The task of one item. A student is pointed at the store that the plan found or will have made."""
    study = plan.study
    common: dict[str, Any] = {"kind": item.kind, "key": item.key, "workspace": str(workspace.root)}
    if isinstance(item.subject, StoreNeed):
        need = item.subject
        return Task(
            **common,
            subject=need.spec,
            coverage=need.coverage,
            sequences=(need.sequences.start, need.sequences.stop),
            placement=study.placement,
        )
    if isinstance(item.subject, Corpus):
        return Task(**common, subject=item.subject)
    if isinstance(item.subject, Downstream):
        run, _, step = item.key.partition("/")[0].partition("-")
        directory = RunDir(workspace.root / "runs" / run)
        model = directory.export(int(step)) if step else directory.model
        return Task(**common, subject=item.subject, model=str(model), placement=study.placement)
    reads = item.reads
    return Task(
        **common,
        subject=item.subject,
        store=str(workspace.store(reads.spec, reads.coverage)) if reads else None,
        relatives=item.after,
        records=tuple((n.spec, n.coverage, n.sequences.start, n.sequences.stop) for n in item.records),
        exports=item.exports,
        evaluations=study.evaluations,
        placement=study.placement,
    )
