"""How much of tokens x vocabulary is worked on at a time. A CPU is quick while it fits a cache; a CUDA device wants
matrix products of a thousand rows, and its launches to be few.

Sizes are by type of device; one that is not named is treated like a CPU. They change time and memory, and results no
more than products of other sizes do: on a GPU, in the last bits.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

CHUNK_BYTES = {"cpu": 8 << 20, "cuda": 3 << 29}
"""That work on a chunk of the head takes, its logits included."""


LEAST_ROWS = {"cpu": 192, "cuda": 1024}
"""That a chunk of the head has at least: fewer starve its products at large vocabularies."""


ROW_MULTIPLE = {"cpu": 1, "cuda": 256}
"""Of which the rows of a chunk are a multiple: what a device's products are cut into."""


STATISTICS_BYTES = {"cpu": 8 << 20, "cuda": 128 << 20}
"""Bytes of float32 logits that are summarised at a time; at most a dozen tensors of that size live beside them."""


METRIC_ROWS = {"cpu": 128, "cuda": 512}
"""Rows of logits that a dozen passes go over at a time."""


TEACHER_LOGITS_BYTES = {"cpu": 64 << 20, "cuda": 2 << 30}
"""Of the logits that a teacher makes in one forward pass, one sequence at least."""


def size_for(sizes: Mapping[str, int], device: torch.device) -> int:
    return sizes.get(device.type, sizes["cpu"])


def choose_chunk_rows(vocab: int, dtype: torch.dtype, device: torch.device, beside: int = 0) -> int:
    """Rows of logits that are held at a time; each takes `beside` bytes more."""
    tile = size_for(ROW_MULTIPLE, device)
    return max(
        size_for(LEAST_ROWS, device), size_for(CHUNK_BYTES, device) // (vocab * dtype.itemsize + beside) // tile * tile
    )
