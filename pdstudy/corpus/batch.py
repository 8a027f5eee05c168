"""The batch of a step: a pure function of (run, step), with no loader state to save or to lose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pdstudy.config.data import View
from pdstudy.config.run import Run
from pdstudy.corpus.permutation import order
from pdstudy.corpus.stream import TokenStream

IGNORED = -100
"""The target of a position that is not scored (torch's and transformers' convention)."""


@dataclass(frozen=True)
class Batch:
    """B sequences of T positions.

    inputs     int64 [B, T]
    targets    int64 [B, T]: the token after each input; `IGNORED` across a document's end where the view respects it
    documents  int32 [B, T]: number of the document within its sequence, from 0; None where documents may be crossed
    sequences  int64 [B]: absolute sequence indices (the rows of a logit store)
    """

    inputs: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]
    documents: npt.NDArray[np.int32] | None
    sequences: npt.NDArray[np.int64]


def step_sequences(run: Run, step: int) -> npt.NDArray[np.int64]:
    """Absolute sequence indices of step `step` (0-based) of `run`, int64 [run.text_sequences_per_step].

    They depend neither on the run's total, nor on the number of ranks, nor on the micro-batch: rank r of R takes its
    share of them.
    """
    sequences = run.view.sequences(run.data)
    count = run.text_sequences_per_step
    if run.order == "stream":
        places = np.arange(step * count, (step + 1) * count, dtype=np.int64)
        return sequences.start + places % len(sequences)
    return sequences.start + order(run.seed, len(sequences), step * count, count)


def read_batch(stream: TokenStream, view: View, sequences: npt.NDArray[np.int64]) -> Batch:
    """Read the tokens of `sequences` as `view` cuts them."""
    context = view.context
    rows = np.empty((len(sequences), context + 1), dtype=np.int64)
    for i, sequence in enumerate(sequences.tolist()):
        rows[i] = stream.tokens(sequence * context, (sequence + 1) * context + 1)
    inputs, targets = rows[:, :-1].copy(), rows[:, 1:].copy()
    documents = None
    if view.documents == "respect":
        begins = np.zeros((len(sequences), context + 1), dtype=np.int32)
        for i, sequence in enumerate(sequences.tolist()):
            start = sequence * context
            begins[i, stream.document_starts(start, start + context + 1) - start] = 1
        targets[begins[:, 1:] == 1] = IGNORED
        begins[:, 0] = 0  # whatever the first position continues is document 0
        documents = np.cumsum(begins[:, :-1], axis=1, dtype=np.int32)
    return Batch(inputs, targets, documents, np.asarray(sequences, dtype=np.int64))
