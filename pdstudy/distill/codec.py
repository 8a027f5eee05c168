"""How one sequence of a logit store becomes bytes and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pdstudy.normal import ConfigError, declared

COLUMNS = ("tail", "gold", "log_normaliser", "entropy", "std")
"""What a store knows of each position beside the kept entries (`SparseTargets`), in the order stored."""

TAIL, GOLD = 0, 1
"""Rows of `Block.columns`."""


@dataclass(frozen=True)
class Block:
    """The T positions of one sequence.

    `ids` (int64 [T, K]) and `log_probs` (float32 [T, K], nats) are the kept entries in rank order; unused places, all
    at the end of their row, hold id 0 and -inf. `columns` is float32 [len(COLUMNS), T].
    """

    ids: npt.NDArray[np.int64]
    log_probs: npt.NDArray[np.float32]
    columns: npt.NDArray[np.float32]


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

    Per block: kept entries of each position (uint32 [T]), columns (float32), values (float32), ids; little-endian.
    """

    vocab: int

    def encode(self, block: Block) -> bytes:
        used = block.log_probs > -np.inf
        planes: tuple[npt.NDArray[Any], ...] = (
            used.sum(1).astype("<u4"),
            block.columns.astype("<f4"),
            block.log_probs[used].astype("<f4"),
            block.ids[used].astype(self._id),
        )
        return b"".join(plane.tobytes() for plane in planes)

    def decode(self, data: npt.NDArray[np.uint8], tokens: int, k: int | None) -> Block:
        counts = data[: 4 * tokens].view("<u4").astype(np.int64)
        at = 4 * tokens
        columns = data[at : at + 4 * tokens * len(COLUMNS)].view("<f4").reshape(len(COLUMNS), tokens)
        at += columns.nbytes
        entries = int(counts.sum())
        if len(data) != at + entries * (4 + self._id.itemsize):
            raise ConfigError(f"a block of {tokens} positions and {entries} entries cannot have {len(data)} bytes")
        values = data[at : at + 4 * entries].view("<f4")
        ids = data[at + 4 * entries :].view(self._id)
        width = int(counts.max(initial=0)) if k is None else k
        kept = np.minimum(counts, width)
        used = np.arange(width) < kept[:, None]
        # Positions of the kept entries within the flat planes: the row's beginning and its first places.
        source = ((np.cumsum(counts) - counts)[:, None] + np.arange(width))[used]
        out = Block(
            np.zeros((tokens, width), np.int64), np.full((tokens, width), -np.inf, np.float32), columns.astype("f4")
        )
        out.ids[used] = ids[source]
        out.log_probs[used] = values[source]
        dropping = counts > width
        if dropping.any():
            inside = np.exp(out.log_probs[dropping].astype(np.float64)).sum(1)
            out.columns[TAIL, dropping] = np.maximum(out.columns[TAIL, dropping], 1 - inside)
        return out

    @property
    def _id(self) -> np.dtype[Any]:
        return np.dtype("<u2" if self.vocab <= 2**16 else "<u4")
