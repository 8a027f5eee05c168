"""The teacher's side of the loss: from kept log-probabilities to the distribution that the student is shown."""

from __future__ import annotations

import torch
from torch import Tensor

from pdstudy.distill.signal import SparseTargets
from pdstudy.objective import Temperature


def soft_targets(signal: SparseTargets, temperature: Temperature, dtype: torch.dtype) -> Tensor:
    """F(p) = softmax(Truncate(log p) / tau), `dtype` [N, K], rows sum to 1 (Peng et al. 2024, Eq. 4).

    Dividing log-probabilities or logits by tau is the same thing here: they differ by a constant per row.
    """
    return torch.softmax(signal.log_probs.to(dtype) / temperature.tau, dim=1)
