"""Carrying out a training job: what worker, SLURM job and torchrun do with it, on every rank alike.

A run that is not finished is trained to its end. A finished one is given what it lacks: evaluations that came to be
wanted later are made with its model, and steps whose models or logits came to be wanted later are trained once more.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable

from pdstudy.core.errors import ConfigError
from pdstudy.core.progress import Progress, no_progress
from pdstudy.corpus import open_corpus
from pdstudy.evaluate.heldout import evaluate_export
from pdstudy.plan.replay import replay_needed
from pdstudy.train.loop import train
from pdstudy.train.training_job import TrainingJob, never
from pdstudy.workspace.run_dir import RunDir, unguarded


def run_job(
    job: TrainingJob,
    progress: Progress = no_progress,
    should_stop: Callable[[], bool] = never,
    guard: Callable[[], None] = unguarded,
) -> str:
    """Bring the job's run to where the job wants it; the state reached: "done", "diverged" or "stopped".

    `guard`: see `RunDir`. Raises `ConfigError` where an input is missing or does not fit.
    """
    if lacking := job.missing_input():
        raise ConfigError(lacking)
    directory = RunDir(job.directory, guard)
    directory.check_whole()
    result = directory.result()
    if result is not None and result["state"] == "diverged":
        return "diverged"
    if result is not None and _is_main():
        _evaluate_missing(job, directory, progress)
    state = _replay(job, directory, progress, should_stop)
    if state == "done" and result is None:
        return train(job, progress=progress, should_stop=should_stop, guard=guard)
    return state


def _is_main() -> bool:
    """Whether this is the rank that writes files; the others are known to torch only once a process group is open."""
    return int(os.environ.get("RANK", "0")) == 0


def _evaluate_missing(job: TrainingJob, directory: RunDir, progress: Progress) -> None:
    missing = directory.missing_evaluations(job.evaluations)
    if missing:
        corpus = open_corpus(job.corpus)
        evaluate_export(job.run, directory, corpus=corpus, evaluations=missing, teachers=job.probed, progress=progress)


def _replay(job: TrainingJob, directory: RunDir, progress: Progress, should_stop: Callable[[], bool]) -> str:
    """Train steps that are over once more, for models and logits that came to be wanted later; "done" without any."""
    stores = [(store.directory, store.sequences) for store in job.online]
    lacking = replay_needed(job.run, directory, job.exports, stores)
    if lacking is None:
        return "done"
    apart = RunDir(directory.path / "again")
    if _is_main() and max(apart.saved, default=0) > lacking.first:  # left by a replay of other steps
        shutil.rmtree(apart.path)
    again = dataclasses.replace(
        job,
        directory=apart.path,
        models=directory.path / "models",
        relatives=(directory.path,),
        exports=lacking.exports,
        until=lacking.until,
        evaluations=(),
    )
    state = train(again, progress=progress, should_stop=should_stop, guard=directory.guard)
    if replay_needed(job.run, directory, job.exports, stores) is not None:
        return state
    if _is_main():
        shutil.rmtree(apart.path)
    return "done"
