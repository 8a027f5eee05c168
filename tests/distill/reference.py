"""Dense float64 references, written from the formulas and not from the code under test."""

from __future__ import annotations

import torch
from torch import Tensor

from pdstudy.distill.signal import SparseTargets


def kept_ids(log_probs: list[float], p: float, k: int | None) -> list[int]:
    """top-p-k of one row in plain Python: rank by log-probability, then id; p first, then k."""
    ranked = sorted(range(len(log_probs)), key=lambda i: (-log_probs[i], i))
    out: list[int] = []
    mass = 0.0
    for i in ranked:
        if p < 1 and mass >= p:
            break
        out.append(i)
        mass += torch.tensor(log_probs[i], dtype=torch.float64).exp().item()
    return out if k is None else out[:k]


def teacher_log_probs(tokens: int, vocab: int, seed: int = 0, spread: float = 3.0) -> Tensor:
    """float32 [tokens, vocab] distributions, peaked like a language model's."""
    generator = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(tokens, vocab, generator=generator, dtype=torch.float64)
    return torch.log_softmax(logits, -1).float()


def signal_of(log_probs: Tensor, p: float, k: int | None, gold: Tensor) -> SparseTargets:
    """The truncated signal of float32 full log-probabilities [N, V], padded to the longest row."""
    rows = [kept_ids(row.tolist(), p, k) for row in log_probs]
    width = max(map(len, rows))
    ids = torch.zeros(len(rows), width, dtype=torch.int64)
    values = torch.full((len(rows), width), -torch.inf)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        values[i, : len(row)] = log_probs[i, row]
    full = log_probs.double()
    inside = torch.zeros_like(full).scatter_(1, ids, values.double().exp())
    probs = full.exp()
    return SparseTargets(
        ids=ids,
        log_probs=values,
        tail=(probs.sum(1) - inside.sum(1)).clamp(min=0).float(),
        gold=log_probs.gather(1, gold.clamp(min=0)[:, None])[:, 0],
        log_normaliser=torch.zeros(len(rows)),
        entropy=-(probs * full).sum(1).float(),
        std=full.std(1, correction=0).float(),
    )


def dense_loss(
    hidden: Tensor, weight: Tensor, targets: Tensor, log_probs: Tensor, p: float, k: int | None, tau: float,
    alpha: float, divisor: float, vocab: int,
) -> Tensor:  # fmt: skip
    """(1 - alpha) L_lm + alpha L_kd of the paper's Eqs. 1 to 4 over tokens x vocabulary, in float64."""
    logits = hidden @ weight.T
    logits = torch.where(torch.arange(len(weight)) < vocab, logits, -torch.inf)
    log_q = torch.log_softmax(logits, -1)[:, :vocab]
    total = torch.zeros((), dtype=torch.float64)
    for i, gold in enumerate(targets.tolist()):
        if gold == -100:
            continue
        ids = kept_ids(log_probs[i].tolist(), p, k)
        soft = torch.softmax(log_probs[i, ids].double() / tau, -1)
        total = total - (1 - alpha) * log_q[i, gold] - alpha * (soft * log_q[i, ids]).sum()
    return total / divisor
