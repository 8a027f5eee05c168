"""How much of the tokens x vocabulary matrix is worked on at a time, by type of device.

A CPU is fast while a chunk fits its cache; a CUDA device wants matrix products of a thousand rows and few kernel
launches. A type of device that is not named is treated like a CPU. Sizes change time and memory; results change as
they do with any other size of a product: on a GPU, in the last bits.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

CHUNK_BYTES = {"cpu": 8 << 20, "cuda": 3 << 29}
"""Bytes that the loss takes for a chunk of rows, logits included."""


LEAST_ROWS = {"cpu": 192, "cuda": 1024}
"""Rows of logits that a chunk has at least: with fewer, products are slow at large vocabularies."""


ROW_MULTIPLE = {"cpu": 1, "cuda": 256}
"""The number of rows of a chunk is a multiple of this: a device's products work on tiles of so many rows."""


STATISTICS_BYTES = {"cpu": 8 << 20, "cuda": 128 << 20}
"""Bytes of float32 teacher logits that are summarised at a time; a dozen tensors of that size live beside them."""


METRIC_ROWS = {"cpu": 128, "cuda": 512}
"""Rows of logits that an evaluation's metrics, which go over them a dozen times, take at a time."""


TEACHER_LOGITS_BYTES = {"cpu": 64 << 20, "cuda": 2 << 30}
"""Bytes of logits that a teacher makes in one forward pass, of one sequence at least."""


def size_for(sizes: Mapping[str, int], device: torch.device) -> int:
    """The entry of one of the tables above for a device."""
    return sizes.get(device.type, sizes["cpu"])


def choose_chunk_rows(vocab: int, dtype: torch.dtype, device: torch.device, extra_bytes: int = 0) -> int:
    """Rows of logits of a chunk, where a row takes `extra_bytes` beside its logits."""
    multiple = size_for(ROW_MULTIPLE, device)
    fitting = size_for(CHUNK_BYTES, device) // (vocab * dtype.itemsize + extra_bytes)
    return max(size_for(LEAST_ROWS, device), fitting // multiple * multiple)
