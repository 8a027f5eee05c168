"""The training loop: a step from batch to update, on one screen. `pdstudy.train.trainer` has what surrounds it."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from transformers import PreTrainedModel

from pdstudy.config.run import Objective
from pdstudy.config.trajectory import alpha_at, learning_rate
from pdstudy.core.collector import no_collection
from pdstudy.core.errors import ConfigError
from pdstudy.core.progress import Progress, no_progress
from pdstudy.corpus import open_corpus
from pdstudy.models.build_model import Observer
from pdstudy.models.distributed import Ranks, open_ranks
from pdstudy.models.parallelize import announce_backward
from pdstudy.train.loader import BatchLoader
from pdstudy.train.online_logits import OnlineLogits, check_passed
from pdstudy.train.recorder import Diverged
from pdstudy.train.trainer import Trainer
from pdstudy.train.training_job import TrainingJob, never
from pdstudy.train.weight_update import clip, set_learning_rate
from pdstudy.workspace.run_dir import RunDir, unguarded


def train(
    job: TrainingJob,
    *,
    progress: Progress = no_progress,
    should_stop: Callable[[], bool] = never,
    guard: Callable[[], None] = unguarded,
) -> str:
    """Train the job's run and return its final state: "done", "diverged" or "stopped".

    The run goes on from its newest checkpoint by itself; "stopped" means that `should_stop` was true at the end of a
    step, or that the job's `until` was reached: all is saved, and calling again continues. Every rank of a run calls
    this; ranks come from the environment (torchrun, submitit), and it is enough that `should_stop` is true on one of
    them. A run that starts from a relative's checkpoint has the result of one trained straight through; its provenance
    says so.

    Raises `ConfigError` on what does not fit together, before anything is trained, and on a disk that cannot be
    written.
    """
    run, directory = job.run, RunDir(job.directory, guard, models=job.models)
    corpus = open_corpus(job.corpus)
    if (finished := directory.result()) is not None:
        if finished["state"] == "done":
            check_passed(directory, run.num_steps, job.exports, OnlineLogits(run, job.online, corpus))
        return str(finished["state"])
    try:
        with open_ranks(replicas=job.placement.replicas, sharded=run.precision != "float32") as ranks:
            trainer = Trainer(job, directory, corpus, ranks, progress)
            try:
                return _train(trainer, should_stop, job.until or run.num_steps)
            finally:
                trainer.loader.close()
    except OSError as error:
        raise ConfigError(
            f"{directory.path} cannot be written: {error}; what is there is whole: make room and run again"
        ) from error


def _train(trainer: Trainer, should_stop: Callable[[], bool], until: int) -> str:
    """The loop itself."""
    run, vocab = trainer.run, trainer.corpus.vocab
    model, optimiser, loader, recorder = trainer.model, trainer.optimiser, trainer.loader, trainer.recorder
    try:
        with no_collection():
            for step in range(trainer.resume(), run.num_steps):
                alpha = alpha_at(run.objective, step, run.num_steps)
                rate = learning_rate(run, step)
                valid, sums = gradients(
                    model,
                    loader,
                    trainer.ranks,
                    step,
                    run.objective,
                    alpha,
                    vocab,
                    z_loss=run.z_loss,
                    observe=trainer.online.observer(step),
                )
                norm = clip(model, run.optimiser.clip)
                set_learning_rate(optimiser, rate)
                optimiser.step()
                optimiser.zero_grad()

                recorder.add(step + 1, valid, {**sums, "grad_norm": norm})
                if recorder.is_due(step + 1):
                    recorder.write(step + 1, lr=rate, alpha=alpha)
                if trainer.after(step + 1, should_stop() or step + 1 >= until):
                    return trainer.stopped(step + 1)
            return trainer.done()
    except Diverged as divergence:
        return trainer.diverged(divergence)


def gradients(
    model: PreTrainedModel,
    loader: BatchLoader,
    ranks: Ranks,
    step: int,
    objective: Objective,
    alpha: float,
    vocab: int,
    *,
    z_loss: float = 0.0,
    observe: Observer | None = None,
) -> tuple[int, dict[str, Tensor]]:
    """Forward and backward of all of this rank's micro-batches of a step; gradients are summed over ranks by then.

    Returns the step's valid tokens over all ranks, and this rank's share of the loss ("loss", nats per token) and
    sums of its parts ("lm", "kd", nats). `observe` is called with each micro-batch's hidden states.
    """
    valid, micro_batches = loader.step(step)
    sums: dict[str, Tensor] = {}
    for last, batch in micro_batches:
        announce_backward(model, ranks, last=last)
        loss, parts = model.distillation_loss(
            batch, objective=objective, alpha=alpha, divisor=valid, vocab=vocab, z_loss=z_loss, observe=observe
        )
        loss.backward()
        for name, value in {"loss": loss.detach(), **parts}.items():
            sums[name] = sums[name] + value if name in sums else value
    return valid, sums
