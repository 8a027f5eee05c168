"""What a training step knows of the teacher, for N flattened positions of a batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad


@dataclass(frozen=True)
class SparseTargets:
    """The teacher's truncated next-token distributions, as torch tensors.

    `ids` (int64 [N, K]) are the kept ids in rank order and `log_probs` (float32 [N, K], nats) their full-vocabulary
    log-probabilities; places that a row does not use hold id 0 and -inf. The first place of every row is used.
    Columns, float32 [N]: `tail` is the probability outside the kept ids, `gold` the log-probability of the target id,
    `log_normaliser` the log-sum-exp of the teacher's logits, `entropy` (nats) and `std` (of the logits) are those of
    the full distribution.
    """

    ids: Tensor
    log_probs: Tensor
    tail: Tensor
    gold: Tensor
    log_normaliser: Tensor
    entropy: Tensor
    std: Tensor

    def rows(self, part: slice) -> SparseTargets:
        """The signal of a range of positions (views, no copies)."""
        return SparseTargets(**{f.name: getattr(self, f.name)[part] for f in dataclasses.fields(self)})

    @staticmethod
    def concatenate(parts: Sequence[SparseTargets]) -> SparseTargets:
        """All rows in order, as wide as the widest part."""
        width = max(part.ids.shape[1] for part in parts)
        columns: dict[str, list[Tensor]] = {f.name: [] for f in dataclasses.fields(SparseTargets)}
        for part in parts:
            for name, column in columns.items():
                value = getattr(part, name)
                if value.ndim == 2:
                    unused = 0 if name == "ids" else -torch.inf
                    value = pad(value, (0, width - value.shape[1]), value=unused)
                column.append(value)
        return SparseTargets(**{name: torch.cat(values) for name, values in columns.items()})
