"""The weight of distillation from token to token: by entropy, by confidence, or routed."""

from __future__ import annotations

import torch
from torch import Tensor

from pdstudy.config.alpha import ByConfidence, ByEntropy, Routed, TokenRule
from pdstudy.distill.signal import SparseTargets


def token_share(rule: TokenRule, signal: SparseTargets, dtype: torch.dtype) -> Tensor:
    """The factor of each token's alpha, [N], 0 to 1."""
    if isinstance(rule, ByEntropy):
        return (signal.entropy.to(dtype) / rule.full).clamp(max=1)
    if isinstance(rule, ByConfidence):
        return 1 - signal.log_probs.amax(1).to(dtype).exp()
    if isinstance(rule, Routed):
        if signal.entropy_rank is None:
            raise ValueError("routing needs the rank of each token's entropy, which only a store's reader gives")
        return (signal.entropy_rank >= rule.share).to(dtype)
    return torch.ones_like(signal.entropy, dtype=dtype)
