"""Truncation: which ids of a distribution are kept. Ranked by log-probability, then id; p cuts first, then k.

Peng et al. 2024 (arXiv 2410.16215), section 3.2. Capture and training cut with the same function on the same float32
values, so that a store serves a smaller truncation as the teacher itself would have, bit for bit.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from pdstudy.config.truncation import Sampled, TopPK, Truncation
from pdstudy.distill.signal import SparseTargets


def rank(log_probs: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Rank the `k` most probable ids of each row, most probable first, equal ones by rising id.

    `log_probs` is float32 [N, V]. Returns (int64 [N, k], float32 [N, k]).
    """
    vocab = log_probs.shape[1]
    if k >= vocab:
        values, ids = log_probs.sort(dim=1, descending=True, stable=True)
        return ids, values
    values, ids = log_probs.topk(k + 1, dim=1)
    # topk leaves open which of several equal entries it takes and in what order. At the edge that happens to few rows
    # of a float32 teacher and to most rows of a bfloat16 one; those are chosen again, the lowest ids first.
    last = values[:, k - 1 : k]
    tied = values[:, k] == values[:, k - 1]
    ids = ids[:, :k]
    if tied.any():
        rows, edge = log_probs[tied], last[tied]
        room = k - (rows > edge).sum(1, keepdim=True)
        at_edge = rows == edge
        chosen = (rows > edge) | (at_edge & (at_edge.cumsum(1, dtype=torch.int32) <= room))
        ids[tied] = chosen.nonzero()[:, 1].view(-1, k)
    ids = ids.sort(dim=1).values
    values, order = log_probs.gather(1, ids).sort(dim=1, descending=True, stable=True)
    return ids.gather(1, order), values


def mark_kept(log_probs: Tensor, truncation: TopPK) -> Tensor:
    """Mark the places of rank-ordered rows that the cut keeps: bool [N, K]. Unused places (-inf) are never kept.

    A place is kept while the mass before it is below p, that is, up to and including the one that reaches p; p = 1
    cuts nothing. Sums are in float64: the cut must not depend on the order of float32 additions.
    """
    mask = log_probs > -torch.inf
    if truncation.p < 1:
        mass = log_probs.double().exp()
        mask &= (mass.cumsum(1) - mass) < truncation.p
    if truncation.k is not None:
        mask[:, truncation.k :] = False
    return mask


def cut(signal: SparseTargets, truncation: Truncation) -> SparseTargets:
    """Cut the signal to a smaller truncation. The tails take the mass that is dropped.

    Where the truncation samples, the first draws become the entries, repeats and all, and the logarithms of their
    shares of the estimate take the place of log-probabilities.
    """
    if isinstance(truncation, Sampled):
        assert signal.drawn is not None
        assert signal.drawn_weights is not None
        shares = signal.drawn_weights[:, : truncation.draws] / truncation.draws
        return dataclasses.replace(signal, ids=signal.drawn[:, : truncation.draws], log_probs=shares.log())
    mask = mark_kept(signal.log_probs, truncation)
    width = int(mask.sum(1).max()) if truncation.k is None else min(truncation.k, mask.shape[1])
    dropped = signal.log_probs.double().masked_fill(mask, -torch.inf)
    tempered = signal.tempered
    if tempered is not None and signal.taus:
        more = [(dropped / tau).exp().sum(1) for tau in signal.taus]
        tempered = (tempered.double() + torch.stack(more, 1)).float()
    return dataclasses.replace(
        signal,
        ids=signal.ids.where(mask, 0)[:, :width],
        log_probs=signal.log_probs.where(mask, -torch.inf)[:, :width],
        tail=(signal.tail.double() + dropped.exp().sum(1)).float(),
        tempered=tempered,
    )
