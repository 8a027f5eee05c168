"""The output head's three matrix products, chunk by chunk: logits, and the gradients of hidden states and weight.

`HeadMatmul` computes them in the type of the loss. bfloat16 operands on a CUDA device are multiplied as they are, many
times as fast and next to exactly (`HalfHeadMatmul`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pdstudy.distill.loss.narrow import NarrowGradient

ALIGNED_COLUMNS = 64
"""The number of columns of a buffer is a multiple of this: products are slow where rows begin between vectors."""


LEAST_FLOAT16_SCALE = 32.0
"""The least size in float16 of a gradient that is 1 before the division; float16's largest number is 65,504."""


def choose_matmul(hidden: Tensor, weight: Tensor) -> type[HeadMatmul]:
    """The class for operands of these types on this device."""
    half = hidden.dtype == weight.dtype == torch.bfloat16
    return HalfHeadMatmul if hidden.is_cuda and half else HeadMatmul


class HeadMatmul:
    """Products of hidden states [N, H] and a weight [V, H], whose rows from `vocab` on are padding.

    Those `wanted` of the gradients of (hidden states, weight) add up in `hidden_gradient` [N, H] and `weight_gradient`
    [V, H], of type `dtype` and times `scale`; the others are None. `size`: rows of a chunk at most. `divisor`: the
    losses of tokens are divided by it; `bounded`: whether the gradient of a token's loss, undivided, is of size 1.
    """

    EXTRA_BYTES = 0
    """Bytes that a logit takes besides itself."""

    def __init__(
        self,
        hidden: Tensor,
        weight: Tensor,
        vocab: int,
        size: int,
        dtype: torch.dtype,
        wanted: tuple[bool, bool],
        divisor: float,
        bounded: bool,
    ) -> None:
        self.scale = 1.0
        self.hidden_gradient = torch.empty_like(hidden, dtype=dtype) if wanted[0] else None
        self.weight_gradient = torch.zeros_like(weight, dtype=dtype) if wanted[1] else None
        self._hidden, self._vocab, self._dtype = hidden, vocab, dtype
        self._prepare(weight[:vocab], min(size, len(hidden)), divisor if bounded else None)

    def _prepare(self, table: Tensor, rows: int, divisor: float | None) -> None:
        """Make operands and buffers from `table`, the rows of the weight that are no padding."""
        self._table = table.to(self._dtype)
        self._buffer = table.new_empty(rows, len(table), dtype=self._dtype)

    def logits(self, part: slice) -> Tensor:
        """The logits of a chunk, [C, vocab], in a buffer that the next chunk overwrites."""
        states = self._hidden[part].to(self._buffer.dtype)
        return torch.mm(states, self._table.t(), out=self._buffer[: len(states)])

    def narrow(self, part: slice) -> NarrowGradient | None:
        """Where `add` expects the gradient of a chunk's logits; None: in the type of the loss, wherever it lies."""
        return None

    def add(self, part: slice, gradient: Tensor) -> None:
        """Add what the gradient of a chunk's logits contributes to those of hidden states and weight."""
        if self.hidden_gradient is not None:
            torch.mm(gradient, self._table, out=self.hidden_gradient[part])
        if self.weight_gradient is not None:
            self.weight_gradient[: self._vocab].addmm_(gradient.t(), self._hidden[part].to(gradient.dtype))


class HalfHeadMatmul(HeadMatmul):
    """The same products for bfloat16 operands on a CUDA device, added up in float32.

    A product of two bfloat16 numbers is exact in float32, so logits are those of `HeadMatmul`. Gradients of logits are
    rounded to float16, in which the operands are exact, too, if neither huge nor tiny: rounded to bfloat16 they would,
    near p = q, add as much error as a bfloat16 gradient of the weight has anyway; float16 adds a seventh. `scale`, a
    power of two, brings them to a size that float16 holds. One beyond it becomes infinite, and so does the gradient's
    norm. Gradients that may be of any size are rounded to bfloat16 after all.
    """

    EXTRA_BYTES = 2

    def _prepare(self, table: Tensor, rows: int, divisor: float | None) -> None:
        if divisor is not None:
            self.scale = LEAST_FLOAT16_SCALE * 2.0 ** math.frexp(divisor)[1]
        self._table = table
        half = torch.bfloat16 if divisor is None else torch.float16
        columns = -(-len(table) // ALIGNED_COLUMNS) * ALIGNED_COLUMNS
        self._buffer = table.new_empty(rows, columns, dtype=self._dtype)[:, : len(table)]
        self._half_buffer = self._half_table = None
        if self.hidden_gradient is not None or self.weight_gradient is not None:
            self._half_buffer = table.new_empty(rows, columns, dtype=half)[:, : len(table)]
        if self.hidden_gradient is not None:
            self._half_table = table.to(half)

    def logits(self, part: slice) -> Tensor:
        states = self._hidden[part]
        out = self._buffer[: len(states)]
        return torch.mm(states, self._table.t(), out_dtype=out.dtype, out=out)

    def narrow(self, part: slice) -> NarrowGradient | None:
        if self._half_buffer is None:
            return None
        return NarrowGradient(self._half_buffer[: part.stop - part.start], self.scale)

    def add(self, part: slice, gradient: Tensor) -> None:
        if self.hidden_gradient is not None and self._half_table is not None:
            out = self.hidden_gradient[part]
            torch.mm(gradient, self._half_table, out_dtype=out.dtype, out=out)
        if self.weight_gradient is not None:
            out, states = self.weight_gradient[: self._vocab], self._hidden[part].to(gradient.dtype)
            torch.addmm(out, gradient.t(), states, out_dtype=out.dtype, out=out)
