"""The work behind each item of a plan: build a corpus, train, capture, evaluate. Runs in a worker or in process.

Each stage claims its artifact, does nothing when it is there, and leaves it whole or absent. Heavy imports happen here
and nowhere above.
"""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pdstudy.again import again
from pdstudy.captures import StoreNeed, holds
from pdstudy.config import Online, Placement, Pretrained, Run
from pdstudy.coverage import Coverage, StoreSpec
from pdstudy.data import Corpus
from pdstudy.downstream import Downstream
from pdstudy.evaluations import Evaluation, probe_teacher
from pdstudy.files import Claim
from pdstudy.items import Item, Plan
from pdstudy.normal import ConfigError, decode, encode, fingerprint
from pdstudy.rundir import RunDir, Workspace, unguarded

Progress = Callable[[str, float], None]
ShouldStop = Callable[[], bool]
Records = list[tuple[Path, range]]
"""Folders of stores, and what each is to hold of a run's own text."""


class StopWork(Exception):
    """Raised out of a progress call when the user asked to stop; nothing half-made is left behind."""


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


def make_task(plan: Plan, item: Item, workspace: Workspace) -> Task:
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


def perform(task: Task, progress: Progress, should_stop: ShouldStop) -> str:
    """Do one task; returns the state reached: done, diverged or stopped. Raises `Claimed` while another makes it."""
    with Claim(task.claim, f"{task.kind} {task.key}"):
        return perform_claimed(task, progress, should_stop)


def perform_claimed(
    task: Task, progress: Progress, should_stop: ShouldStop, guard: Callable[[], None] = unguarded
) -> str:
    """`perform` for one who holds the claim. `guard`: see `RunDir`."""

    def stoppable(what: str, share: float) -> None:
        progress(what, share)
        if should_stop():
            raise StopWork

    try:
        if isinstance(task.subject, Corpus):
            return _corpus(task, task.subject, stoppable)
        if isinstance(task.subject, Downstream):
            return _ask(task, task.subject, stoppable)
        if isinstance(task.subject, StoreSpec):
            return _capture(task, task.subject, stoppable)
        assert isinstance(task.subject, Run)
        return _train(task, task.subject, progress, should_stop, guard)
    except StopWork:
        return "stopped"


def _corpus(task: Task, corpus: Corpus, progress: Progress) -> str:
    from pdstudy.corpus import build

    directory = Workspace(Path(task.workspace)).corpus(corpus)
    if not (directory / "manifest.json").exists():
        build(corpus, directory, progress)
    return "done"


def _ask(task: Task, asked: Downstream, progress: Progress) -> str:
    from pdstudy.evaluate.downstream import evaluate_downstream

    assert task.model is not None
    evaluate_downstream(Path(task.model), asked, Path(task.workspace) / "downstream" / task.key, progress=progress)
    return "done"


def _capture(task: Task, spec: StoreSpec, progress: Progress) -> str:
    from pdstudy.corpus import open_corpus
    from pdstudy.distill.capture import capture

    assert task.coverage is not None
    assert task.sequences is not None
    workspace = Workspace(Path(task.workspace))
    directory = workspace.store(spec, task.coverage)
    sequences = range(*task.sequences)
    if not holds(directory, sequences):
        capture(
            spec,
            task.coverage,
            sequences,
            corpus=open_corpus(workspace.corpus(spec.corpus)),
            teacher=teacher_folder(spec.teacher, workspace),
            directory=directory,
            progress=progress,
            threads=task.placement.threads,
        )
    return "done"


def teacher_folder(teacher: Run | Pretrained | Online, workspace: Workspace) -> Path:
    """The transformers folder of a teacher. Raises `ConfigError` where a trained one is not there yet, or diverged."""
    if isinstance(teacher, Online):
        raise ConfigError("online logits are written by the teacher's own training, not captured from a model")
    if isinstance(teacher, Pretrained):
        return Path(teacher.path).expanduser()
    directory = workspace.run(teacher)
    result = directory.result()
    if result is None or result["state"] != "done":
        state = result["state"] if result else "not finished"
        raise ConfigError(f"the teacher {directory.path} is {state}: no logits can be captured from it")
    return directory.model


def start_folder(run: Run, workspace: Workspace) -> Path | None:
    """The transformers folder whose weights a run starts from. Raises `ConfigError` where it is not there yet."""
    if run.start is None:
        return None
    model, step = run.start.model, run.start.step
    if isinstance(model, Pretrained):
        return Path(model.path).expanduser()
    directory = workspace.run(model)
    folder = directory.model if step is None else directory.export(step)
    if not folder.exists():
        raise ConfigError(f"the run starts from {folder}, which is not there: its run has not come so far, or diverged")
    return folder


def _train(task: Task, run: Run, progress: Progress, should_stop: ShouldStop, guard: Callable[[], None]) -> str:
    from pdstudy.corpus import open_corpus
    from pdstudy.train.loop import train
    from pdstudy.train.records import Record

    workspace = Workspace(Path(task.workspace))
    directory = RunDir(workspace.run(run).path, guard)
    corpus = open_corpus(workspace.corpus(run.corpus))
    records = tuple(Record(spec, cov, range(a, b), workspace.store(spec, cov)) for spec, cov, a, b in task.records)
    runs = workspace.root / "runs"
    probed = _probed(task, run, workspace)
    work = functools.partial(
        train,
        run,
        corpus=corpus,
        store=None if task.store is None else Path(task.store),
        teacher=teacher_folder(run.teacher, workspace) if run.is_live and run.teacher is not None else None,
        start=start_folder(run, workspace),
        placement=task.placement,
        relatives=tuple(RunDir(runs / key) for key in task.relatives if (runs / key / "config.json").exists()),
        exports=task.exports,
        records=records,
        progress=progress,
        should_stop=should_stop,
    )
    result = directory.result()
    if result is not None and result["state"] == "diverged":
        return "diverged"
    missing = directory.missing_evaluations(task.evaluations) if result is not None else ()
    if missing:
        from pdstudy.evaluate.late import evaluate_export

        evaluate_export(run, directory, corpus=corpus, evaluations=missing, teachers=probed, progress=progress)
    state = _make_up(run, directory, task, [(r.directory, r.sequences) for r in records], work)
    if state == "done" and result is None:
        return work(directory, evaluations=task.evaluations, probed=probed)
    return state


def _make_up(run: Run, directory: RunDir, task: Task, records: Records, work: Callable[..., str]) -> str:
    """Train steps that are over once more, for what was not asked of them then; "done" where nothing is lacking."""
    lacking = again(run, directory, task.exports, records)
    if lacking is None:
        return "done"
    apart = RunDir(directory.path / "again", directory.guard, models=directory.path / "models")
    main = int(os.environ.get("RANK", "0")) == 0
    if main and max(apart.saved, default=0) > lacking.first:  # it was about other steps
        shutil.rmtree(apart.path)
    relatives = (directory,) if (directory.path / "config.json").exists() else ()
    state = work(apart, relatives=relatives, exports=lacking.exports, until=lacking.until, evaluations=())
    if again(run, directory, task.exports, records) is not None:
        return state
    if main:
        shutil.rmtree(apart.path)
    return "done"


def _probed(task: Task, run: Run, workspace: Workspace) -> dict[str, Path]:
    """The model folders of the teachers that the probes of a student compare it with, by fingerprint.

    Of a teacher there are none: it is made before there are others.
    """
    found = [probe_teacher(e, run) for e in task.evaluations] if task.kind != "teacher" else []
    return {fingerprint(t): teacher_folder(t, workspace) for t in found if t is not None}
