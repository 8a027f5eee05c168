"""The work behind each artifact: build a corpus, train, capture, evaluate. Runs in a worker, a SLURM job or in process.

Each stage does nothing where its artifact is there, and leaves it whole or absent. Heavy imports happen here and
nowhere above.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

from pdstudy.core.claim import Claim
from pdstudy.core.collector import quick_imports
from pdstudy.core.errors import ConfigError
from pdstudy.core.progress import Progress
from pdstudy.launch.devices import own_devices
from pdstudy.launch.work_order import CaptureJob, CorpusJob, TasksJob, TeacherLossJob, WorkOrder
from pdstudy.train.training_job import TrainingJob
from pdstudy.workspace.run_dir import unguarded
from pdstudy.workspace.store_index import holds

if TYPE_CHECKING:
    from pdstudy.models.distributed import Ranks


class StopWork(Exception):
    """Raised out of a progress call when the work is to stop; nothing half-made is left behind."""


def perform(order: WorkOrder, progress: Progress, should_stop: Callable[[], bool]) -> str:
    """Carry out an order; the state reached: done, diverged or stopped. Raises `Claimed` while another does."""
    with Claim(order.claim, f"{order.kind} {order.key}", own_devices()):
        return perform_claimed(order, progress, should_stop)


def perform_claimed(
    order: WorkOrder, progress: Progress, should_stop: Callable[[], bool], guard: Callable[[], None] = unguarded
) -> str:
    """`perform` for one who holds the claim. `guard`: see `RunDir`."""
    if isinstance(order.work, TrainingJob):
        with quick_imports():
            from pdstudy.train.run_job import run_job

        return run_job(order.work, progress, should_stop, guard)
    if lacking := order.work.missing_input():
        raise ConfigError(lacking)

    def stoppable(what: str, share: float) -> None:
        progress(what, share)
        if should_stop():
            raise StopWork

    try:
        make(order.work, stoppable)
    except StopWork:
        return "stopped"
    return "done"


@functools.singledispatch
def make(work: object, progress: Progress) -> None:
    """Make what `work` describes. There is no state to save: what a stop interrupts is made anew the next time, but for
    the texts and tokens that a corpus keeps."""
    raise TypeError(f"nobody makes a {type(work).__name__}")


@make.register
def _(work: CorpusJob, progress: Progress) -> None:
    from pdstudy.corpus import build

    if not (work.directory / "manifest.json").exists():
        build(work.corpus, work.directory, progress)


@make.register
def _(work: TasksJob, progress: Progress) -> None:
    with quick_imports():
        from pdstudy.evaluate.lm_eval_run import evaluate_downstream

    evaluate_downstream(work.model, work.downstream, work.directory, bos=work.bos, progress=progress)


@make.register
def _(work: TeacherLossJob, progress: Progress) -> None:
    with quick_imports():
        from pdstudy.corpus import open_corpus
        from pdstudy.evaluate.heldout_teacher import evaluate_teacher
        from pdstudy.models.distributed import open_ranks

    with open_ranks(replicas=1, sharded=False) as ranks:
        evaluate_teacher(
            work.text.teacher,
            work.text.view,
            open_corpus(work.corpus),
            work.evaluations,
            work.directory,
            progress=_agreed(progress, ranks),
            threads=work.threads,
            ranks=ranks,
        )


@make.register
def _(work: CaptureJob, progress: Progress) -> None:
    if holds(work.directory, work.sequences) and (work.directory / "manifest.json").exists():
        return
    with quick_imports():
        from pdstudy.corpus import open_corpus
        from pdstudy.distill.teacher.capture import capture
        from pdstudy.models.distributed import open_ranks
        from pdstudy.models.parallelize import shard_frozen

    with open_ranks(replicas=1, sharded=False) as ranks:
        capture(
            work.spec,
            work.coverage,
            work.sequences,
            corpus=open_corpus(work.corpus),
            teacher=work.teacher,
            directory=work.directory,
            progress=_agreed(progress, ranks),
            threads=work.threads,
            peers=ranks,
            lay_out=lambda model: shard_frozen(model, ranks, head=True),
        )


def _agreed(progress: Progress, ranks: Ranks) -> Progress:
    """`progress` of all ranks, which stop together."""

    def agreed(what: str, share: float) -> None:
        stopping = False
        try:
            progress(what, share)
        except StopWork:
            stopping = True
        if ranks.any(stopping)[0]:
            raise StopWork

    return agreed
