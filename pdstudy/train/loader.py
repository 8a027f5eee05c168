"""The batches of a step: its sequences, cut into micro-batches, with the teacher's signal beside them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from pdstudy.config.placement import Placement
from pdstudy.config.run import KD, Run
from pdstudy.config.truncation import TopPK
from pdstudy.core.errors import ConfigError
from pdstudy.corpus import TokenCorpus
from pdstudy.corpus.batch import Batch, read_batch, step_sequences
from pdstudy.corpus.example_cache import load_packed as packed_examples
from pdstudy.corpus.examples import concatenate, step_rows
from pdstudy.distill.micro_batch import MicroBatch, make_micro_batch, split_rows
from pdstudy.distill.store.store import StoreReader
from pdstudy.distill.teacher.live import LiveTeacher
from pdstudy.models.distributed import Ranks

READ_AHEAD = 2
"""Steps that are read ahead for a GPU, where the placement does not set their number."""


class BatchLoader:
    """A rank's batches as a pure function of the step: there is no state to save or restore.

    Rank r of R takes the r-th of R equal pieces of each step. Raises `ConfigError` where the sequences of a step
    cannot be divided so, or `placement.micro_batch_tokens` is below one sequence. `packed`: see `make_micro_batch`.
    `live` is a teacher that reads each micro-batch on the device, in the place of a store.
    """

    def __init__(
        self,
        run: Run,
        corpus: TokenCorpus,
        store: StoreReader | None,
        placement: Placement,
        ranks: Ranks,
        *,
        packed: bool = False,
        live: LiveTeacher | None = None,
    ) -> None:
        count = run.sequences_per_step
        if count % ranks.size:
            allowed = ", ".join(str(n) for n in range(1, count + 1) if count % n == 0)
            raise ConfigError(
                f"ranks: found {ranks.size}; allowed: a divisor of the {count} sequences of a step, {allowed}"
            )
        self._rows = np.arange(count).reshape(ranks.size, -1)[ranks.rank]
        self._run = run
        self._device = ranks.device
        self._stream = corpus.stream(run.data.split)
        self._store = store
        self._live = live
        self._examples = None if run.instructions is None else packed_examples(run.instructions, corpus, run.view)
        if self._examples is not None and self._examples.left_out and ranks.rank == 0:
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in self._examples.left_out.items())
            print(
                f"instructions: examples are left out at a context of {run.view.context:,} tokens: {reasons}",
                flush=True,
            )
        bound = placement.micro_batch_tokens or len(self._rows) * run.view.context
        if bound < run.view.context:
            raise ConfigError(
                f"placement.micro_batch_tokens: found {bound}; allowed: at least one sequence, {run.view.context} "
                f"tokens"
            )
        self._ahead: dict[int, Future[tuple[int, Iterable[MicroBatch]]]] = {}
        self._reach = _reach(run, packed, ranks) if placement.read_ahead is None else placement.read_ahead
        # One thread: reading is quick beside a step, and the store's reader is not made for two.
        self._thread = ThreadPoolExecutor(1) if self._reach else None
        self._packed = packed
        self._parts = split_rows(self._rows, run.view.context, bound)

    def step(self, step: int) -> tuple[int, Iterator[tuple[bool, MicroBatch]]]:
        """The number of valid tokens of all of step `step` (0-based), and the rank's micro-batches of it, as equal
        as they can be, each with whether it is the last."""
        valid, parts = self._load(step) if self._thread is None else self._loaded(step, self._thread)
        last = len(self._parts) - 1
        return valid, ((number == last, self._ready(part)) for number, part in enumerate(parts))

    def _ready(self, part: MicroBatch) -> MicroBatch:
        part = part.to(self._device)
        return part if self._live is None else dataclasses.replace(part, signal=self._live.signal(part))

    def _load(self, step: int) -> tuple[int, Iterable[MicroBatch]]:
        run = self._run
        batch = read_batch(self._stream, run.view, step_sequences(run, step))
        if self._examples is not None:
            count = run.sequences_per_step - run.text_sequences_per_step
            examples = self._examples.batch(run.view, step_rows(self._examples, run.seed, step, count))
            batch = concatenate(examples, batch)
        return int((batch.targets >= 0).sum()), (self._micro_batch(batch, part) for part in self._parts)

    def _loaded(self, step: int, thread: ThreadPoolExecutor) -> tuple[int, Iterable[MicroBatch]]:
        for coming in range(step, min(step + self._reach + 1, self._run.num_steps)):
            if coming not in self._ahead:
                self._ahead[coming] = thread.submit(self._whole, coming)
        return self._ahead.pop(step).result()

    def _whole(self, step: int) -> tuple[int, Iterable[MicroBatch]]:
        valid, parts = self._load(step)
        pin = self._device.type == "cuda"  # so that the copy to the device does not wait
        return valid, [part.pin() if pin else part for part in parts]

    def close(self) -> None:
        """Stop reading ahead."""
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)

    def _micro_batch(self, batch: Batch, rows: np.ndarray) -> MicroBatch:
        signal = None
        if self._store is not None:
            assert isinstance(self._run.objective, KD)
            signal = self._store.signal(batch.sequences[rows], self._run.objective.truncation)
        return make_micro_batch(batch, rows, signal, packed=self._packed)


def _reach(run: Run, packed: bool, ranks: Ranks) -> int:
    """Steps that are read ahead where the placement does not set their number.

    None on a CPU, whose cores reading and training would share; nor where a step as a whole is large: a mask of
    context x context for each sequence, or distributions that nothing was cut from.
    """
    masked = run.view.documents == "respect" and not packed
    cut = run.objective.truncation if isinstance(run.objective, KD) and not run.is_live else None
    whole = isinstance(cut, TopPK) and cut.k is None
    return READ_AHEAD if ranks.device.type == "cuda" and not masked and not whole else 0
