"""The coded ("small") encoding of a logit store: quantised values and ids, byte by byte, with a known error.

Values are steps below the row's first entry, 1/16 nat up to 12 nats and 1/4 nat beyond, kept as gaps from rank to rank:
one byte per entry. Ids are numbered by their frequency in the shard and split into low and high bytes. Gaps and high
bytes, which an order-0 code shortens, are compressed. On SmolLM2's distributions the mean KL divergence that this adds
is below 1e-4 nats, some thousand times less than that of the truncation beside it (`make bench-store`).
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch

from pdstudy.core.errors import ConfigError
from pdstudy.core.identity import declared, neutral
from pdstudy.distill.store.codec import (
    COLUMNS,
    GOLD,
    TAIL,
    Block,
    Encoded,
    Numbering,
    RowLayout,
    add_dropped_mass,
    concatenate,
)

FINE, COARSE, BEND = 16, 4, 12
"""Steps per nat until, and after, `BEND` nats below the first entry."""


GOLD_STEPS = 1024
"""Steps per nat of the gold id's log-probability, which is a uint16: down to -64 nats."""


MOST_ADDED_KL = 2e-4
"""Mean KL divergence, in nats per position, that coding may add to a shard: twice that of real distributions."""


_STEPS = np.arange(256)


DEPTHS = np.where(_STEPS <= FINE * BEND, _STEPS / FINE, BEND + (_STEPS - FINE * BEND) / COARSE).astype(np.float32)
"""Nats below the first entry, by step; entries that lie deeper get the last step."""


TAILS = np.where(_STEPS == 255, 0, np.exp(_STEPS / -FINE)).astype(np.float32)
"""Tail probabilities by their byte; the last stands for 0."""


MOST_NUMBERED = 4096
"""Ids at most that a shard numbers by frequency: more of them would hardly shorten the high bytes."""


MOST_ENTRIES = 65_535
"""Entries at most of a position: their number is kept in 16 bits."""


@declared
class Planes:
    """The coded codec. Its name, and `compressed`, stand in manifests, and are kept for the stores that have them.

    Per block: the length of each part (uint32), then the parts: entries per position (uint16, one where all are
    equal), first log-probabilities (float16), tails (uint8, 1/16 nat of the logarithm), gold (uint16), other columns
    (float16; tempered tails as logarithms), gaps between steps, the low, middle and (for more than 65,536 ids) high
    bytes of the ids' numbers (`Numbering`), ids drawn (every draw has weight 1). Gaps and all but the low bytes are
    Huffman coded.
    """

    vocab: int
    compressed: Literal[True] = True
    columns: int = neutral(len(COLUMNS))
    draws: int = neutral(0)

    format: ClassVar[int] = 2

    def numbering(self, blocks: Sequence[Block]) -> Numbering:
        ids = np.concatenate([block.ids[block.log_probs > -np.inf] for block in blocks])
        counts = np.bincount(ids, minlength=self.vocab)
        # In a small shard a long list would cost more than it saves.
        named = min(MOST_NUMBERED, len(ids) // 64, int((counts > 1).sum()))
        return Numbering(np.argsort(-counts, kind="stable")[:named].astype(np.uint32), self.vocab)

    def encode(self, block: Block, numbering: Numbering) -> bytes:
        used = block.log_probs > -np.inf
        most = int(used.sum(1).max())
        if most > MOST_ENTRIES:
            raise ConfigError(
                f"a position keeps {most:,} entries, a coded store at most {MOST_ENTRIES:,}; capture with a k, or "
                f"exact values"
            )
        counts = used.sum(1).astype("<u2")
        first = block.log_probs[:, 0].astype("<f2")
        gaps = np.diff(_to_steps(first, block.log_probs, used), axis=1, prepend=np.uint8(0))
        numbers = numbering.numbers[block.ids[used]]
        others = block.columns[2:].copy()
        with np.errstate(divide="ignore"):
            others[len(COLUMNS) - 2 :] = np.log(others[len(COLUMNS) - 2 :])
            tail = np.rint(-FINE * np.log(block.columns[TAIL]))
        parts: list[npt.NDArray[Any]] = [
            counts[:1] if (counts == counts[:1]).all() else counts,
            first,
            tail.clip(0, 255).astype(np.uint8),
            np.rint(-GOLD_STEPS * block.columns[GOLD]).clip(0, 65_535).astype("<u2"),
            others.astype("<f2"),
            gaps[used],
            *((numbers >> (8 * byte) & 255).astype(np.uint8) for byte in range(self._id_bytes)),
            block.drawn.astype("<u4"),
        ]
        data = [part.tobytes() for part in parts]
        for i in self._compressed_parts:
            data[i] = _huffman(data[i])
        return np.array([len(d) for d in data], "<u4").tobytes() + b"".join(data)

    def decode(self, encoded: Sequence[Encoded], tokens: int, k: int | None) -> Block:
        split = [self._parts(one.data) for one in encoded]
        counts = concatenate([_read_counts(parts, tokens) for parts in split]).astype(np.int64)
        _, first, tail, gold, _, gaps, *id_bytes, drawn = map(concatenate, zip(*split, strict=True))
        places = RowLayout(counts, k)
        # numpy accumulates bytes at a sixth of torch's speed.
        steps = torch.cumsum(torch.from_numpy(places.rows(gaps).copy()), 1, dtype=torch.uint8).numpy()
        log_probs = DEPTHS.take(steps)
        np.subtract(first.view("<f2").astype(np.float32)[:, None], log_probs, out=log_probs)
        ids = _join_bytes([places.rows(part) for part in id_bytes])  # numbers, until each shard's numbering is applied
        for number, one in enumerate(encoded):
            mine = ids[number * tokens : (number + 1) * tokens]
            # Every number is below the vocabulary: clipping spares take a check of its own.
            one.numbering.ids.take(mine, out=mine, mode="clip")
        if places.unused is not None:
            log_probs[places.unused], ids[places.unused] = -np.inf, 0
        columns = np.empty((self.columns, len(counts)), np.float32)
        TAILS.take(tail, out=columns[TAIL])
        np.multiply(gold.view("<u2"), np.float32(-1 / GOLD_STEPS), out=columns[GOLD])
        others = [parts[4].view("<f2").reshape(self.columns - 2, tokens) for parts in split]
        np.concatenate(others, axis=1, out=columns[2:])
        np.exp(columns[len(COLUMNS) :], out=columns[len(COLUMNS) :])
        draws = drawn.view("<u4").reshape(len(counts), self.draws).astype(np.int64)
        return add_dropped_mass(
            Block(ids, log_probs, columns, draws, np.ones(draws.shape, np.float32)), counts, places.width
        )

    def sizes(self, data: npt.NDArray[np.uint8], tokens: int) -> dict[str, int]:
        count = 7 + self._id_bytes
        counts, first, tail, gold, others, values, *ids, draws = data[: 4 * count].view("<u4").tolist()
        return {
            "counts": counts + 4 * count,
            "columns": first + tail + gold + others,
            "values": values,
            "ids": sum(ids),
            "draws": draws,
        }

    def _parts(self, data: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.uint8]]:
        count = 7 + self._id_bytes
        lengths = data[: 4 * count].view("<u4").tolist()
        if len(data) != 4 * count + sum(lengths):
            raise ConfigError(f"a block whose parts have {sum(lengths)} bytes cannot have {len(data) - 4 * count}")
        ends = list(itertools.accumulate(lengths, initial=4 * count))
        parts = [data[start:end] for start, end in itertools.pairwise(ends)]
        for i in self._compressed_parts:
            # The low bytes, one for each entry, say how long the other parts are.
            parts[i] = np.frombuffer(zlib.decompress(parts[i].data, -15, max(len(parts[6]), 1)), np.uint8)
        return parts

    @property
    def _id_bytes(self) -> int:
        """Bytes of an id's number: the parts from the sixth on."""
        return 2 if self.vocab <= 2**16 else 3

    @property
    def _compressed_parts(self) -> tuple[int, ...]:
        """Indices of the gaps and of all but the low bytes."""
        return (5, *range(7, 6 + self._id_bytes))


def _join_bytes(parts: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.int64]:
    """Numbers from their bytes, lowest first; two or three of them."""
    low, middle, *high = parts
    numbers: npt.NDArray[np.int64] = (low | (middle.astype(np.uint16) << 8)).astype(np.int64)
    for part in high:
        numbers |= part.astype(np.int64) << 16
    return numbers


def _read_counts(parts: list[npt.NDArray[np.uint8]], tokens: int) -> npt.NDArray[np.uint16]:
    """Read the entries of each position. Raises `ConfigError` where the parts are of another number of positions."""
    counts: npt.NDArray[np.uint16] = parts[0].view("<u2")
    entries = int(counts[0]) * tokens if len(counts) == 1 else int(counts.sum())
    if len(counts) not in (1, tokens) or len(parts[1]) != 2 * tokens or entries != len(parts[5]):
        raise ConfigError(f"a block of {len(parts[1]) // 2} positions and {len(parts[5])} entries was read as {tokens}")
    return counts if len(counts) == tokens else counts.repeat(tokens)


def _to_steps(first: npt.NDArray[Any], log_probs: npt.NDArray[np.float32], used: npt.NDArray[np.bool_]) -> Any:
    depth = (first.astype(np.float32)[:, None] - np.where(used, log_probs, 0)).clip(0, None)
    coarse = FINE * BEND + np.rint((depth - BEND) * COARSE)
    steps = np.where(depth < BEND, np.rint(depth * FINE), coarse).clip(0, 255).astype(np.uint8)
    return np.where(used, steps, 0)


def _huffman(data: bytes) -> bytes:
    # Huffman codes and run lengths: third bytes are runs of one byte.
    coder = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_RLE)
    return coder.compress(data) + coder.flush()


def added_kl(exact: Block, coded: Block) -> npt.NDArray[np.float64]:
    """KL divergence, in nats, of each position's coded distribution from the exact one, over kept entries and tail."""
    p, q = (
        np.concatenate([np.exp(block.log_probs.astype(np.float64)), block.columns[TAIL][:, None]], axis=1)
        for block in (exact, coded)
    )
    p, q = (x / x.sum(1, keepdims=True) for x in (p, np.maximum(q, 1e-12)))
    ratio = np.log(np.maximum(p, 1e-300) / q)
    return np.asarray((p * ratio).sum(1))
