"""The training loop: a step from batch to update, on one screen. What surrounds it is `pdstudy.train.trainer`."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from torch import Tensor
from transformers import PreTrainedModel

from pdstudy.config.evaluation import Evaluation
from pdstudy.config.placement import Placement
from pdstudy.config.run import Objective, Run
from pdstudy.config.trajectory import alpha_at, learning_rate
from pdstudy.core.errors import ConfigError
from pdstudy.corpus import TokenCorpus
from pdstudy.models.build_model import Observer
from pdstudy.models.distributed import Ranks, open_ranks
from pdstudy.models.parallelize import announce_backward
from pdstudy.train.loader import BatchLoader
from pdstudy.train.online_logits import OnlineLogits, StoreToFill, check_passed
from pdstudy.train.recorder import Diverged
from pdstudy.train.trainer import Trainer
from pdstudy.train.weight_update import clip, set_learning_rate
from pdstudy.workspace.run_dir import RunDir


def quiet(what: str, share: float) -> None:
    """Report progress to nobody."""


def never() -> bool:
    """Do not stop early."""
    return False


def train(
    run: Run,
    directory: RunDir,
    *,
    corpus: TokenCorpus,
    store: Path | None,
    evaluations: tuple[Evaluation, ...],
    placement: Placement = Placement(),  # noqa: B008 (frozen)
    relatives: tuple[RunDir, ...] = (),
    exports: tuple[int, ...] = (),
    records: tuple[StoreToFill, ...] = (),
    until: int | None = None,
    teacher: Path | None = None,
    probed: Mapping[str, Path] = MappingProxyType({}),
    start: Path | None = None,
    progress: Callable[[str, float], None] = quiet,
    should_stop: Callable[[], bool] = never,
) -> str:
    """Train `run` in `directory` and return its final state: "done", "diverged" or "stopped".

    Goes on from the newest checkpoint by itself; "stopped" means that `should_stop` was true at the end of a step:
    all is saved, and calling again continues. Every rank of a run calls this; ranks come from the environment
    (torchrun, submitit), and it is enough that one of them is told to stop. `store` holds the teacher's distributions
    where the objective has a teacher, `teacher` is the model folder of a live one. `relatives` are runs that may begin
    alike: a new run starts from the latest of their checkpoints that lies on its own way (provenance says so; the
    result is the same). After each step (1-based) of `exports` the model is written to `directory.export(step)`, as
    the final one is to `directory.model`. `records` are stores that the run fills with its own distributions over the
    text it learns from. `until`: stop after that many steps. `probed` are the model folders of the teachers of probes,
    by fingerprint. `start` is the transformers folder whose weights a run with a `start` begins at.

    Raises `ConfigError` on what does not fit together, before anything is trained, and on a disk that cannot be
    written.
    """
    if (finished := directory.result()) is not None:
        if finished["state"] == "done":
            check_passed(directory, run.num_steps, exports, OnlineLogits(run, records, corpus))
        return str(finished["state"])
    try:
        with open_ranks(replicas=placement.replicas, sharded=run.precision != "float32") as world:
            session = Trainer(
                run,
                directory,
                corpus,
                store,
                evaluations,
                placement,
                progress,
                relatives,
                world,
                exports,
                records,
                teacher,
                probed,
                start,
            )
            try:
                return _train(session, should_stop, until or run.num_steps)
            finally:
                session.feed.close()
    except OSError as error:
        raise ConfigError(
            f"{directory.path} cannot be written: {error}; what is there is whole: make room and run again"
        ) from error


def _train(session: Trainer, should_stop: Callable[[], bool], until: int) -> str:
    """The loop itself."""
    run, vocab = session.run, session.corpus.vocab
    model, optimiser, feed, recorder = session.model, session.optimiser, session.feed, session.recorder
    try:
        with _quiet_gc():
            for step in range(session.resume(), run.num_steps):
                alpha = alpha_at(run.objective, step, run.num_steps)
                rate = learning_rate(run, step)
                valid, sums = gradients(
                    model, feed, session.world, step, run.objective, alpha, vocab, session.records.observer(step)
                )
                norm = clip(model, run.optimiser.clip)
                set_learning_rate(optimiser, rate)
                optimiser.step()
                optimiser.zero_grad()

                recorder.add(step + 1, valid, {**sums, "grad_norm": norm})
                if recorder.is_due(step + 1):
                    recorder.write(step + 1, lr=rate, alpha=alpha)
                if session.after(step + 1, should_stop() or step + 1 >= until):
                    return session.stopped(step + 1)
    except Diverged as divergence:
        return session.diverged(divergence)
    return session.done()


def gradients(
    model: PreTrainedModel,
    feed: BatchLoader,
    world: Ranks,
    step: int,
    objective: Objective,
    alpha: float,
    vocab: int,
    observe: Observer | None = None,
) -> tuple[int, dict[str, Tensor]]:
    """Forward and backward of all of this rank's micro-batches of a step; gradients are summed over ranks by then.

    Returns the step's valid tokens over all ranks, and this rank's share of the loss ("loss", nats per token) and
    sums of its parts ("lm", "kd", nats). `observe` is shown each micro-batch's hidden states.
    """
    valid, micro_batches = feed.step(step)
    sums: dict[str, Tensor] = {}
    for last, batch in micro_batches:
        announce_backward(model, world, last=last)
        loss, parts = model.distillation_loss(
            batch, objective=objective, alpha=alpha, divisor=valid, vocab=vocab, observe=observe
        )
        loss.backward()
        for name, value in {"loss": loss.detach(), **parts}.items():
            sums[name] = sums[name] + value if name in sums else value
    return valid, sums


@contextlib.contextmanager
def _quiet_gc() -> Iterator[None]:
    """No collector pauses inside the loop, which makes no cycles: objects that live now are set aside."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()
