"""From a teacher's logits to what a training step, or a store, knows of them."""

from __future__ import annotations

import torch
from torch import Tensor

from pdstudy.coverage import Coverage
from pdstudy.distill.signal import SparseTargets
from pdstudy.distill.truncation import kept, rank
from pdstudy.objective import TopPK

CHUNK_BYTES = 8 << 20
"""Bytes of float32 logits that are summarised at a time."""


def summarise(logits: Tensor, targets: Tensor, coverage: Coverage, vocab: int) -> SparseTargets:
    """The kept entries and columns of raw logits [N, at least vocab], for target ids int64 [N]. Float32 inside.

    Logits from `vocab` on are padding and count as minus infinity.
    """
    rows = max(1, CHUNK_BYTES // (4 * vocab))
    return SparseTargets.concatenate(
        [
            _summarise(logits[at : at + rows, :vocab].float(), targets[at : at + rows], coverage)
            for at in range(0, len(logits), rows)
        ]
    )


def _summarise(logits: Tensor, targets: Tensor, coverage: Coverage) -> SparseTargets:
    vocab = logits.shape[1]
    top = logits.amax(1, keepdim=True)
    probs = (logits - top).exp_()
    total = probs.sum(1, keepdim=True)
    normaliser = top + total.log()
    probs /= total
    log_probs = logits - normaliser
    ids, values = rank(log_probs, vocab if coverage.k is None else min(coverage.k, vocab))
    mask = kept(values, TopPK(p=coverage.p, k=coverage.k))
    width = int(mask.sum(1).max())
    ids, values, mask = ids[:, :width], values[:, :width], mask[:, :width]
    gold = log_probs.gather(1, targets[:, None])[:, 0]
    entropy = -torch.linalg.vecdot(probs, log_probs)
    std = torch.linalg.vector_norm(logits - logits.mean(1, keepdim=True), dim=1) / vocab**0.5
    # Summed over what is outside, not 1 - the inside: a small tail keeps its digits. Unused places repeat the first.
    tail = probs.scatter_(1, ids.where(mask, ids[:, :1]), 0).sum(1)
    return SparseTargets(ids.where(mask, 0), values.where(mask, -torch.inf), tail, gold, normaliser[:, 0], entropy, std)
