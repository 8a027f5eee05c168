"""How much of tokens x vocabulary is worked on at a time. A CPU is quick while it fits a cache; a CUDA device wants
matrix products of a thousand rows, and its launches to be few. It changes time and memory only."""

from __future__ import annotations

import torch

BYTES = {"cpu": 8 << 20, "cuda": 1 << 30}
"""That work on one chunk takes, its logits included, by type of device."""

ROWS = {"cpu": 192, "cuda": 1024}
"""That a chunk of matrix products has at least: fewer starve them at large vocabularies."""

TILE = {"cpu": 1, "cuda": 256}
"""Of which the rows of a chunk are a multiple: what a device's matrix products are cut into."""

PASSES = {"cpu": 128, "cuda": 4096}
"""Rows of logits at a time where a dozen passes go over them."""

TEACHER_BYTES = {"cpu": 64 << 20, "cuda": 2 << 30}
"""Of the logits that a teacher makes in one forward pass, one sequence at least."""


def rows_of_chunk(vocab: int, dtype: torch.dtype, device: torch.device, beside: int = 0) -> int:
    """Rows of logits that are held at a time; each takes `beside` bytes more."""
    kind = device.type
    return max(ROWS[kind], BYTES[kind] // (vocab * dtype.itemsize + beside) // TILE[kind] * TILE[kind])
