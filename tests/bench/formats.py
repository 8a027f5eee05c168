"""How others store a teacher's top-k, for the codec benchmark: written anew from their published descriptions.

Each has `encode(block) -> bytes` and `decode(bytes, tokens, k) -> Block` into int64 ids and float32 log-probabilities,
as the store's own codecs do. None stores a tail: it is what the kept entries leave of 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow

from pdstudy.distill.store.codec import COLUMNS, TAIL, Block


class Format(Protocol):
    def encode(self, block: Block) -> bytes: ...

    def decode(self, data: bytes, tokens: int, k: int) -> Block: ...


def _block(ids: npt.NDArray[Any], log_probs: npt.NDArray[np.float32]) -> Block:
    columns = np.zeros((len(COLUMNS), len(ids)), np.float32)
    columns[TAIL] = np.maximum(1 - np.exp(log_probs).sum(1), 0)
    none = np.zeros((len(ids), 0))
    return Block(ids.astype(np.int64), log_probs, columns, none.astype(np.int64), none.astype(np.float32))


@dataclass(frozen=True)
class Plain:
    """float16 log-probabilities and int32 ids."""

    def encode(self, block: Block) -> bytes:
        return block.log_probs.astype("<f2").tobytes() + block.ids.astype("<i4").tobytes()

    def decode(self, data: bytes, tokens: int, k: int) -> Block:
        values = np.frombuffer(data, "<f2", tokens * k).reshape(tokens, k)
        return _block(np.frombuffer(data, "<i4", tokens * k, 2 * tokens * k).reshape(tokens, k), _wide(values))


@dataclass(frozen=True)
class Megatron:
    """Megatron-LM's offline distillation (its pull request 5019): float16 log-probabilities, the low 16 bits of ids,
    and a byte for the 17th bit, all under zstd at level 3, a micro-batch at a time."""

    def encode(self, block: Block) -> bytes:
        planes = block.log_probs.astype("<f2"), (block.ids & 65_535).astype("<u2"), (block.ids >> 16).astype(np.uint8)
        raw = b"".join(plane.tobytes() for plane in planes)
        return bytes(pyarrow.Codec("zstd", compression_level=3).compress(raw, asbytes=True))

    def decode(self, data: bytes, tokens: int, k: int) -> Block:
        n = tokens * k
        raw = pyarrow.Codec("zstd").decompress(data, 5 * n)
        ids = np.frombuffer(raw, "<u2", n, 2 * n).astype(np.int64)
        ids |= np.frombuffer(raw, np.uint8, n, 4 * n).astype(np.int64) << 16
        return _block(ids.reshape(tokens, k), _wide(np.frombuffer(raw, "<f2", n).reshape(tokens, k)))


@dataclass(frozen=True)
class DistillKit:
    """DistillKit's compressed logits: the first `exact` values of a row in bfloat16, the others as a least-squares fit
    over their rank with float32 coefficients of `powers` and a square root; ids packed in ceil(log2 vocab) bits.

    Its "budget" setting (k = 50) has 1 exact value and 3 terms, its "recommended" one (k = 128) 16 and 6.
    """

    vocab: int
    exact: int
    powers: tuple[int, ...]

    def encode(self, block: Block) -> bytes:
        values = block.log_probs
        kept = np.ascontiguousarray(values[:, : self.exact], "<f4").view("<u4")
        rounded = ((kept + 0x8000) >> 16).astype("<u2")  # to bfloat16
        basis = self._basis(values.shape[1])
        fit = np.linalg.lstsq(basis, values[:, self.exact :].T.astype(np.float64), rcond=None)[0].T.astype("<f4")
        bits = (block.ids[..., None] >> np.arange(self._bits)) & 1
        packed = np.packbits(bits.reshape(-1).astype(np.uint8), bitorder="little")
        return rounded.tobytes() + fit.tobytes() + packed.tobytes()

    def decode(self, data: bytes, tokens: int, k: int) -> Block:
        terms = len(self.powers) + 1
        rounded = np.frombuffer(data, "<u2", tokens * self.exact).reshape(tokens, self.exact)
        at = 2 * tokens * self.exact
        fit = np.frombuffer(data, "<f4", tokens * terms, at).reshape(tokens, terms)
        values = np.empty((tokens, k), np.float32)
        values[:, : self.exact] = (rounded.astype("<u4") << 16).view("<f4")
        values[:, self.exact :] = fit @ self._basis(k).T.astype(np.float32)
        packed = np.frombuffer(data, np.uint8, offset=at + 4 * tokens * terms)
        if self._bits == 16:
            return _block(packed.view("<u2").reshape(tokens, k), values)
        bits = np.unpackbits(packed, bitorder="little")[: tokens * k * self._bits].reshape(tokens, k, self._bits)
        return _block(bits @ (1 << np.arange(self._bits)), values)

    def _basis(self, k: int) -> npt.NDArray[np.float64]:
        rank = np.arange(1, k - self.exact + 1) / (k - self.exact)
        return np.stack([*(rank**power for power in self.powers), np.sqrt(rank)], 1)

    @property
    def _bits(self) -> int:
        return math.ceil(math.log2(self.vocab))


def _wide(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    return values.astype(np.float32)
