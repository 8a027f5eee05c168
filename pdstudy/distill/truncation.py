"""Which ids of a distribution are kept. Ranked by log-probability, then by id; p cuts first, then k.

Peng et al. 2024 (arXiv 2410.16215), section 3.2. Capture and training cut with the same function on the same float32
values, so what a store derives is what the teacher itself would have given, bit for bit.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from pdstudy.distill.signal import SparseTargets
from pdstudy.objective import TopPK


def rank(log_probs: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The `k` most probable ids of each row, most probable first, equal ones by rising id.

    `log_probs` is float32 [N, V]. Returns (int64 [N, k], float32 [N, k]).
    """
    # One integer per entry that orders like (value, -id): torch.topk itself leaves the order of ties open, and ties
    # at the edge are common where a teacher's logits are bfloat16.
    bits = (log_probs + 0.0).view(torch.int32)  # + 0.0 makes one zero of two
    ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).to(torch.int64)
    vocab = log_probs.shape[1]
    keys = (ordered << 32) + torch.arange(vocab - 1, -1, -1, device=log_probs.device)
    top = keys.topk(k, dim=1).values if k < vocab else keys.sort(dim=1, descending=True).values
    ids = vocab - 1 - (top & 0xFFFFFFFF)
    return ids, log_probs.gather(1, ids)


def kept(log_probs: Tensor, truncation: TopPK) -> Tensor:
    """Which places of rank-ordered rows the cut keeps: bool [N, K]. Unused places (-inf) are never kept.

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


def cut(signal: SparseTargets, truncation: TopPK) -> SparseTargets:
    """The signal under a smaller truncation. What is dropped goes to the tail."""
    mask = kept(signal.log_probs, truncation)
    width = int(mask.sum(1).max()) if truncation.k is None else min(truncation.k, mask.shape[1])
    dropped = signal.log_probs.double().exp().masked_fill(mask, 0).sum(1)
    return dataclasses.replace(
        signal,
        ids=signal.ids.where(mask, 0)[:, :width],
        log_probs=signal.log_probs.where(mask, -torch.inf)[:, :width],
        tail=(signal.tail.double() + dropped).float(),
    )
