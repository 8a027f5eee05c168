"""Training one run in process, without a plan around it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from pdstudy.config.run import Run
from pdstudy.core.progress import no_progress
from pdstudy.corpus import TokenCorpus
from pdstudy.train.loop import train
from pdstudy.train.training_job import TrainingJob, never
from pdstudy.workspace.run_dir import RunDir


def job_of(
    run: Run, directory: RunDir, corpus: TokenCorpus, relatives: Iterable[RunDir] = (), **fields: Any
) -> TrainingJob:
    """A training job; `fields` are those of `TrainingJob`."""
    return TrainingJob(run, directory.path, corpus.directory, relatives=tuple(r.path for r in relatives), **fields)


def train_run(
    run: Run,
    directory: RunDir,
    *,
    corpus: TokenCorpus,
    progress: Callable[[str, float], None] = no_progress,
    should_stop: Callable[[], bool] = never,
    **fields: Any,
) -> str:
    """`train` of such a job."""
    job = job_of(run, directory, corpus, **fields)
    return train(job, progress=progress, should_stop=should_stop, guard=directory.guard)
