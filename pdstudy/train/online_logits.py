"""Online logits: a run's distributions over its own training text, written to logit stores while it trains.

A student that learns from such a store has a teacher that moves (Peng et al. 2024, section 3.5), and that costs no
inference of its own: hidden states are those of the training step, before its update; the head is applied to them once
more.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdstudy.config.run import Run
from pdstudy.core.errors import ConfigError
from pdstudy.corpus import TokenCorpus
from pdstudy.distill.micro_batch import MicroBatch
from pdstudy.distill.store.codec import GOLD, Block
from pdstudy.distill.store.store import StoreWriter
from pdstudy.distill.teacher.capture import split_into_shards, to_block
from pdstudy.distill.teacher.statistics import draw_uniforms, summarise_states
from pdstudy.models.build_model import Observer
from pdstudy.train.training_job import StoreToFill
from pdstudy.workspace.run_dir import RunDir


class OnlineLogits:
    """The stores that one rank of a run adds to.

    Each rank writes the shards of its own sequences; where shards end depends on ranks and on when checkpoints are
    made, their content does not. A sequence is recorded when it is first read. Raises `ConfigError` where the run does
    not read in the order of the stream, or does not read all that is to be recorded.
    """

    def __init__(self, run: Run, stores: tuple[StoreToFill, ...], corpus: TokenCorpus) -> None:
        for store in stores:
            _check(run, store)
        self._first, self._count = run.view.sequences(run.data).start, run.text_sequences_per_step
        self._open = [_OpenStore(store, corpus) for store in stores]

    def incomplete_after(self, step: int) -> list[Path]:
        """Stores that lack sequences which were read in the first `step` steps."""
        return [each.store.directory for each in self._open if each.missing and step > self._step_of(each.next)]

    @property
    def first_step(self) -> float:
        """Steps before the first that has anything to record: a run may start from a checkpoint so late."""
        return min((self._step_of(each.next) for each in self._open if each.missing), default=float("inf"))

    def _step_of(self, sequence: int) -> int:
        return (sequence - self._first) // self._count

    def observer(self, step: int) -> Observer | None:
        """The observer of the micro-batches of step `step` (0-based), if anything of it is to be recorded."""
        first = self._first + step * self._count
        concerned = [each for each in self._open if each.wants(range(first, first + self._count))]

        def observe(batch: MicroBatch, hidden: Tensor, weight: Tensor, cap: float | None) -> None:
            for each in concerned:
                each.add(step, batch, hidden, weight, cap)

        return observe if concerned else None

    def flush(self) -> None:
        """Write what was gathered. To be called before a checkpoint: the run does not pass these steps again."""
        for each in self._open:
            each.flush()


def check_passed(directory: RunDir, step: int, exports: tuple[int, ...], online: OnlineLogits) -> None:
    """Raise `ConfigError` where a model or logits of the first `step` steps, which are over, are wanted but absent."""
    lacking = [f"its model after step {s}" for s in exports if s <= step and not directory.export(s).exists()]
    lacking += [f"its logits in {folder.name}" for folder in online.incomplete_after(step)]
    if lacking:
        raise ConfigError(
            f"{directory.path} had gone through step {step} when {' and '.join(lacking)} came to be wanted; move it "
            f"away to train it again"
        )


class _OpenStore:
    """One store, and the sequences of the shard that is being gathered."""

    def __init__(self, store: StoreToFill, corpus: TokenCorpus) -> None:
        self.store = store
        self._vocab = corpus.vocab
        self._writer = StoreWriter(store.directory, store.spec, store.coverage, corpus, weights=None)
        context = store.spec.view.context
        self.missing = [
            part for lack in self._writer.missing(store.sequences) for part in split_into_shards(lack, context)
        ]
        self._start = self._stop = 0
        self._steps: list[int] = []
        self._blocks: list[Block] = []

    @property
    def next(self) -> int:
        """The first sequence that the store lacked when it was opened."""
        return self.missing[0].start

    def wants(self, sequences: range) -> bool:
        return any(part.start < sequences.stop and sequences.start < part.stop for part in self.missing)

    @torch.no_grad()
    def add(self, step: int, batch: MicroBatch, hidden: Tensor, weight: Tensor, cap: float | None) -> None:
        """Summarise the rows of a micro-batch that the store lacks, a sequence at a time."""
        assert batch.sequences is not None
        table = weight[: self._vocab].float()
        for row, sequence in enumerate(batch.sequences.tolist()):
            part = next((part for part in self.missing if sequence in part), None)
            if part is None or not hidden[row].isfinite().all():  # a diverged run ends at its next row
                continue
            targets = batch.targets.view(len(batch.sequences), -1)[row]
            coverage = self.store.coverage
            uniform = draw_uniforms(sequence, len(targets), coverage)  # of the sequence alone, as in a capture
            block = to_block(summarise_states(hidden[row].float(), table, targets, coverage, uniform, cap))
            if sequence != self._stop:
                self.flush()
            if not self._blocks:
                self._start = sequence
            self._blocks.append(block)
            self._steps.append(step)
            self._stop = sequence + 1
            if self._stop == part.stop:
                self.flush()

    def flush(self) -> None:
        if not self._blocks:
            return
        gold = np.concatenate([block.columns[GOLD] for block in self._blocks])
        beside: dict[str, Any] = {
            # Of the steps (0-based) that read the shard, each before its update.
            "training": {"loss": -float(gold.mean(dtype=np.float64)), "steps": [self._steps[0], self._steps[-1] + 1]}
        }
        self._writer.write(self._start, self._blocks, beside)
        self._blocks, self._steps = [], []


def _check(run: Run, store: StoreToFill) -> None:
    if run.order != "stream":
        raise ConfigError(f"order: found {run.order!r}; allowed for a run whose logits are recorded: 'stream'")
    if store.spec.view != run.view or run.view.documents != "cross":
        raise ConfigError(
            f"view: found {store.spec.view}; allowed: that of the run, {run.view}, with documents='cross'"
        )
    read = run.view.sequences(run.data)[: run.num_steps * run.text_sequences_per_step]
    if store.sequences.start < read.start or store.sequences.stop > read.stop:
        raise ConfigError(
            f"records: found sequences {store.sequences.start} to {store.sequences.stop - 1}; allowed: those that "
            f"the run reads, {read.start} to {read.stop - 1}"
        )
