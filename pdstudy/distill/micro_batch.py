"""The part of a step that one forward pass sees, with the teacher's signal beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pdstudy.corpus.batch import Batch
from pdstudy.distill.signal import Signal, SparseTargets

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


T = TypeVar("T", bound="DataclassInstance")


@dataclass(frozen=True)
class MicroBatch:
    """One forward pass: `inputs` int64 [B, T], `targets` int64 [B * T] (-100 where ignored), the signal of those rows.

    `positions` [B, T] and the boolean `mask` [B, 1, T, T] (true where attention may look) are None where a sequence
    is plain causal text. `sequences` int64 [B], on the host, are the absolute indices of the rows.
    """

    inputs: Tensor
    targets: Tensor
    positions: Tensor | None = None
    mask: Tensor | None = None
    signal: Signal | None = None
    sequences: npt.NDArray[np.int64] | None = None

    def to(self, device: torch.device) -> MicroBatch:
        """The same on a device; copies overlap with computation where the source is pinned."""
        return map_tensors(self, lambda tensor: tensor.to(device, non_blocking=True))


def map_tensors(value: T, change: Callable[[Tensor], Tensor]) -> T:
    """A dataclass of tensors with each of them changed."""
    moved: dict[str, Any] = {}
    for field in dataclasses.fields(value):
        item = getattr(value, field.name)
        if isinstance(item, Tensor):
            moved[field.name] = change(item)
        elif dataclasses.is_dataclass(item) and not isinstance(item, type):
            moved[field.name] = map_tensors(item, change)
    return dataclasses.replace(value, **moved)


def make_micro_batch(
    batch: Batch, rows: np.ndarray, signal: SparseTargets | None = None, *, packed: bool = False
) -> MicroBatch:
    """Rows of a batch as tensors; where documents are respected, with positions that start anew at each.

    What attention may look at is then said by a mask, or with `packed`, for flash attention, by the positions alone:
    all rows are one row, in which every document is a sequence.
    """
    inputs = torch.from_numpy(batch.inputs[rows])
    targets = torch.from_numpy(batch.targets[rows]).flatten()
    numbers = batch.sequences[rows]
    if batch.documents is None:
        return MicroBatch(inputs, targets, signal=signal, sequences=numbers)
    documents = torch.from_numpy(batch.documents[rows])
    if packed:
        return MicroBatch(
            inputs.view(1, -1), targets, positions_in_document(documents).view(1, -1), None, signal, numbers
        )
    return MicroBatch(inputs, targets, positions_in_document(documents), document_mask(documents), signal, numbers)


def positions_in_document(documents: Tensor) -> Tensor:
    """Position of each token in its own document, for document numbers [B, T] that never fall."""
    place = torch.arange(documents.shape[1]).expand_as(documents)
    begins = torch.ones_like(documents, dtype=torch.bool)
    begins[:, 1:] = documents[:, 1:] != documents[:, :-1]
    return place - torch.where(begins, place, 0).cummax(dim=1).values


def document_mask(documents: Tensor) -> Tensor:
    """[B, 1, T, T]: a token sees itself and what came before it in the same document."""
    same = documents[:, :, None] == documents[:, None, :]
    return torch.tril(same)[:, None]
