"""Angle and length of an objective's gradient against that of full distillation.

The gradient is that of the trunk, which is everything but the embedding and the output head: those two have a row per
id, and what an objective does to rows of rare ids would hide what it teaches the layers. RS-KD (arXiv 2503.16870, its
poster) gives angle and ratio of norms against full distillation.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from pdstudy.config.logits import required_coverage, union
from pdstudy.config.run import KD, LM, Pretrained
from pdstudy.config.truncation import TopPK
from pdstudy.distill.teacher.statistics import summarise, whole_signal
from pdstudy.distill.truncate import cut

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from pdstudy.distill.micro_batch import MicroBatch


FULL = KD(teacher=Pretrained(path="the batch's signal"), truncation=TopPK(p=1.0, k=None))
"""Full distillation, for batches whose signal is whole already: the teacher that it names is not read."""


def trunk_gradient(model: PreTrainedModel, batch: MicroBatch, objective: LM | KD, alpha: float, vocab: int) -> Tensor:
    """Gradient of the *sum* over the batch's valid tokens of (1 - alpha) L_lm + alpha L_kd, float32 [parameters].

    `model` is one with `distillation_loss` (`pdstudy.models.build_model`); the teacher is the batch's signal, cut
    already. Gradients of batches add up to that of all their tokens. Sharded models give the whole gradient, summed
    over ranks, on every rank. The model's own gradients stay as they were."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()  # a forward without gradients leaves gathered weights, which get none
    everything = list(model.parameters())
    ends = {id(p) for part in (model.get_input_embeddings(), model.get_output_embeddings()) for p in part.parameters()}
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


def angles(
    model: PreTrainedModel,
    batches: Iterable[tuple[MicroBatch, Tensor]],
    objectives: Mapping[str, KD],
    vocab: int,
) -> Iterator[dict[str, tuple[float, float]]]:
    """Angle (degrees) and norm ratio of each objective's trunk gradient against full distillation, at alpha 1.

    `batches` are micro-batches with the teacher's logits [N, at least vocab] for their tokens. Gradients are summed
    over the batches so far, and what they come to is yielded after each: the last is that of all. Draws of batch i are
    those of sequence i.
    """
    coverage = union(required_coverage(objective) for objective in objectives.values())
    sums: dict[str, Tensor] = {}
    reference: Tensor | None = None
    for number, (batch, logits) in enumerate(batches):
        whole = dataclasses.replace(batch, signal=whole_signal(logits, batch.targets, vocab))
        full = trunk_gradient(model, whole, FULL, 1.0, vocab)
        reference = full if reference is None else reference + full
        signal = summarise(logits, batch.targets.clamp(min=0), coverage, vocab, seed=number)
        for name, objective in objectives.items():
            seen = dataclasses.replace(batch, signal=cut(signal, objective.truncation))
            found = trunk_gradient(model, seen, objective, 1.0, vocab)
            sums[name] = sums[name] + found if name in sums else found
        yield {name: angle_and_ratio(gradient, reference) for name, gradient in sums.items()}
