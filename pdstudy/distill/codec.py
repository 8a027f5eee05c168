"""How one sequence of a logit store becomes bytes and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pdstudy.normal import ConfigError, declared, neutral

COLUMNS = ("tail", "gold", "log_normaliser", "entropy", "std")
"""What a store knows of each position beside the kept entries (`SparseTargets`), in the order stored."""

TAIL, GOLD, ENTROPY = 0, 1, 3
"""Rows of `Block.columns`."""


@dataclass(frozen=True)
class Block:
    """The T positions of one sequence.

    `ids` (int64 [T, K]) and `log_probs` (float32 [T, K], nats) are the kept entries in rank order; unused places, all
    at the end of their row, hold id 0 and -inf. `columns` is float32 [C, T]: `COLUMNS`, then tempered tails. `drawn`
    (int64) and `drawn_weights` (float32) are [T, draws], as in `SparseTargets`.
    """

    ids: npt.NDArray[np.int64]
    log_probs: npt.NDArray[np.float32]
    columns: npt.NDArray[np.float32]
    drawn: npt.NDArray[np.int64]
    drawn_weights: npt.NDArray[np.float32]


class Codec(Protocol):
    """A declared object: the store's manifest holds it, so a store says itself how it is read."""

    def encode(self, block: Block) -> bytes:
        """The bytes of one block."""

    def decode(self, data: npt.NDArray[np.uint8], tokens: int, k: int | None) -> Block:
        """The block of `tokens` positions, its rows cut to their first `k` places (None: to the longest row).

        What the cut drops is in the tail column of the block.
        """


@declared
class Exact:
    """Everything as it is: float32 values, ids in the fewest of 2 or 4 bytes that `vocab` allows.

    Per block: kept entries of each position (uint32 [T]), columns (float32 [columns, T]), values (float32), weights of
    draws (float32 [T, draws], left out where `weighted` is off and all are 1), ids, ids drawn; little-endian.
    """

    vocab: int
    columns: int = neutral(len(COLUMNS))
    draws: int = neutral(0)
    weighted: bool = neutral(False)

    def encode(self, block: Block) -> bytes:
        used = block.log_probs > -np.inf
        planes: tuple[npt.NDArray[Any], ...] = (
            used.sum(1).astype("<u4"),
            block.columns.astype("<f4"),
            block.log_probs[used].astype("<f4"),
            block.drawn_weights.astype("<f4") if self.weighted else np.zeros(0, np.uint8),
            block.ids[used].astype(self._id),
            block.drawn.astype(self._id),
        )
        return b"".join(plane.tobytes() for plane in planes)

    def decode(self, data: npt.NDArray[np.uint8], tokens: int, k: int | None) -> Block:
        counts = data[: 4 * tokens].view("<u4").astype(np.int64)
        entries, drawn = int(counts.sum()), tokens * self.draws
        id_bytes = self._id.itemsize
        sizes = np.array(
            [4 * tokens, 4 * tokens * self.columns, 4 * entries, 4 * drawn * self.weighted, id_bytes * entries]
        )
        size = int(sizes.sum()) + id_bytes * drawn
        if len(data) != size:
            raise ConfigError(f"a block of {tokens} positions and {entries} entries has {size} bytes, not {len(data)}")
        _, columns, values, weight, ids, drawn_ids = np.split(data, np.cumsum(sizes))
        columns, values, weight = columns.view("<f4"), values.view("<f4"), weight.view("<f4")
        ids, drawn_ids = ids.view(self._id), drawn_ids.view(self._id)
        width = int(counts.max(initial=0)) if k is None else k
        weights = weight.astype(np.float32) if self.weighted else np.ones(drawn, np.float32)
        used = np.arange(width) < counts[:, None]
        block = Block(
            rows_of(ids, counts, width).astype(np.int64),
            np.where(used, rows_of(values, counts, width), -np.float32(np.inf)),
            columns.reshape(self.columns, tokens).astype(np.float32),
            drawn_ids.reshape(tokens, self.draws).astype(np.int64),
            weights.reshape(tokens, self.draws),
        )
        return with_dropped(block, dropping=counts > width)

    @property
    def _id(self) -> np.dtype[Any]:
        return np.dtype("<u2" if self.vocab <= 2**16 else "<u4")


def rows_of(plane: npt.NDArray[Any], counts: npt.NDArray[np.int64], width: int) -> npt.NDArray[Any]:
    """The first `width` entries of each row of a plane whose rows have `counts` entries; [T, width], padded with 0."""
    longest = int(counts.max(initial=0))
    if len(counts) and counts.min() == longest >= width:
        return plane.reshape(len(counts), longest)[:, :width]
    out = np.zeros((len(counts), width), plane.dtype)
    used = np.arange(width) < counts[:, None]
    # The row's beginning and its first places.
    out[used] = plane[((np.cumsum(counts) - counts)[:, None] + np.arange(width))[used]]
    return out


def with_dropped(block: Block, dropping: npt.NDArray[np.bool_]) -> Block:
    """The block, with what rows marked in `dropping` lost by a smaller k added to their tails."""
    if dropping.any():
        inside = np.exp(block.log_probs[dropping].astype(np.float64)).sum(1)
        block.columns[TAIL, dropping] = np.maximum(block.columns[TAIL, dropping], 1 - inside)
    return block
