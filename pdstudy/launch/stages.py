"""The work behind each item of a plan: build a corpus, train, capture, evaluate. Runs in a worker or in process.

Each stage claims its artifact, does nothing when it is there, and leaves it whole or absent. Heavy imports happen here
and nowhere above.
"""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from pdstudy.config.data import Corpus
from pdstudy.config.downstream import Downstream
from pdstudy.config.evaluation import probe_teacher
from pdstudy.config.logits import StoreSpec
from pdstudy.config.run import Online, Pretrained, Run
from pdstudy.core.claim import Claim
from pdstudy.core.errors import ConfigError
from pdstudy.core.identity import fingerprint
from pdstudy.launch.task import Task
from pdstudy.plan.replay import replay_needed
from pdstudy.workspace.layout import Workspace
from pdstudy.workspace.run_dir import RunDir, unguarded
from pdstudy.workspace.store_index import holds

Progress = Callable[[str, float], None]


ShouldStop = Callable[[], bool]


Records = list[tuple[Path, range]]
"""Folders of stores, and what each is to hold of a run's own text."""


class StopWork(Exception):
    """Raised out of a progress call when the user asked to stop; nothing half-made is left behind."""


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
    from pdstudy.evaluate.lm_eval_run import evaluate_downstream

    assert task.model is not None
    evaluate_downstream(Path(task.model), asked, Path(task.workspace) / "downstream" / task.key, progress=progress)
    return "done"


def _capture(task: Task, spec: StoreSpec, progress: Progress) -> str:
    from pdstudy.corpus import open_corpus
    from pdstudy.distill.teacher.capture import capture

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
    from pdstudy.train.online_logits import StoreToFill

    workspace = Workspace(Path(task.workspace))
    directory = RunDir(workspace.run(run).path, guard)
    corpus = open_corpus(workspace.corpus(run.corpus))
    records = tuple(StoreToFill(spec, cov, range(a, b), workspace.store(spec, cov)) for spec, cov, a, b in task.records)
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
        from pdstudy.evaluate.heldout import evaluate_export

        evaluate_export(run, directory, corpus=corpus, evaluations=missing, teachers=probed, progress=progress)
    state = _make_up(run, directory, task, [(r.directory, r.sequences) for r in records], work)
    if state == "done" and result is None:
        return work(directory, evaluations=task.evaluations, probed=probed)
    return state


def _make_up(run: Run, directory: RunDir, task: Task, records: Records, work: Callable[..., str]) -> str:
    """Train steps that are over once more, for what was not asked of them then; "done" where nothing is lacking."""
    lacking = replay_needed(run, directory, task.exports, records)
    if lacking is None:
        return "done"
    apart = RunDir(directory.path / "again", directory.guard, models=directory.path / "models")
    main = int(os.environ.get("RANK", "0")) == 0
    if main and max(apart.saved, default=0) > lacking.first:  # it was about other steps
        shutil.rmtree(apart.path)
    relatives = (directory,) if (directory.path / "config.json").exists() else ()
    state = work(apart, relatives=relatives, exports=lacking.exports, until=lacking.until, evaluations=())
    if replay_needed(run, directory, task.exports, records) is not None:
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
