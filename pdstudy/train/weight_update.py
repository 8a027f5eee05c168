"""AdamW, its learning rate and gradient clipping."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from pdstudy.config.optimizer import AdamW


def adamw(model: nn.Module, settings: AdamW) -> torch.optim.AdamW:
    """Fused AdamW with decay on matrices only (norms and biases keep their scale); the rate is set per step."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas, eps=settings.eps, fused=True)


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Use `rate` for all parameters from the next update on."""
    for group in optimiser.param_groups:
        group["lr"] = rate


def clip(model: nn.Module, limit: float) -> Tensor:
    """Scale gradients so that their norm over all parameters and ranks is at most `limit`; the norm before that."""
    norm = nn.utils.clip_grad_norm_(model.parameters(), limit, foreach=True)
    return norm.full_tensor() if isinstance(norm, DTensor) else norm
