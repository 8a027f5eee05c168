"""The processes that run one teacher together, each with a share of its weights, as this package sees them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from transformers import PreTrainedModel

T = TypeVar("T")

LayOut = Callable[[PreTrainedModel], None]
"""Puts a model, loaded to the host's memory, on the devices that run it, in place."""


class Peers(Protocol):
    """Processes that make one store; `pdstudy.models.distributed.Ranks` are some."""

    @property
    def rank(self) -> int: ...
    @property
    def size(self) -> int: ...
    def on_main(self, action: Callable[[], T]) -> T:
        """Run `action` on rank 0; its (JSON-like) result on all."""

    def gather(self, values: list[T]) -> list[T]:
        """The values of all ranks, in the ranks' order, on rank 0; nothing elsewhere."""


class Alone:
    """One process with the whole teacher."""

    rank, size = 0, 1

    def on_main(self, action: Callable[[], Any]) -> Any:
        return action()

    def gather(self, values: list[T]) -> list[T]:
        return values
