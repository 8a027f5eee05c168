"""Triton kernels for steps in which torch's own operations read a chunk of logits several times.

Each has a plain form where it is used, for CPUs, float64, and machines on which Triton cannot build.
"""

from __future__ import annotations

import functools
import importlib.util
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

BLOCK_LOGITS = 4096
"""Logits of a row that a Triton program holds in registers at a time."""


def can_use(buffer: Tensor) -> bool:
    """Whether the kernels can work on a buffer of logits."""
    return buffer.is_cuda and buffer.dtype == torch.float32 and buffer.stride(1) == 1 and _can_build(buffer.device)


@functools.cache
def _can_build(device: torch.device) -> bool:
    """Whether Triton is installed, as it is beside torch for CUDA, with the C compiler and Python headers it needs."""
    if importlib.util.find_spec("triton") is None:
        return False
    try:
        row_sums(torch.zeros(1, 1, device=device))
    except Exception as error:  # whatever its compilers raise: the plain form serves
        warnings.warn(f"no Triton kernels here, so the loss is slower: {error}", stacklevel=2)
        return False
    return True


def row_sums(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The largest logit of each row and the sum of exponentials of the differences to it, both [C, 1], in one reading.

    `logits` is float32 [C, V]. For a row of nothing but -inf they are the least float32 and 0.
    """
    from pdstudy.distill.loss import triton_kernels

    top, total = (torch.empty(len(logits), 1, dtype=logits.dtype, device=logits.device) for _ in range(2))
    with torch.cuda.device(logits.device):
        triton_kernels.row_sums[(len(logits),)](
            logits, top, total, logits.stride(0), logits.shape[1], BLOCK=BLOCK_LOGITS
        )
    return top, total


def scale_exponentials(logits: Tensor, top: Tensor, factor: Tensor) -> Tensor:
    """Overwrite `logits` [C, V] by factor * exp(logits - top), with `top` and `factor` [C, 1]."""
    from pdstudy.distill.loss import triton_kernels

    grid = (len(logits), triton_kernels.count_blocks(logits.shape[1], BLOCK_LOGITS))
    with torch.cuda.device(logits.device):
        triton_kernels.scale_exponentials[grid](
            logits, top, factor, logits.stride(0), logits.shape[1], BLOCK=BLOCK_LOGITS
        )
    return logits


def narrow_gradient(
    logits: Tensor,
    top: Tensor,
    factor: Tensor,
    shift: Tensor | None,
    entries: Sequence[tuple[Tensor, Tensor]],
    out: Tensor,
    scale: float,
) -> None:
    """Fill `out` [C, V], of a 16-bit type, with scale * (factor * exp(logits - top) + shift + entries).

    Logits are read once and `out` is written once. Entries, (ids, values) of [C, K] each, are formed in float32 and
    written afterwards where they lie; what they need of `logits` is added up there, which leaves it of no further use.
    """
    from pdstudy.distill.loss import triton_kernels

    offset = torch.zeros_like(factor) if shift is None else shift[:, None].to(factor.dtype).contiguous()
    softmax = [factor * torch.exp(logits.gather(1, ids) - top) for ids, _ in entries]
    grid = (len(logits), triton_kernels.count_blocks(logits.shape[1], BLOCK_LOGITS))
    with torch.cuda.device(logits.device):
        triton_kernels.narrow_exponentials[grid](
            logits,
            top,
            factor,
            offset,
            out,
            scale,
            logits.stride(0),
            out.stride(0),
            logits.shape[1],
            BLOCK=BLOCK_LOGITS,
        )
    for ids, _ in entries:
        logits.scatter_(1, ids, 0)
    for ids, values in entries:
        logits.scatter_add_(1, ids, values)
    for (ids, _), part in zip(entries, softmax, strict=True):
        whole = (part + offset + logits.gather(1, ids)) * scale
        out.scatter_(1, ids, whole.to(out.dtype))  # equal ids have equal values by now


def scale_to_half(values: Tensor, out: Tensor, scale: float) -> Tensor:
    """Fill `out` [C, V], of a 16-bit type, with `values` times `scale`."""
    from pdstudy.distill.loss import triton_kernels

    grid = (len(values), triton_kernels.count_blocks(values.shape[1], BLOCK_LOGITS))
    with torch.cuda.device(values.device):
        triton_kernels.scale_to_half[grid](
            values, out, scale, values.stride(0), out.stride(0), values.shape[1], BLOCK=BLOCK_LOGITS
        )
    return out
