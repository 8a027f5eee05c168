"""The head's three matrix products, chunk by chunk: logits, and the gradients of hidden states and weight.

`HeadMatmul` makes them in the type that the loss is computed in. bfloat16 operands on a CUDA device are multiplied as
they are, many times as fast and next to exactly (`HalfHeadMatmul`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pdstudy.distill.loss import kernels

ALIGNED_COLUMNS = 64
"""Columns that rows of a buffer are filled up to: products are slow where rows begin between vectors."""


LEAST_FLOAT16_SCALE = 32.0
"""What a logit's gradient of one token's whole loss is at least in float16, of which the largest number is 65,504."""


def choose_matmul(hidden: Tensor, weight: Tensor) -> type[HeadMatmul]:
    half = hidden.dtype == weight.dtype == torch.bfloat16
    return HalfHeadMatmul if hidden.is_cuda and half else HeadMatmul


class HeadMatmul:
    """For hidden states [N, H] and a weight [V, H], of which rows from `vocab` on are padding.

    Gradients of those `wanted` add up in `of_hidden` [N, H] and `of_weight` [V, H], of type `dtype` and times `scale`;
    the others are None. `size`: rows of a chunk at most. `divisor`: what the losses of tokens are divided by;
    `bounded`: whether the gradient of a token's loss, undivided, is of the size of 1.
    """

    BESIDE = 0
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
        self.of_hidden = torch.empty_like(hidden, dtype=dtype) if wanted[0] else None
        self.of_weight = torch.zeros_like(weight, dtype=dtype) if wanted[1] else None
        self._hidden, self._vocab, self._dtype = hidden, vocab, dtype
        self._prepare(weight[:vocab], min(size, len(hidden)), divisor if bounded else None)

    def _prepare(self, table: Tensor, rows: int, divisor: float | None) -> None:
        """Operands and buffers, from the rows of the weight that are no padding."""
        self._table = table.to(self._dtype)
        self._buffer = table.new_empty(rows, len(table), dtype=self._dtype)

    def logits(self, part: slice) -> Tensor:
        """[C, vocab], in a buffer that the next chunk's overwrite."""
        states = self._hidden[part].to(self._buffer.dtype)
        return torch.mm(states, self._table.t(), out=self._buffer[: len(states)])

    def add(self, part: slice, gradient: Tensor) -> None:
        """Take the gradient of a chunk's logits to those of states and weight."""
        if self.of_hidden is not None:
            torch.mm(gradient, self._table, out=self.of_hidden[part])
        if self.of_weight is not None:
            self.of_weight[: self._vocab].addmm_(gradient.t(), self._hidden[part].to(gradient.dtype))


class HalfHeadMatmul(HeadMatmul):
    """The same of bfloat16 operands on a CUDA device, added up in float32.

    A product of two bfloat16 numbers is exact in float32, so logits are what they would be. Gradients of logits go in
    as float16, in which the operands are exact, too, if neither huge nor tiny: rounded to bfloat16 they would, near
    p = q, add as much error as a bfloat16 gradient of the weight has anyway; this adds a seventh. They are taken to a
    size that float16 holds by `scale`, a power of two. One beyond it becomes infinite, and so does the gradient's norm.
    Where gradients may be of any size they go in as bfloat16, after all.
    """

    BESIDE = 2

    def _prepare(self, table: Tensor, rows: int, divisor: float | None) -> None:
        if divisor is not None:
            self.scale = LEAST_FLOAT16_SCALE * 2.0 ** math.frexp(divisor)[1]
        self._table = table
        half = torch.bfloat16 if divisor is None else torch.float16
        columns = -(-len(table) // ALIGNED_COLUMNS) * ALIGNED_COLUMNS
        self._buffer = table.new_empty(rows, columns, dtype=self._dtype)[:, : len(table)]
        self._narrow = self._narrow_table = None
        if self.of_hidden is not None or self.of_weight is not None:
            self._narrow = table.new_empty(rows, columns, dtype=half)[:, : len(table)]
        if self.of_hidden is not None:
            self._narrow_table = table.to(half)

    def logits(self, part: slice) -> Tensor:
        states = self._hidden[part]
        out = self._buffer[: len(states)]
        return torch.mm(states, self._table.t(), out_dtype=out.dtype, out=out)

    def add(self, part: slice, gradient: Tensor) -> None:
        assert self._narrow is not None
        narrow = self._narrow[: len(gradient)]
        if kernels.can_use(gradient):
            kernels.narrow(gradient, narrow, self.scale)
        else:
            torch.mul(gradient, self.scale, out=narrow)
        if self.of_hidden is not None and self._narrow_table is not None:
            out = self.of_hidden[part]
            torch.mm(narrow, self._narrow_table, out_dtype=out.dtype, out=out)
        if self.of_weight is not None:
            out, states = self.of_weight[: self._vocab], self._hidden[part].to(narrow.dtype)
            torch.addmm(out, narrow.t(), states, out_dtype=out.dtype, out=out)
