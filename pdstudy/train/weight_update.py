"""AdamW, its learning rate and gradient clipping."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from pdstudy.config.optimizer import AdamW
from pdstudy.distill.head import hidden_matrices

RATE_FACTOR = "rate_factor"
"""Key of a parameter group whose rate is that many times the run's; groups without it have the run's."""


def adamw(model: PreTrainedModel, settings: AdamW, width_multiplier: float = 1.0) -> torch.optim.AdamW:
    """Fused AdamW with decay on matrices only (norms and biases keep their scale); the rate is set per step.

    At a `width_multiplier` m of `MuP` the matrices of the blocks are a group of their own: rate / m, decay x m.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = []
    if width_multiplier != 1:
        hidden = [p for p in hidden_matrices(model) if p.requires_grad]
        inside = set(hidden)
        parameters = [p for p in parameters if p not in inside]
        decay = settings.weight_decay * width_multiplier
        groups.append({"params": hidden, "weight_decay": decay, RATE_FACTOR: 1 / width_multiplier})
    groups += [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas, eps=settings.eps, fused=True)


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Use `rate`, times the factor of a group that has one, from the next update on."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group.get(RATE_FACTOR, 1.0)


def clip(model: nn.Module, limit: float) -> Tensor:
    """Scale gradients so that their norm over all parameters and ranks is at most `limit`; the norm before that."""
    norm = nn.utils.clip_grad_norm_(model.parameters(), limit, foreach=True)
    return norm.full_tensor() if isinstance(norm, DTensor) else norm
