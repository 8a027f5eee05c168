"""Teacher inference over a stream of tokens, into a logit store."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel

from pdstudy.config.data import View
from pdstudy.config.logits import Coverage, StoreSpec
from pdstudy.config.run import Pretrained
from pdstudy.core.errors import ConfigError
from pdstudy.core.progress import Progress, no_progress
from pdstudy.corpus import TokenCorpus, TokenStream
from pdstudy.corpus.batch import read_batch
from pdstudy.distill.loss.chunk_size import TEACHER_LOGITS_BYTES, size_for
from pdstudy.distill.signal import SparseTargets
from pdstudy.distill.store.codec import COLUMNS, Block
from pdstudy.distill.store.store import StoreWriter
from pdstudy.distill.teacher.load import load_teacher
from pdstudy.distill.teacher.statistics import summarise
from pdstudy.distill.teacher.weights import check_finite, weights_sha256

SHARD_TOKENS = 65_536
"""Positions of a full shard: some tens of megabytes, and the most that a kill can lose."""


def capture(
    spec: StoreSpec,
    coverage: Coverage,
    sequences: range,
    *,
    corpus: TokenCorpus,
    teacher: Path,
    directory: Path,
    progress: Progress = no_progress,
    threads: int = 1,
) -> None:
    """Store the distributions of the model in the folder `teacher` over `sequences` (absolute indices of the view).

    Sequences that the store holds are skipped, so that a capture continues where it was killed, and may be extended.
    Shards end at multiples of a fixed number of sequences. Raises `ConfigError` where the teacher does not fit the
    corpus or its logits are not all numbers, or the folder holds another store.
    """
    if spec.view.documents != "cross":
        raise ConfigError("view.documents: found 'respect'; allowed for a teacher: 'cross'")
    torch.set_num_threads(threads)
    writer = StoreWriter(directory, spec, coverage, corpus, weights_sha256(teacher))
    parts = [part for missing in writer.missing(sequences) for part in split_into_shards(missing, spec.view.context)]
    if not parts:
        return
    dtype = getattr(torch, spec.teacher.dtype) if isinstance(spec.teacher, Pretrained) else torch.float32
    model = load_teacher(teacher, corpus, spec.view.context, dtype)
    stream = corpus.stream(spec.split)
    began, done, total = time.perf_counter(), 0, sum(map(len, parts))
    for part in parts:
        blocks = []
        for block in _make_blocks(model, teacher, stream, spec.view, part, coverage, corpus.vocab):
            blocks.append(block)
            done += 1
            rate = done * spec.view.context / (time.perf_counter() - began)
            progress(f"logits of sequence {part.start + len(blocks):,}, {rate:,.0f} tokens/s", done / total)
        writer.write(part.start, blocks)


def split_into_shards(sequences: range, context: int) -> Iterator[range]:
    """Cut `sequences` at multiples of a full shard's number of sequences."""
    size = max(1, SHARD_TOKENS // context)
    at = sequences.start
    while at < sequences.stop:
        end = min(sequences.stop, (at // size + 1) * size)
        yield range(at, end)
        at = end


def _make_blocks(
    model: PreTrainedModel,
    folder: Path,
    stream: TokenStream,
    view: View,
    part: range,
    coverage: Coverage,
    vocab: int,
) -> Iterator[Block]:
    batch = max(
        1,
        size_for(TEACHER_LOGITS_BYTES, model.device) // (view.context * model.config.vocab_size * model.dtype.itemsize),
    )
    for start in range(part.start, part.stop, batch):
        wanted = np.arange(start, min(start + batch, part.stop))
        text = read_batch(stream, view, wanted)
        with torch.inference_mode():
            inputs = torch.from_numpy(text.inputs).to(model.device)
            targets = torch.from_numpy(text.targets).to(model.device)
            logits = model(input_ids=inputs, use_cache=False).logits
            check_finite(logits[..., :vocab], folder, wanted.tolist())
            for i, sequence in enumerate(wanted.tolist()):
                # Draws depend on the sequence alone, so that they are the same however a store is captured.
                yield to_block(summarise(logits[i], targets[i], coverage, vocab, seed=sequence))


def to_block(signal: SparseTargets) -> Block:
    """Make of the signal for one sequence the block that a store keeps."""
    tempered = () if signal.tempered is None else signal.tempered.unbind(1)
    columns = torch.stack([*(getattr(signal, name) for name in COLUMNS), *tempered])
    none = signal.ids[:, :0]
    drawn = none if signal.drawn is None else signal.drawn
    weights = none.float() if signal.drawn_weights is None else signal.drawn_weights
    return Block(*(x.cpu().numpy() for x in (signal.ids, signal.log_probs, columns, drawn, weights)))
