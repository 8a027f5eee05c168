"""The encodings of a logit store: what a codec is, and the exact one. The coded one is in `quantised`."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from pdstudy.core.errors import ConfigError
from pdstudy.core.identity import declared, neutral

COLUMNS = ("tail", "gold", "log_normaliser", "entropy", "std")
"""Numbers that a store keeps of each position beside the kept entries (`SparseTargets`), in the order stored."""


TAIL, GOLD, ENTROPY = 0, 1, 3
"""Indices of these columns in `Block.columns`."""


@dataclass(frozen=True)
class Block:
    """The teacher's signal for the T positions of one sequence, or of several sequences one after another.

    `ids` (int64 [T, K]) and `log_probs` (float32 [T, K], nats) are the kept entries in rank order; unused places, all
    at the end of their row, hold id 0 and -inf. `columns` is float32 [C, T]: `COLUMNS`, then tempered tails. `drawn`
    (int64) and `drawn_weights` (float32) are [T, draws], as in `SparseTargets`.
    """

    ids: npt.NDArray[np.int64]
    log_probs: npt.NDArray[np.float32]
    columns: npt.NDArray[np.float32]
    drawn: npt.NDArray[np.int64]
    drawn_weights: npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Numbering:
    """New numbers for a shard's ids: `first` (uint32) are numbered 0, 1, ..., all others follow by rising id.

    With a shard's most frequent ids first, the high bytes of numbers are mostly small, and compress.
    """

    first: npt.NDArray[np.uint32]
    vocab: int

    @functools.cached_property
    def ids(self) -> npt.NDArray[np.int64]:
        """The id of each number, [vocab]."""
        others = np.ones(self.vocab, bool)
        others[self.first] = False
        return np.concatenate([self.first.astype(np.int64), np.flatnonzero(others)])

    @functools.cached_property
    def numbers(self) -> npt.NDArray[np.int64]:
        """The number of each id, [vocab]."""
        out = np.empty(self.vocab, np.int64)
        out[self.ids] = np.arange(self.vocab)
        return out


@dataclass(frozen=True, eq=False)
class Encoded:
    """The bytes of one block, and the numbering of its shard's ids."""

    data: npt.NDArray[np.uint8]
    numbering: Numbering


class Codec(Protocol):
    """Blocks to bytes and back. A declared object, kept in the store's manifest: a store says itself how it is read."""

    format: ClassVar[int]
    """The format in the manifest of a store so encoded; raised when its bytes come to mean something else."""

    def numbering(self, blocks: Sequence[Block]) -> Numbering:
        """Number the ids of a shard of these blocks."""

    def encode(self, block: Block, numbering: Numbering) -> bytes:
        """Turn one block into bytes."""

    def decode(self, encoded: Sequence[Encoded], tokens: int, k: int | None) -> Block:
        """Read blocks of `tokens` positions each as one, rows cut to their first `k` places (None: to the longest row).

        The tail column takes what the cut drops. Several blocks at a time, because calls cost more than the work in a
        block of few positions.
        """

    def sizes(self, data: npt.NDArray[np.uint8], tokens: int) -> dict[str, int]:
        """The bytes of each part of a block, by name; they add up to the block's."""


@declared
class Exact:
    """The exact codec: float32 values, ids in 2 bytes where `vocab` is at most 65,536, else in 4.

    Per block: kept entries of each position (uint32 [T]), columns (float32 [columns, T]), values (float32), weights of
    draws (float32 [T, draws], left out where `weighted` is off and all are 1), ids, ids drawn; little-endian.
    """

    vocab: int
    columns: int = neutral(len(COLUMNS))
    draws: int = neutral(0)
    weighted: bool = neutral(False)

    format: ClassVar[int] = 1

    def numbering(self, blocks: Sequence[Block]) -> Numbering:
        return Numbering(np.zeros(0, np.uint32), self.vocab)

    def encode(self, block: Block, numbering: Numbering) -> bytes:
        used = block.log_probs > -np.inf
        parts: tuple[npt.NDArray[Any], ...] = (
            used.sum(1).astype("<u4"),
            block.columns.astype("<f4"),
            block.log_probs[used].astype("<f4"),
            block.drawn_weights.astype("<f4") if self.weighted else np.zeros(0, np.uint8),
            block.ids[used].astype(self._id),
            block.drawn.astype(self._id),
        )
        return b"".join(part.tobytes() for part in parts)

    def decode(self, encoded: Sequence[Encoded], tokens: int, k: int | None) -> Block:
        split = [self._parts(one.data, tokens) for one in encoded]
        counts, _, values, weight, ids, drawn = map(concatenate, zip(*split, strict=True))
        counts = counts.astype(np.int64)
        columns = np.concatenate([parts[1].reshape(self.columns, tokens) for parts in split], axis=1)
        places = RowLayout(counts, k)
        log_probs = places.rows(values).astype(np.float32)
        if places.unused is not None:
            log_probs[places.unused] = -np.inf
        drawn_shape = len(counts), self.draws
        weights = weight.astype(np.float32) if self.weighted else np.ones(drawn_shape, np.float32)
        block = Block(
            places.rows(ids).astype(np.int64),
            log_probs,
            columns.astype(np.float32),
            drawn.reshape(drawn_shape).astype(np.int64),
            weights.reshape(drawn_shape),
        )
        return add_dropped_mass(block, counts, places.width)

    def _parts(self, data: npt.NDArray[np.uint8], tokens: int) -> list[npt.NDArray[Any]]:
        """Split a block into counts, columns, values, weights of draws, ids and ids drawn."""
        entries, drawn = int(data[: 4 * tokens].view("<u4").sum()), tokens * self.draws
        id_bytes = self._id.itemsize
        sizes = [4 * tokens, 4 * tokens * self.columns, 4 * entries, 4 * drawn * self.weighted, id_bytes * entries]
        size = sum(sizes) + id_bytes * drawn
        if len(data) != size:
            raise ConfigError(f"a block of {tokens} positions and {entries} entries has {size} bytes, not {len(data)}")
        parts = np.split(data, np.cumsum(sizes))
        kinds: list[Any] = ["<u4", "<f4", "<f4", "<f4", self._id, self._id]
        return [part.view(kind) for part, kind in zip(parts, kinds, strict=True)]

    def sizes(self, data: npt.NDArray[np.uint8], tokens: int) -> dict[str, int]:
        entries, drawn = int(data[: 4 * tokens].view("<u4").sum()), tokens * self.draws
        return {
            "counts": 4 * tokens,
            "columns": 4 * tokens * self.columns,
            "values": 4 * entries,
            "ids": self._id.itemsize * entries,
            "draws": drawn * (self._id.itemsize + 4 * self.weighted),
        }

    @property
    def _id(self) -> np.dtype[Any]:
        return np.dtype("<u2" if self.vocab <= 2**16 else "<u4")


def concatenate(parts: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Concatenate arrays; one that is alone is not copied."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


class RowLayout:
    """The places of a ragged array's entries: its rows have `counts` (int64 [T]) entries and lie one after another.

    Rows are cut to their first `k` places; None: as wide as the longest. `unused` (bool [T, width]) marks places
    without an entry; None where every place has one.
    """

    def __init__(self, counts: npt.NDArray[np.int64], k: int | None) -> None:
        self._counts = counts
        self._longest = int(counts.max(initial=0))
        self.width = self._longest if k is None else k
        shortest = int(counts.min(initial=self._longest))
        self._even = shortest == self._longest
        used = None if shortest >= self.width else np.arange(self.width) < counts[:, None]
        self._used = used
        self.unused = None if used is None else ~used

    @functools.cached_property
    def _inside(self) -> npt.NDArray[np.bool_]:
        """Which entries lie in the first `width` places of their row."""
        begins = np.cumsum(self._counts) - self._counts
        place = np.arange(int(self._counts.sum())) - np.repeat(begins, self._counts)
        return np.asarray(place < self.width)

    def rows(self, entries: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The entries in their places, [T, width]; 0 in unused places."""
        if self._even and self._longest >= self.width:
            return entries.reshape(len(self._counts), self._longest)[:, : self.width]
        kept = entries[self._inside] if self._longest > self.width else entries
        if self._used is None:
            return kept.reshape(len(self._counts), self.width)
        out = np.zeros((len(self._counts), self.width), entries.dtype)
        out[self._used] = kept
        return out


def add_dropped_mass(block: Block, counts: npt.NDArray[np.int64], width: int) -> Block:
    """Add to the tails what rows of more than `width` entries lost."""
    if counts.max(initial=0) > width:
        dropping = counts > width
        inside = np.exp(block.log_probs[dropping].astype(np.float64)).sum(1)
        block.columns[TAIL, dropping] = np.maximum(block.columns[TAIL, dropping], 1 - inside)
    return block
