"""The teacher's side of the loss: its temperature, and the target made of its kept log-probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pdstudy.config.losses import (
    WTTM,
    Adaptive,
    AnyTemperature,
    NormKD,
    OntoGold,
    Plain,
    Rest,
    Smooth,
    Tail,
    Temperature,
)
from pdstudy.distill.signal import SparseTargets


@dataclass(frozen=True)
class Target:
    """The target t of C rows over J ids and, as one more entry, everything else.

    `ids` int64 [C, J]; `used` bool [C, J], the places that are entries of their own (no id twice); `probs` and
    `log_probs` [C, J] are t and its logarithm, 0 and -inf elsewhere; `rest` [C] is t's mass outside. `scale` [C]
    multiplies the row's loss.
    """

    ids: Tensor
    used: Tensor
    probs: Tensor
    log_probs: Tensor
    rest: Tensor
    scale: Tensor


def make_target(
    signal: SparseTargets, gold: Tensor, rest: Rest, temperature: AnyTemperature, dtype: torch.dtype
) -> Target:
    """Make t under `rest` and `temperature`; `gold` int64 [C] are the data's next tokens.

    With the paper's defaults t = softmax(Truncate(log p) / tau) (Peng et al. 2024, Eq. 4). Dividing log-probabilities
    or logits by tau is the same there: they differ by a constant per row.
    """
    tau = teacher_tau(signal, temperature, dtype)
    tempered = signal.log_probs.to(dtype) / tau[:, None]
    used = signal.log_probs > -torch.inf
    ids = signal.ids
    nothing = torch.zeros_like(tau)
    if isinstance(rest, Tail | Plain | OntoGold | Smooth):
        outside = signal.tail_at(temperature.tau if isinstance(temperature, Temperature) else 1.0).to(dtype)
        # At tau = 1 the total is 1 but for rounding; dividing by it would spread a coded tail's error over all entries.
        total = tempered.exp().sum(1) + outside if not _is_one(temperature) else torch.ones_like(outside)
        log_t, outside = tempered - total.log()[:, None], outside / total
    else:
        log_t, outside = torch.log_softmax(tempered, 1), nothing
    if isinstance(rest, OntoGold):
        ids, used, log_t = _add_to_gold(ids, used, log_t, gold, outside)
    if isinstance(rest, OntoGold | Plain):
        outside = nothing
    return Target(ids, used, log_t.exp(), log_t, outside, _row_scale(signal, temperature, tau, tempered))


def _add_to_gold(ids: Tensor, used: Tensor, log_t: Tensor, gold: Tensor, mass: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Add `mass` to the gold id, in a place of its own where it is not among the kept ids."""
    same = (ids == gold[:, None]) & used
    kept = same.any(1, keepdim=True)
    added = mass.log()[:, None]
    log_t = torch.where(same, torch.logaddexp(log_t, added), log_t)
    log_t = torch.cat([log_t, torch.where(kept, -torch.inf, added)], 1)
    return torch.cat([ids, gold[:, None]], 1), torch.cat([used, ~kept], 1), log_t


def teacher_tau(signal: SparseTargets, temperature: AnyTemperature, dtype: torch.dtype) -> Tensor:
    """The teacher's temperature of each row, [C]."""
    if isinstance(temperature, NormKD):
        return temperature.scale * signal.std.to(dtype)
    if isinstance(temperature, Adaptive):
        seen = signal.entropy if temperature.by == "entropy" else signal.std
        tau = temperature.tau * (seen.to(dtype) / temperature.reference) ** temperature.power
        return tau.clamp(temperature.low, temperature.high)
    return torch.full_like(signal.entropy, temperature.tau, dtype=dtype)


def _is_one(temperature: AnyTemperature) -> bool:
    return isinstance(temperature, Temperature) and temperature.tau == 1


def _row_scale(signal: SparseTargets, temperature: AnyTemperature, tau: Tensor, tempered: Tensor) -> Tensor:
    if isinstance(temperature, NormKD) or (isinstance(temperature, Temperature) and temperature.squared):
        return tau * tau
    if isinstance(temperature, WTTM) and temperature.weighted:
        inside = tempered.exp().sum(1)
        return inside if temperature.over == "kept" else inside + signal.tail_at(temperature.tau).to(tau.dtype)
    return torch.ones_like(tau)
