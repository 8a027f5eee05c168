"""The Triton kernels themselves, imported only where Triton is installed (`kernels` calls them).

A program works on one row, or on one block of one row.
"""

from __future__ import annotations

import triton
import triton.language as tl

LEAST_FLOAT32 = tl.constexpr(-3.4028234663852886e38)


def count_blocks(width: int, block: int) -> int:
    """Blocks of `block` columns that cover `width` columns."""
    return int(triton.cdiv(width, block))


@triton.jit
def row_sums(logits, top, total, stride, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    # Every lane has a maximum and a sum of its own until the end: no reduction inside the loop.
    tops = tl.full([BLOCK], LEAST_FLOAT32, tl.float32)
    sums = tl.zeros([BLOCK], tl.float32)
    for start in range(0, WIDTH, BLOCK):
        at = start + tl.arange(0, BLOCK)
        x = tl.load(logits + row * stride + at, mask=at < WIDTH, other=-float("inf"))
        higher = tl.maximum(tops, x)
        sums = sums * tl.exp(tops - higher) + tl.exp(x - higher)
        tops = higher
    highest = tl.max(tops, 0)
    tl.store(top + row, highest)
    tl.store(total + row, tl.sum(sums * tl.exp(tops - highest), 0))


@triton.jit
def scale_exponentials(logits, top, factor, stride, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    place = logits + row * stride + at
    x = tl.load(place, mask=at < WIDTH, other=-float("inf"))
    tl.store(place, tl.load(factor + row) * tl.exp(x - tl.load(top + row)), mask=at < WIDTH)


@triton.jit
def scale_to_half(values, out, scale, stride, out_stride, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(values + row * stride + at, mask=at < WIDTH, other=0.0)
    tl.store(out + row * out_stride + at, (x * scale).to(out.dtype.element_ty), mask=at < WIDTH)


@triton.jit
def narrow_exponentials(
    logits, top, factor, shift, out, scale, stride, out_stride, WIDTH: tl.constexpr, BLOCK: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(logits + row * stride + at, mask=at < WIDTH, other=-float("inf"))
    gradient = tl.load(factor + row) * tl.exp(x - tl.load(top + row)) + tl.load(shift + row)
    tl.store(out + row * out_stride + at, (gradient * scale).to(out.dtype.element_ty), mask=at < WIDTH)
