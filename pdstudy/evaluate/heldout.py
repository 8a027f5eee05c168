"""Loss on a held-out slice: the same tokens, cut the same way, for every run."""

from __future__ import annotations

import math
import time
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from pdstudy.corpus import TokenCorpus, TokenStream
from pdstudy.corpus.batches import IGNORED, read
from pdstudy.data import View
from pdstudy.distill.angles import angle_and_ratio
from pdstudy.evaluate.probes import GRADIENT_TOKENS, TeacherScores
from pdstudy.evaluate.scores import Scores
from pdstudy.evaluations import Evaluation
from pdstudy.normal import ConfigError, fingerprint
from pdstudy.train.feed import MicroBatch, micro_batch
from pdstudy.train.world import World

BATCH_TOKENS = 8192
"""Tokens of one forward pass where the placement sets no bound."""


def sequences_of(heldout: Evaluation, view: View, corpus: TokenCorpus) -> np.ndarray:
    """The whole sequences of the view inside the held-out slice. Raises `ConfigError` where the corpus has no such."""
    part = heldout.data
    length = len(corpus.stream(part.split))
    if part.stop + 1 > length:
        raise ConfigError(
            f"evaluation: found {part.split} [{part.start}, {part.stop}); allowed: at most {length - 1} predictions, "
            f"which is what the corpus's {part.split} split holds"
        )
    sequences = view.sequences(part)
    if part.start % view.context or not sequences:
        raise ConfigError(
            f"evaluation: found {part.split} [{part.start}, {part.stop}); allowed: a start that is a multiple of the "
            f"context, {view.context}, and at least that many tokens"
        )
    return np.arange(sequences.start, sequences.stop)


@torch.no_grad()
def evaluate(
    model: PreTrainedModel,
    corpus: TokenCorpus,
    view: View,
    heldout: Evaluation,
    *,
    batch_tokens: int | None = None,
    teacher: TeacherScores | None = None,
    world: World = World(torch.device("cpu")),  # noqa: B008 (frozen)
) -> dict[str, Any]:
    """Nats per token and bits per UTF-8 byte of `model` (one that `build_model` made) on a held-out slice, and
    `Scores.columns`.

    The mean is over all predictions; ends of documents count as tokens and stand for no bytes. A last piece shorter
    than a sequence is left out, and `slice` says what was scored. The ranks share the
    work. `teacher` adds its own columns. Returns the row of evals.jsonl less step and tokens.
    """
    began = time.perf_counter()
    sequences = sequences_of(heldout, view, corpus)
    stream = corpus.stream(heldout.data.split)
    scores = Scores.zero(world.device)
    if teacher is not None:
        teacher.reset()
    num_bytes = torch.zeros(1, dtype=torch.float64)
    rows = max(1, (batch_tokens or BATCH_TOKENS) // view.context)
    # Every rank makes the same number of forwards; where the sequences run out, some score nothing.
    mine = np.arange(-(-len(sequences) // world.size)) * world.size + world.rank
    for first in range(0, len(mine), rows):
        part = mine[first : first + rows]
        batch = read(stream, view, sequences[np.minimum(part, len(sequences) - 1)])
        batch.targets[part >= len(sequences)] = IGNORED
        scored = batch.targets[batch.targets != IGNORED]
        whole = micro_batch(batch, np.arange(len(part))).to(world.device)
        half = torch.from_numpy(np.repeat(part >= len(sequences) // 2, view.context).astype(np.int64))
        model.with_head(whole, partial(_count, scores, teacher, whole, half.to(world.device), corpus.vocab))
        num_bytes += float(corpus.token_bytes[scored].sum())
    packed = world.sum(torch.cat([scores.pack(), num_bytes.to(world.device)]))
    scores = scores.unpack(packed[:-1])
    beside = {} if teacher is None else teacher.columns(world.sum(teacher.pack()))
    if teacher is not None:
        with torch.enable_grad():
            beside |= _gradients(model, stream, view, sequences, teacher, world)
    nats, tokens = float(scores.lm), float(scores.tokens)
    return {
        "eval": fingerprint(heldout),
        "split": heldout.data.split,
        "slice": [int(sequences[0]) * view.context, (int(sequences[-1]) + 1) * view.context],
        "loss": nats / tokens,
        "bits_per_byte": nats / math.log(2) / float(packed[-1]),
        **scores.columns(),
        **beside,
        "tokens_scored": int(tokens),
        "seconds": round(time.perf_counter() - began, 3),
    }


def _gradients(
    model: PreTrainedModel,
    stream: TokenStream,
    view: View,
    sequences: np.ndarray,
    teacher: TeacherScores,
    world: World,
) -> dict[str, float]:
    """Angle (degrees) and norm ratio of the trunk gradient to that of full distillation, over the first sequences."""
    own = full = None
    count = min(len(sequences), max(1, GRADIENT_TOKENS // view.context))
    for first in range(0, count, world.size):
        mine = first + world.rank
        batch = read(stream, view, sequences[[min(mine, count - 1)]])
        if mine >= count:
            batch.targets[:] = IGNORED
        # Of a sharded model each is the sum over ranks already.
        found = teacher.gradients(model, micro_batch(batch, np.arange(1)).to(world.device))
        if found is None:
            return {}
        own, full = found if own is None or full is None else (own + found[0], full + found[1])
    assert own is not None
    assert full is not None
    angle, ratio = angle_and_ratio(own, full)
    return {"gradient_angle": angle, "gradient_ratio": ratio}


def _count(
    scores: Scores,
    teacher: TeacherScores | None,
    batch: MicroBatch,
    half: Tensor,
    vocab: int,
    hidden: Tensor,
    weight: Tensor,
) -> None:
    scores.add(hidden, weight, batch.targets, half, vocab)
    if teacher is not None:
        teacher.add(batch, hidden, weight)
