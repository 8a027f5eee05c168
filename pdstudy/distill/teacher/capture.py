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
from pdstudy.distill.teacher.load import load_teacher, place_whole
from pdstudy.distill.teacher.peers import Alone, LayOut, Peers
from pdstudy.distill.teacher.statistics import summarise
from pdstudy.distill.teacher.weights import check_finite, weights_sha256

SHARD_TOKENS = 65_536
"""Positions of a full shard: some tens of megabytes, and the most that a kill can lose."""

ALONE = Alone()


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
    peers: Peers = ALONE,
    lay_out: LayOut = place_whole,
) -> None:
    """Store the distributions of the model in the folder `teacher` over `sequences` (absolute indices of the view).

    Sequences that the store holds are skipped, so that a capture continues where it was killed, and may be extended.
    Shards end at multiples of a fixed number of sequences. Several `peers`, over which `lay_out` shards the teacher,
    all call this: each reads sequences of its own, rank 0 writes, and `progress` is called equally often on all.

    Raises `ConfigError` where the teacher does not fit the corpus or its logits are not all numbers, or the folder
    holds another store.
    """
    if spec.view.documents != "cross":
        raise ConfigError("view.documents: found 'respect'; allowed for a teacher: 'cross'")
    torch.set_num_threads(threads)
    writer: StoreWriter | None = None

    def open_store() -> list[list[int]]:
        nonlocal writer
        writer = StoreWriter(directory, spec, coverage, corpus, weights_sha256(teacher))
        return [[missing.start, missing.stop] for missing in writer.missing(sequences)]

    missing = peers.on_main(open_store)
    parts = [part for bounds in missing for part in split_into_shards(range(*bounds), spec.view.context)]
    if not parts:
        return
    dtype = getattr(torch, spec.teacher.dtype) if isinstance(spec.teacher, Pretrained) else torch.float32
    model = load_teacher(teacher, corpus, spec.view.context, dtype, lay_out)
    stream = corpus.stream(spec.split)
    began, done, total = time.perf_counter(), 0, sum(map(len, parts))
    for part in parts:
        blocks: list[Block] = []
        for read, made in _make_blocks(model, teacher, stream, spec.view, part, coverage, corpus.vocab, peers):
            blocks += made
            for sequence in read:
                done += 1
                rate = done * spec.view.context / (time.perf_counter() - began)
                progress(f"logits of sequence {sequence + 1:,}, {rate:,.0f} tokens/s", done / total)
        if writer is not None:
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
    peers: Peers,
) -> Iterator[tuple[range, list[Block]]]:
    """The blocks of a shard's sequences on rank 0 (nothing elsewhere), as many at a time as the peers read at once."""
    rows = model.get_output_embeddings().weight.shape[0]
    batch = max(1, size_for(TEACHER_LOGITS_BYTES, model.device) // (view.context * rows * model.dtype.itemsize))
    batches = [range(start, min(start + batch, part.stop)) for start in range(part.start, part.stop, batch)]
    for at in range(0, len(batches), peers.size):
        together = batches[at : at + peers.size]
        # Every rank takes part in a forward, which gathers weights from all: one without text of its own repeats some.
        wanted = together[min(peers.rank, len(together) - 1)]
        text = read_batch(stream, view, np.arange(wanted.start, wanted.stop))
        with torch.no_grad():
            inputs = torch.from_numpy(text.inputs).to(model.device)
            targets = torch.from_numpy(text.targets).to(model.device)
            logits = model(input_ids=inputs, use_cache=False).logits
            check_finite(logits[..., :vocab], folder, list(wanted))
            # Draws depend on the sequence alone, so that they are the same however a store is captured.
            made = [
                to_block(summarise(logits[i], targets[i], coverage, vocab, seed=sequence))
                for i, sequence in enumerate(wanted if peers.rank < len(together) else ())
            ]
        yield range(together[0].start, together[-1].stop), peers.gather(made)


def to_block(signal: SparseTargets) -> Block:
    """Make of the signal for one sequence the block that a store keeps."""
    tempered = () if signal.tempered is None else signal.tempered.unbind(1)
    columns = torch.stack([*(getattr(signal, name) for name in COLUMNS), *tempered])
    none = signal.ids[:, :0]
    drawn = none if signal.drawn is None else signal.drawn
    weights = none.float() if signal.drawn_weights is None else signal.drawn_weights
    return Block(*(x.cpu().numpy() for x in (signal.ids, signal.log_probs, columns, drawn, weights)))
