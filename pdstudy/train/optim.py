"""AdamW and the learning rate of a step."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from pdstudy.config import AdamW, Run


def adamw(model: nn.Module, settings: AdamW) -> torch.optim.AdamW:
    """Fused AdamW with decay on matrices only (norms and biases keep their scale); the rate is set per step."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas, eps=settings.eps, fused=True)


def learning_rate(run: Run, step: int) -> float:
    """The rate of step `step` (0-based): the schedule at the middle of the step's tokens.

    The middle, because the beginning would waste the first step of a warm-up at 0 and the end would waste the last
    step of a decay to 0; and because the sum of rates over a run then hardly depends on the tokens of a step.
    """
    middle = (step + 0.5) * run.tokens_per_step
    return run.optimiser.lr * run.schedule.factor(middle, run.num_tokens)


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate


def clip(model: nn.Module, limit: float) -> Tensor:
    """Scale gradients so that their norm over all parameters and ranks is at most `limit`; the norm before that."""
    norm = nn.utils.clip_grad_norm_(model.parameters(), limit, foreach=True)
    return norm.full_tensor() if isinstance(norm, DTensor) else norm
