"""The shuffle of sequences: a seeded permutation without memory, in which any place of any epoch is computed alone.

A numpy permutation of 25 million sequences takes 200 MB per process and time at every epoch, and its values may
change with numpy's version (NEP 19 promises only the raw streams of bit generators). A Feistel network over a domain
of rows x columns just above the wanted size, walked until it lands inside (cycle walking: Black and Rogaway 2002,
"Ciphers with arbitrary finite domains"), needs neither and is exact for every size.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

_ROUNDS = 8
"""Rounds of the Feistel network."""


def mix(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of splitmix64 (Steele et al. 2014): a bijection of 64-bit words that spreads every bit."""
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def _keys(seed: int, epoch: int) -> npt.NDArray[np.uint64]:
    start = mix(mix(np.array([seed % 2**64], dtype=np.uint64)) ^ np.uint64(epoch))
    return mix(start + np.arange(_ROUNDS).astype(np.uint64))


def permuted(seed: int, epoch: int, size: int, places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The numbers (0..size-1) at `places` (0..size-1) of the permutation of (seed, epoch)."""
    side = math.isqrt(size - 1) + 1 if size > 1 else 1  # side * side >= size, by little
    keys = _keys(seed, epoch)
    found = places.astype(np.uint64)
    outside = np.ones(len(found), dtype=bool)
    while outside.any():
        found[outside] = _feistel(found[outside], np.uint64(side), keys)
        outside = found >= size
    return found.astype(np.int64)


def _feistel(values: npt.NDArray[np.uint64], side: np.uint64, keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """A bijection of 0..side**2-1: each round adds a keyed function of one digit to the other, modulo `side`."""
    left, right = values // side, values % side
    for key in keys:
        left, right = right, (left + mix(right ^ key) % side) % side  # reduced before adding: no wrap at 2**64
    return left * side + right


def order(seed: int, num_sequences: int, first: int, count: int) -> npt.NDArray[np.int64]:
    """Sequence numbers (0..num_sequences-1) at places first..first+count of the endless order of `seed`.

    Epoch e covers places [e * num_sequences, (e + 1) * num_sequences) and is a permutation seeded by (seed, e).
    """
    places = np.arange(first, first + count, dtype=np.int64)
    epochs = places // num_sequences
    out = np.empty(count, dtype=np.int64)
    for epoch in range(first // num_sequences, (first + count - 1) // num_sequences + 1):
        mine = epochs == epoch
        out[mine] = permuted(seed, epoch, num_sequences, places[mine] % num_sequences)
    return out
