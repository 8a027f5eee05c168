"""The small codec: byte planes of quantised values and ids, with a known error.

Values are steps below the row's first entry, 1/16 nat up to 12 nats and 1/4 nat beyond, kept as gaps from rank to rank:
one byte per entry. Ids are their low and high bytes. Each plane lies row by row; those that an order-0 code shortens
(gaps and high bytes) may be compressed by themselves. On SmolLM2's distributions the mean KL divergence that this adds
is below 1e-4 nats, some thousand times less than the truncation beside it (`make bench-store`).
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Sequence
from typing import Any, ClassVar

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
"""Steps to the nat above and below `BEND` nats under the first entry."""


GOLD_STEPS = 1024
"""Steps to the nat of the gold id's log-probability, uint16: down to -64 nats."""


MOST_ADDED_KL = 2e-4
"""Mean KL divergence, in nats per position, that coding may add to a shard: twice what real distributions show."""


_STEPS = np.arange(256)


DEPTHS = np.where(_STEPS <= FINE * BEND, _STEPS / FINE, BEND + (_STEPS - FINE * BEND) / COARSE).astype(np.float32)
"""Nats below the first entry, by step; what lies deeper than the last is put there."""


TAILS = np.where(_STEPS == 255, 0, np.exp(_STEPS / -FINE)).astype(np.float32)
"""Tail masses by their byte; the last stands for none."""


MOST_NUMBERED = 4096
"""Ids at most that a shard numbers by frequency: more of them hardly shorten the high bytes."""


MOST_ENTRIES = 65_535
"""Entries of a position at most: their number is kept in 16 bits."""


@declared
class Planes:
    """Coded values, as the module says. `compressed`: steps as gaps, ids by their numbers in the shard (`Numbering`),
    and Huffman codes for gaps and all but the lowest bytes.

    Per block: the length of each part (uint32), then the parts: entries per position (uint16, one where all are
    equal), first log-probabilities (float16), tails (uint8, 1/16 nat of the logarithm), gold (uint16), other columns
    (float16; tempered tails as logarithms), steps, ids (the low 16 bits together, or, compressed, byte by byte), ids
    drawn (every draw has weight 1).
    """

    vocab: int
    compressed: bool
    columns: int = neutral(len(COLUMNS))
    draws: int = neutral(0)

    format: ClassVar[int] = 2

    def numbering(self, blocks: Sequence[Block]) -> Numbering:
        if not self.compressed:
            return Numbering(np.zeros(0, np.uint32), self.vocab)
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
        steps = _to_steps(first, block.log_probs, used)
        ids = block.ids[used]
        if self.compressed:
            steps = np.diff(steps, axis=1, prepend=np.uint8(0))
            ids = numbering.numbers[ids]
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
            steps[used],
            *(((ids >> shift) & mask).astype(kind) for shift, mask, kind in self._of_ids),
            block.drawn.astype("<u4"),
        ]
        data = [part.tobytes() for part in parts]
        if self.compressed:
            for i in self._shortened:
                data[i] = _huffman(data[i])
        return np.array([len(d) for d in data], "<u4").tobytes() + b"".join(data)

    def decode(self, encoded: Sequence[Encoded], tokens: int, k: int | None) -> Block:
        split = [self._parts(one.data) for one in encoded]
        counts = concatenate([_read_counts(parts, tokens) for parts in split]).astype(np.int64)
        _, first, tail, gold, _, steps, *of_ids, drawn = map(concatenate, zip(*split, strict=True))
        places = RowLayout(counts, k)
        steps = places.rows(steps)
        if self.compressed:
            # numpy accumulates bytes at a sixth of torch's speed.
            steps = torch.cumsum(torch.from_numpy(steps.copy()), 1, dtype=torch.uint8).numpy()
        log_probs = DEPTHS.take(steps)
        np.subtract(first.view("<f2").astype(np.float32)[:, None], log_probs, out=log_probs)
        ids = self._ids(of_ids, places)
        if self.compressed:
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

    def _ids(self, parts: list[npt.NDArray[np.uint8]], places: RowLayout) -> npt.NDArray[np.int64]:
        """Ids, or, compressed, their numbers."""
        low, *higher = (places.rows(part.view(kind)) for part, (_, _, kind) in zip(parts, self._of_ids, strict=True))
        if self.compressed:
            low, higher = low | (higher[0].astype(np.uint16) << 8), higher[1:]
        ids: npt.NDArray[np.int64] = low.astype(np.int64)
        for part in higher:
            ids |= part.astype(np.int64) << 16
        return ids

    def sizes(self, data: npt.NDArray[np.uint8], tokens: int) -> dict[str, int]:
        count = 7 + len(self._of_ids)
        counts, first, tail, gold, others, values, *ids, draws = data[: 4 * count].view("<u4").tolist()
        return {
            "counts": counts + 4 * count,
            "columns": first + tail + gold + others,
            "values": values,
            "ids": sum(ids),
            "draws": draws,
        }

    def _parts(self, data: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.uint8]]:
        count = 7 + len(self._of_ids)
        lengths = data[: 4 * count].view("<u4").tolist()
        if len(data) != 4 * count + sum(lengths):
            raise ConfigError(f"a block whose parts have {sum(lengths)} bytes cannot have {len(data) - 4 * count}")
        ends = list(itertools.accumulate(lengths, initial=4 * count))
        parts = [data[start:end] for start, end in itertools.pairwise(ends)]
        if self.compressed:
            for i in self._shortened:
                # The plane of low bytes says how long the others are.
                parts[i] = np.frombuffer(zlib.decompress(parts[i].data, -15, max(len(parts[6]), 1)), np.uint8)
        return parts

    @property
    def _of_ids(self) -> tuple[tuple[int, int, str], ...]:
        """The parts of ids: which bit each begins at, its mask and its type."""
        words = ((0, 255, "<u1"), (8, 255, "<u1")) if self.compressed else ((0, 65_535, "<u2"),)
        return words if self.vocab <= 2**16 else (*words, (16, 255, "<u1"))

    @property
    def _shortened(self) -> tuple[int, ...]:
        return (5, *range(7, 6 + len(self._of_ids)))


def _read_counts(parts: list[npt.NDArray[np.uint8]], tokens: int) -> npt.NDArray[np.uint16]:
    """Entries of each position of a block. Raises `ConfigError` where its parts are of another number of positions."""
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
    # Runs of one byte besides, which is what third bytes are made of.
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
