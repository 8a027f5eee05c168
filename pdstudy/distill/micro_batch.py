"""Micro-batches: the part of a step that one forward pass reads, as tensors, with the teacher's signal for it."""

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
    """One forward pass: `inputs` int64 [B, T], `targets` int64 [B * T] (`IGNORED` where unscored), and their signal.

    `positions` [B, T] and the boolean `mask` [B, 1, T, T] (true where attention may look) are None where a sequence
    is plain causal text. `sequences` int64 [B], on the host, are the absolute indices of the sequences.
    """

    inputs: Tensor
    targets: Tensor
    positions: Tensor | None = None
    mask: Tensor | None = None
    signal: Signal | None = None
    sequences: npt.NDArray[np.int64] | None = None

    def to(self, device: torch.device) -> MicroBatch:
        """Copy to a device; the copy overlaps with computation where the source is pinned."""
        return _map_tensors(self, lambda tensor: tensor.to(device, non_blocking=True))

    def pin(self) -> MicroBatch:
        """Copy to pinned memory, from which a copy to a GPU need not be waited for."""
        return _map_tensors(self, Tensor.pin_memory)


def _map_tensors(value: T, change: Callable[[Tensor], Tensor]) -> T:
    """Apply `change` to every tensor of a dataclass and of the dataclasses inside it."""
    changed: dict[str, Any] = {}
    for field in dataclasses.fields(value):
        item = getattr(value, field.name)
        if isinstance(item, Tensor):
            changed[field.name] = change(item)
        elif dataclasses.is_dataclass(item) and not isinstance(item, type):
            changed[field.name] = _map_tensors(item, change)
    return dataclasses.replace(value, **changed)


def split_rows(rows: npt.NDArray[np.int64], context: int, most_tokens: int) -> list[npt.NDArray[np.int64]]:
    """Split the rows of a batch into micro-batches of at most `most_tokens`, as equal as they can be."""
    return np.array_split(rows, -(-len(rows) // (most_tokens // context)))


def make_micro_batch(
    batch: Batch, rows: npt.NDArray[np.int64], signal: SparseTargets | None = None, *, packed: bool = False
) -> MicroBatch:
    """Make tensors of some rows of a batch; where documents are respected, positions start anew at each.

    A mask then says what attention may look at; or with `packed`, for flash attention, positions alone do: all rows
    are joined into one, in which every document is a sequence.
    """
    inputs = torch.from_numpy(batch.inputs[rows])
    targets = torch.from_numpy(batch.targets[rows]).flatten()
    sequences = batch.sequences[rows]
    if batch.documents is None:
        return MicroBatch(inputs, targets, signal=signal, sequences=sequences)
    documents = torch.from_numpy(batch.documents[rows])
    positions = positions_in_document(documents)
    if packed:
        return MicroBatch(inputs.view(1, -1), targets, positions.view(1, -1), None, signal, sequences)
    return MicroBatch(inputs, targets, positions, document_mask(documents), signal, sequences)


def positions_in_document(documents: Tensor) -> Tensor:
    """The position of each token in its own document, for document numbers [B, T] that never fall."""
    place = torch.arange(documents.shape[1]).expand_as(documents)
    begins = torch.ones_like(documents, dtype=torch.bool)
    begins[:, 1:] = documents[:, 1:] != documents[:, :-1]
    return place - torch.where(begins, place, 0).cummax(dim=1).values


def document_mask(documents: Tensor) -> Tensor:
    """The mask [B, 1, T, T] by which a token sees itself and what came before it in the same document."""
    same = documents[:, :, None] == documents[:, None, :]
    return torch.tril(same)[:, None]
