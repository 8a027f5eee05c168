"""The small codec: byte planes of quantised values and ids, with a known error.

Values are steps below the row's first entry, 1/16 nat up to 12 nats and 1/4 nat beyond, kept as gaps from rank to rank:
one byte per entry. Ids are their low and high bytes. Each plane lies row by row; those that an order-0 code shortens
(gaps and high bytes) may be compressed by themselves. On SmolLM2's distributions the mean KL divergence that this adds
is below 1e-4 nats, some thousand times less than the truncation beside it (`make bench-store`).
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from pdstudy.distill.codec import COLUMNS, GOLD, TAIL, Block, rows_of, with_dropped
from pdstudy.normal import ConfigError, declared, neutral

FINE, COARSE, BEND = 16, 4, 12
"""Steps to the nat above and below `BEND` nats under the first entry."""

GOLD_STEPS = 1024
"""Steps to the nat of the gold id's log-probability, uint16: down to -64 nats."""

BOUND = 2e-4
"""Mean KL divergence, in nats per position, that coding may add to a shard: twice what real distributions show."""

_STEPS = np.arange(256)
DEPTHS = np.where(_STEPS <= FINE * BEND, _STEPS / FINE, BEND + (_STEPS - FINE * BEND) / COARSE).astype(np.float32)
"""Nats below the first entry, by step; what lies deeper than the last is put there."""


@declared
class Planes:
    """Coded values, as the module says. `compressed`: steps as gaps, and Huffman codes for gaps and high bytes.

    Per block: the length of each part (uint32), then the parts: entries per position (uint16), first log-probabilities
    (float16), tails (uint8, 1/16 nat of the logarithm), gold (uint16), other columns (float16; tempered tails as
    logarithms), steps, low bytes of ids, high bytes, ids drawn (every draw has weight 1).
    """

    vocab: int
    compressed: bool
    columns: int = neutral(len(COLUMNS))
    draws: int = neutral(0)

    def encode(self, block: Block) -> bytes:
        used = block.log_probs > -np.inf
        first = block.log_probs[:, 0].astype("<f2")
        steps = _steps(first, block.log_probs, used)
        if self.compressed:
            steps = np.diff(steps, axis=1, prepend=np.uint8(0))
        ids = block.ids[used].astype("<u4").view(np.uint8).reshape(-1, 4)
        others = block.columns[2:].copy()
        with np.errstate(divide="ignore"):
            others[len(COLUMNS) - 2 :] = np.log(others[len(COLUMNS) - 2 :])
            tail = np.rint(-FINE * np.log(block.columns[TAIL]))
        parts: list[npt.NDArray[Any]] = [
            used.sum(1).astype("<u2"),
            first,
            tail.clip(0, 255).astype(np.uint8),
            np.rint(-GOLD_STEPS * block.columns[GOLD]).clip(0, 65_535).astype("<u2"),
            others.astype("<f2"),
            steps[used],
            np.ascontiguousarray(ids[:, 0]),
            *(np.ascontiguousarray(ids[:, i]) for i in range(1, self._id_bytes)),
            block.drawn.astype("<u4"),
        ]
        data = [part.tobytes() for part in parts]
        if self.compressed:
            for i in self._shortened:
                data[i] = _huffman(data[i])
        return np.array([len(d) for d in data], "<u4").tobytes() + b"".join(data)

    def decode(self, data: npt.NDArray[np.uint8], tokens: int, k: int | None) -> Block:
        parts = self._parts(data)
        counts = parts[0].view("<u2").astype(np.int64)
        if len(counts) != tokens or counts.sum() != len(parts[5]):
            raise ConfigError(f"a block of {len(counts)} positions and {len(parts[5])} entries was read as {tokens}")
        columns = np.empty((self.columns, tokens), np.float32)
        columns[TAIL] = np.where(parts[2] == 255, 0, np.exp(parts[2] / np.float32(-FINE)))
        columns[GOLD] = parts[3].view("<u2") / np.float32(-GOLD_STEPS)
        columns[2:] = parts[4].view("<f2").reshape(self.columns - 2, tokens)
        columns[len(COLUMNS) :] = np.exp(columns[len(COLUMNS) :])
        width = int(counts.max(initial=0)) if k is None else k
        steps, *bytes_of_ids = (rows_of(plane, counts, width) for plane in parts[5 : 6 + self._id_bytes])
        if self.compressed:
            steps = np.cumsum(steps, axis=1, dtype=np.uint8)
        log_probs = parts[1].view("<f2").astype(np.float32)[:, None] - DEPTHS[steps]
        ids = bytes_of_ids[0].astype(np.int64)
        for i, plane in enumerate(bytes_of_ids[1:], 1):
            ids |= plane.astype(np.int64) << (8 * i)
        if counts.min(initial=width) < width:
            unused = np.arange(width) >= counts[:, None]
            log_probs[unused], ids[unused] = -np.inf, 0
        drawn = parts[-1].view("<u4").reshape(tokens, self.draws).astype(np.int64)
        return with_dropped(
            Block(ids, log_probs, columns, drawn, np.ones(drawn.shape, np.float32)), dropping=counts > width
        )

    def _parts(self, data: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.uint8]]:
        count = 7 + self._id_bytes
        lengths = data[: 4 * count].view("<u4")
        if len(data) != 4 * count + int(lengths.sum()):
            raise ConfigError(
                f"a block whose parts have {int(lengths.sum())} bytes cannot have {len(data) - 4 * count}"
            )
        parts = np.split(data, np.cumsum([4 * count, *lengths.tolist()[:-1]]))[1:]
        if self.compressed:
            for i in self._shortened:
                parts[i] = np.frombuffer(zlib.decompress(parts[i].tobytes(), wbits=-15), np.uint8)
        return parts

    @property
    def _id_bytes(self) -> int:
        return 2 if self.vocab <= 2**16 else 3

    @property
    def _shortened(self) -> tuple[int, ...]:
        return (5, *range(7, 6 + self._id_bytes))


def _steps(first: npt.NDArray[Any], log_probs: npt.NDArray[np.float32], used: npt.NDArray[np.bool_]) -> Any:
    depth = (first.astype(np.float32)[:, None] - np.where(used, log_probs, 0)).clip(0, None)
    coarse = FINE * BEND + np.rint((depth - BEND) * COARSE)
    steps = np.where(depth < BEND, np.rint(depth * FINE), coarse).clip(0, 255).astype(np.uint8)
    return np.where(used, steps, 0)


def _huffman(data: bytes) -> bytes:
    coder = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_HUFFMAN_ONLY)
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
