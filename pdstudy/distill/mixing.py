"""The share of distillation over training."""

from __future__ import annotations

from pdstudy.objective import KD, LM


def alpha_at(objective: LM | KD, step: int, total_steps: int) -> float:
    """Alpha of step `step` (0-based) of `total_steps`."""
    return objective.alpha if isinstance(objective, KD) else 0.0
