"""Held-out evaluation: the same tokens, cut the same way, for every run."""

from __future__ import annotations

import hashlib
import io
import math
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from pdstudy.config.evaluation import Evaluation
from pdstudy.config.run import Run
from pdstudy.core.files import write_json
from pdstudy.corpus import TokenCorpus
from pdstudy.corpus.batch import IGNORED
from pdstudy.distill.micro_batch import MicroBatch, make_micro_batch
from pdstudy.evaluate.gradient_angles import angle_and_ratio
from pdstudy.evaluate.heldout_data import HeldOut, held_out
from pdstudy.evaluate.metrics import Scores
from pdstudy.evaluate.probes import GRADIENT_TOKENS, TeacherScores, compared
from pdstudy.models.build_model import load_exported
from pdstudy.models.distributed import Ranks, own_device
from pdstudy.workspace.run_dir import RunDir

BATCH_TOKENS = 8192
"""Tokens of one forward, where the placement sets no bound."""


@torch.no_grad()
def evaluate(
    model: PreTrainedModel,
    text: HeldOut,
    *,
    batch_tokens: int | None = None,
    packed: bool = False,
    teacher: TeacherScores | None = None,
    ranks: Ranks = Ranks(torch.device("cpu")),  # noqa: B008 (frozen)
    keep: Callable[[str, bytes], None] | None = None,
) -> dict[str, Any]:
    """A row of evals.jsonl (without step and tokens) for `model`, one that `build_model` made, on held-out text.

    It has nats per token, bits per UTF-8 byte, and `Scores.columns`. The mean is over all predictions; ends of
    documents count as tokens and stand for no bytes. A last piece shorter than a sequence is left out, and `slice` says
    what was scored. The ranks share the work. `teacher` adds its own columns. `packed`: see `make_micro_batch`.
    `keep` takes the evaluation's key and an npy file of its table by sequence (`metrics.SEQUENCE`), on the main rank;
    the row then has its sha256.
    """
    began = time.perf_counter()
    scores = Scores.zero(text.count, ranks.device)
    if teacher is not None:
        teacher.reset()
    num_bytes = torch.zeros(text.count, dtype=torch.float64)
    rows = max(1, (batch_tokens or BATCH_TOKENS) // text.view.context)
    for batch, sequence in read_batches(text, rows, num_bytes, packed=packed, ranks=ranks):
        model.with_head(batch, partial(_count, scores, teacher, batch, sequence, text.corpus.vocab))
    total = ranks.sum(torch.cat([scores.pack(), num_bytes.to(ranks.device)]))
    scores, num_bytes = scores.unpack(total[: -text.count]), total[-text.count :].cpu()
    beside = {} if teacher is None else teacher.columns(ranks.sum(teacher.pack()))
    if teacher is not None:
        with torch.enable_grad():
            beside |= _gradients(model, text, packed, teacher, ranks)
    row = make_row(text, scores, num_bytes, began, beside)
    if keep is not None and ranks.main:
        content = io.BytesIO()
        np.save(content, scores.by_sequence(num_bytes.numpy().astype(np.int64)), allow_pickle=False)
        keep(row["eval"], content.getvalue())
        row["sequences_sha256"] = hashlib.sha256(content.getvalue()).hexdigest()
    return row


def read_batches(
    text: HeldOut, rows: int, num_bytes: Tensor, *, packed: bool, ranks: Ranks
) -> Iterator[tuple[MicroBatch, Tensor]]:
    """This rank's sequences of a text, `rows` at a time: micro-batches, and the number of each position's sequence.

    Adds the UTF-8 bytes that the targets stand for to `num_bytes`, float64 [sequences].
    """
    # Every rank makes the same number of forwards; where the sequences run out, some score nothing.
    mine = np.arange(-(-text.count // ranks.size)) * ranks.size + ranks.rank
    for first in range(0, len(mine), rows):
        part = mine[first : first + rows]
        places = np.minimum(part, text.count - 1)
        batch = text.read(places)
        batch.targets[part >= text.count] = IGNORED
        scored = batch.targets != IGNORED
        of_tokens = np.where(scored, text.corpus.token_bytes[np.where(scored, batch.targets, 0)], 0)
        num_bytes.index_add_(0, torch.from_numpy(places), torch.from_numpy(of_tokens.sum(1).astype(np.float64)))
        sequence = torch.from_numpy(np.repeat(places, text.view.context))
        yield make_micro_batch(batch, np.arange(len(part)), packed=packed).to(ranks.device), sequence.to(ranks.device)


def make_row(
    text: HeldOut, scores: Scores, num_bytes: Tensor, began: float, beside: Mapping[str, float] = MappingProxyType({})
) -> dict[str, Any]:
    """A row of evals.jsonl from the sums over all of a text; `began` as `time.perf_counter` had it."""
    nats, tokens = float(scores.lm), scores.tokens
    return {
        **text.described,
        "loss": nats / tokens,
        "bits_per_byte": nats / math.log(2) / float(num_bytes.sum()),
        **scores.columns(),
        **beside,
        "tokens_scored": int(tokens),
        "seconds": round(time.perf_counter() - began, 3),
    }


def _gradients(
    model: PreTrainedModel, text: HeldOut, packed: bool, teacher: TeacherScores, ranks: Ranks
) -> dict[str, float]:
    """Angle (degrees) and norm ratio of the trunk gradient to that of full distillation, over the first sequences."""
    own = full = None
    count = min(text.count, max(1, GRADIENT_TOKENS // text.view.context))
    for first in range(0, count, ranks.size):
        mine = first + ranks.rank
        batch = text.read(np.array([min(mine, count - 1)]))
        if mine >= count:
            batch.targets[:] = IGNORED
        # Of a sharded model each is the sum over ranks already.
        found = teacher.gradients(model, make_micro_batch(batch, np.arange(1), packed=packed).to(ranks.device))
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
    sequence: Tensor,
    vocab: int,
    hidden: Tensor,
    weight: Tensor,
    cap: float | None,
) -> None:
    scores.add(hidden, weight, batch.targets, sequence, vocab, cap)
    if teacher is not None:
        teacher.add(batch, hidden, weight, cap)


def evaluate_export(
    run: Run,
    directory: RunDir,
    *,
    corpus: TokenCorpus,
    evaluations: tuple[Evaluation, ...],
    teachers: Mapping[str, Path] = MappingProxyType({}),
    progress: Callable[[str, float], None],
) -> None:
    """Score the exported model on `evaluations` and add the rows to evals.jsonl and, atomically, to result.json.

    `teachers`: see `pdstudy.evaluate.probes.compared`.
    """
    ranks = Ranks(own_device())
    model = load_exported(directory.model).to(ranks.device)
    result = directory.result()
    assert result is not None
    for number, heldout in enumerate(evaluations):
        progress("evaluate", number / len(evaluations))
        text = held_out(heldout, run.view, corpus)
        scored = evaluate(
            model, text, teacher=compared(heldout, run, teachers, corpus), ranks=ranks, keep=directory.keep_sequences
        )
        row = {"step": run.num_steps, "tokens": run.num_tokens, **scored, "final": True}
        directory.append_eval(row)
        result["evals"].append(row)
        write_json(directory.path / "result.json", result)
