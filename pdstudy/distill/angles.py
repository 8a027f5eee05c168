"""How far an objective's gradient is from another's: the angle between them, and how much longer it is.

Compared is the gradient of the trunk, which is everything but the embedding and the output head: those two have a row
per id, and what an objective does to rows of rare ids would hide what it teaches the layers. RS-KD (arXiv 2503.16870,
its poster) gives angle and ratio of norms against full distillation.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from pdstudy.distill.signal import SparseTargets
from pdstudy.objective import KD, LM

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from pdstudy.train.feed import MicroBatch


def trunk_gradient(model: PreTrainedModel, batch: MicroBatch, objective: LM | KD, alpha: float, vocab: int) -> Tensor:
    """Gradient of the *sum* over the batch's valid tokens of (1 - alpha) L_lm + alpha L_kd, float32 [parameters].

    `model` is one with `distillation_loss` (`pdstudy.train.model`); the teacher is the batch's signal, cut already.
    Gradients of batches add up to that of all their tokens. Sharded models give the whole gradient, summed over ranks,
    on every rank. The model's own gradients stay as they were.
    """
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()  # a forward without gradients leaves gathered weights, which get none
    everything = list(model.parameters())
    ends = {id(part.weight) for part in (model.get_input_embeddings(), model.get_output_embeddings())}
    kept = [parameter.grad for parameter in everything]
    # A backward, not autograd.grad: sharded parameters get their gradients from hooks.
    for parameter in everything:
        parameter.grad = None
    try:
        loss, _ = model.distillation_loss(batch, objective=objective, alpha=alpha, divisor=1.0, vocab=vocab)
        loss.backward()
        return torch.cat([_whole(p).flatten().float() for p in everything if id(p) not in ends])
    finally:
        for parameter, gradient in zip(everything, kept):
            parameter.grad = gradient


def _whole(parameter: Tensor) -> Tensor:
    gradient = parameter.grad
    if gradient is None:
        return torch.zeros(parameter.shape, device=parameter.device)
    return gradient.full_tensor() if isinstance(gradient, DTensor) else gradient


def angle_and_ratio(gradient: Tensor, reference: Tensor) -> tuple[float, float]:
    """The angle between two vectors in degrees, 0 to 180, and the norm of the first over that of the second.

    In float64, by Kahan's formula, which keeps its digits at small angles. Not a number where one of them is zero.
    """
    a, b = gradient.double(), reference.double()
    norms = a.norm(), b.norm()
    if not all(norms):
        return math.nan, math.nan
    u, v = a / norms[0], b / norms[1]
    return math.degrees(2 * math.atan2((u - v).norm().item(), (u + v).norm().item())), (norms[0] / norms[1]).item()


def whole_signal(logits: Tensor, targets: Tensor, vocab: int) -> SparseTargets:
    """A teacher's full distributions as a signal that keeps every id: for full distillation, the reference.

    `logits` is [N, at least vocab], `targets` int64 [N] with ids below 0 ignored. Ids are in order of number, not of
    rank, so it cannot be cut. 12 bytes per token and id of the vocabulary: for few tokens at a time.
    """
    logits = logits[:, :vocab].float()
    normaliser = logits.logsumexp(1)
    log_probs = logits - normaliser[:, None]
    return SparseTargets(
        ids=torch.arange(vocab, device=logits.device).expand_as(logits),
        log_probs=log_probs,
        tail=torch.zeros_like(normaliser),
        gold=log_probs.gather(1, targets.clamp(min=0)[:, None])[:, 0],
        log_normaliser=normaliser,
        entropy=-torch.linalg.vecdot(log_probs.exp(), log_probs),
        std=logits.std(1, correction=0),
    )
