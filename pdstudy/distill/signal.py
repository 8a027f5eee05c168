"""The teacher's signal for the N flattened positions of a batch, truncated, as torch tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from pdstudy.core.errors import ConfigError


class Signal(Protocol):
    """A teacher's signal for N positions, read from a store or computed live."""

    @property
    def width(self) -> int:
        """Entries that a row keeps at most."""

    def rows(self, part: slice) -> SparseTargets:
        """The signal of a range of positions."""


@dataclass(frozen=True)
class SparseTargets:
    """Truncated next-token distributions of the teacher, one row per position.

    `ids` (int64 [N, K]) are the kept ids in rank order and `log_probs` (float32 [N, K], nats) their full-vocabulary
    log-probabilities; places that a row does not use hold id 0 and -inf. The first place of every row is used.
    Columns, float32 [N]: `tail` is the probability outside the kept ids, `gold` the log-probability of the target id,
    `log_normaliser` the log-sum-exp of the teacher's logits, `entropy` (nats) and `std` (of the logits) are those of
    the full distribution. Where a store was captured for it, `tempered` (float32 [N, len(taus)]) is the sum of
    p^(1/tau) outside the kept ids, for each of `taus`. `entropy_rank` (float32 [N], from a store's reader) is the share
    of the slice's tokens with a lower entropy. `drawn` (int64 [N, D]) are ids drawn with replacement, in order, and
    `drawn_weights` (float32 [N, D]) their p / proposal.
    """

    ids: Tensor
    log_probs: Tensor
    tail: Tensor
    gold: Tensor
    log_normaliser: Tensor
    entropy: Tensor
    std: Tensor
    tempered: Tensor | None = None
    taus: tuple[float, ...] = ()
    drawn: Tensor | None = None
    drawn_weights: Tensor | None = None
    entropy_rank: Tensor | None = None

    @property
    def width(self) -> int:
        """Entries that a row keeps at most."""
        return self.ids.shape[1]

    def tail_at(self, tau: float) -> Tensor:
        """The sum of p^(1/tau) outside the kept ids, [N]. Raises `ConfigError` where it is not known."""
        if tau == 1:
            return self.tail
        if tau not in self.taus or self.tempered is None:
            raise ConfigError(
                f"the store has no mass of tails at tau = {tau:g}, only at {(1.0, *self.taus)}; capture with a "
                f"coverage that has taus=({tau:g},)"
            )
        return self.tempered[:, self.taus.index(tau)]

    def rows(self, part: slice) -> SparseTargets:
        """The signal of a range of positions (views, no copies)."""
        fields: dict[str, Any] = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        taken: dict[str, Any] = {n: v[part] if isinstance(v, Tensor) else v for n, v in fields.items()}
        return SparseTargets(**taken)

    @staticmethod
    def concatenate(parts: Sequence[SparseTargets]) -> SparseTargets:
        """Concatenate rows, padded to the width of the widest part."""
        width = max(part.ids.shape[1] for part in parts)
        joined: dict[str, Any] = {}
        for field in dataclasses.fields(SparseTargets):
            values = [getattr(part, field.name) for part in parts]
            if field.name in ("ids", "log_probs"):
                unused = 0 if field.name == "ids" else -torch.inf
                values = [pad(v, (0, width - v.shape[1]), value=unused) for v in values]
            if isinstance(values[0], Tensor):
                joined[field.name] = torch.cat(values)
        return dataclasses.replace(parts[0], **joined)
