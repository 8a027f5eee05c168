"""The training loop: a step from batch to update, on one screen. What surrounds it is `pdstudy.train.session`."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator
from pathlib import Path

from torch import Tensor

from pdstudy.config import Heldout, Placement, Run
from pdstudy.corpus import TokenCorpus
from pdstudy.distill.mixing import alpha_at
from pdstudy.rundir import RunDir
from pdstudy.train.metrics import Diverged
from pdstudy.train.optim import clip, learning_rate, set_learning_rate
from pdstudy.train.session import Session


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
    evaluations: tuple[Heldout, ...],
    placement: Placement = Placement(),  # noqa: B008 (frozen)
    progress: Callable[[str, float], None] = quiet,
    should_stop: Callable[[], bool] = never,
) -> str:
    """Train `run` in `directory` and return its final state: "done", "diverged" or "stopped".

    Goes on from the newest checkpoint by itself; "stopped" means that `should_stop` was true at the end of a step:
    all is saved, and calling again continues. `store` holds the teacher's distributions where the objective has a
    teacher. Raises `ConfigError` on what does not fit together, before anything is trained.
    """
    if (finished := directory.result()) is not None:
        return str(finished["state"])
    session = Session(run, directory, corpus, store, evaluations, placement, progress)
    model, optimiser, feed, recorder = session.model, session.optimiser, session.feed, session.recorder
    objective, vocab = run.objective, corpus.vocab
    try:
        with _quiet_gc():
            for step in range(session.resume(), run.num_steps):
                alpha = alpha_at(objective, step, run.num_steps)
                rate = learning_rate(run, step)
                valid, micro_batches = feed.step(step)
                sums: dict[str, Tensor] = {}
                for batch in micro_batches:
                    loss, parts = model.distillation_loss(
                        batch.to(model.device), objective=objective, alpha=alpha, divisor=valid, vocab=vocab
                    )
                    loss.backward()
                    for name, value in {"loss": loss.detach(), **parts}.items():
                        sums[name] = sums[name] + value if name in sums else value
                norm = clip(model, run.optimiser.clip)
                set_learning_rate(optimiser, rate)
                optimiser.step()
                optimiser.zero_grad()

                recorder.add(step + 1, valid, {**sums, "grad_norm": norm})
                if recorder.is_due(step + 1):
                    recorder.write(step + 1, lr=rate, alpha=alpha)
                session.after(step + 1)
                if step + 1 < run.num_steps and should_stop():
                    session.save(step + 1)
                    return session.stopped(step + 1)
    except Diverged as divergence:
        return session.diverged(divergence)
    return session.done()


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
