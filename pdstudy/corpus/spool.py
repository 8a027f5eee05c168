"""The spool: all documents of a corpus on disk and a small index in memory, for deduplication, split and shuffle.

A document costs 24 bytes of memory while texts are read (16 of hash, 8 of length), and about a hundred for the moment
in which its place is found, whatever its size, so that a corpus may be far larger than memory. Whether a document is a
duplicate, its split and its place in the shuffle follow from the hash of its content, so that appending documents moves
no other document between splits, nor past another in the order.

Documents are written to one of `BUCKETS` files by their place in the shuffle. The stream is read one file after the
other, so that a disk is read in runs of a 256th of the corpus, not document by document all over it.
"""

from __future__ import annotations

import array
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, get_args

import numpy as np
import numpy.typing as npt

from pdstudy.config.data import Split
from pdstudy.core.files import sync
from pdstudy.corpus.permutation import mix

SPLITS: tuple[Split, ...] = get_args(Split)


BUCKETS = 256
"""Files of a spool: a power of two."""


_BUFFER_BYTES = 16_384
"""Bytes that are kept of each file before they are written: 4 MiB of all."""


_SHIFT = 64 - (BUCKETS - 1).bit_length()


_MASK = 2**64 - 1


class Spool:
    """Texts appended to the files of a new folder, which are read back in any order.

    `seed` is that of the shuffle in whose order they are read. Leaving its context closes the files.
    """

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self._folder = folder
        folder.mkdir()
        self._seed = seed
        self._seed_word = int(_seed_word(seed)[0])
        self._files: dict[int, BinaryIO] = {}
        self._hashes = bytearray()
        self._lengths = array.array("Q")

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()

    def add(self, text: bytes) -> None:
        """Append one document's UTF-8 text."""
        digest = hashlib.blake2b(text, digest_size=16).digest()
        bucket = _mix_one(int.from_bytes(digest[8:]) ^ self._seed_word) >> _SHIFT
        file = self._files.get(bucket)
        if file is None:
            file = self._files[bucket] = _bucket_path(self._folder, bucket).open("wb", buffering=_BUFFER_BYTES)
        file.write(text)
        self._hashes += digest
        self._lengths.append(len(text))

    def index(self) -> Index:
        """Index all documents added so far, with duplicates found."""
        for file in self._files.values():
            file.flush()
        hashes = np.frombuffer(self._hashes, dtype=">u8").reshape(-1, 2).astype(np.uint64)
        return Index(hashes, np.array(self._lengths, dtype=np.int64), self._seed)

    def texts(self, index: Index, documents: npt.NDArray[np.int64]) -> Iterator[str]:
        """Yield the texts of `documents` (numbers in the order of adding)."""
        yield from read_texts(self._folder, index.places(documents))


def read_texts(folder: Path, places: npt.NDArray[np.int64]) -> Iterator[str]:
    """Yield the texts at `places` (`Index.places`) of a spool's folder."""
    handle, opened = -1, -1
    try:
        for bucket, offset, length in _rows(places):
            if bucket != opened:
                if handle >= 0:
                    os.close(handle)
                handle, opened = os.open(_bucket_path(folder, bucket), os.O_RDONLY), bucket
                if hasattr(os, "posix_fadvise"):  # the whole file is read, though not in the order in which it lies
                    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_WILLNEED)
            parts = bytearray()
            while len(parts) < length:  # one read returns at most 2 GiB
                parts += os.pread(handle, length - len(parts), offset + len(parts))
            yield parts.decode()
    finally:
        if handle >= 0:
            os.close(handle)


def _rows(places: npt.NDArray[np.int64]) -> Iterator[list[int]]:
    """Rows as Python's numbers, some thousand at a time: all at once they would take two hundred bytes a document."""
    for start in range(0, len(places), 4096):
        yield from places[start : start + 4096].tolist()


def sync_spool(folder: Path) -> None:
    """Force all texts of a spool to disk."""
    for file in folder.iterdir():
        sync(file)


def _bucket_path(folder: Path, bucket: int) -> Path:
    return folder / f"{bucket:03d}"


class Index:
    """Hash, length and place of every spooled document.

    `hashes` is uint64 [documents, 2]: the first word decides the split, the second the place in the shuffle, so that
    the two are independent. `lengths` are bytes; `seed` is that of the spool.
    """

    def __init__(self, hashes: npt.NDArray[np.uint64], lengths: npt.NDArray[np.int64], seed: int = 0) -> None:
        self.hashes = hashes
        self.lengths = lengths
        self._seed = seed
        by_hash = np.lexsort((hashes[:, 1], hashes[:, 0]))  # stable: the first of equal documents comes first
        ordered = hashes[by_hash]
        first = np.ones(len(hashes), dtype=bool)
        first[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
        self.unique: npt.NDArray[np.bool_] = np.zeros(len(hashes), dtype=bool)
        self.unique[by_hash[first]] = True

    def __len__(self) -> int:
        return len(self.lengths)

    def places(self, documents: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """File of the spool, offset and length in bytes of `documents`, int64 [documents, 3]."""
        bucket = (mix(self.hashes[:, 1] ^ _seed_word(self._seed)) >> np.uint64(_SHIFT)).astype(np.int64)
        order = np.argsort(bucket, kind="stable")
        ends = np.cumsum(self.lengths[order])
        first = np.searchsorted(bucket[order], np.arange(BUCKETS))
        before = np.append(0, ends)[first]
        offsets = np.empty_like(self.lengths)
        offsets[order] = ends - self.lengths[order] - before[bucket[order]]
        return np.stack([bucket[documents], offsets[documents], self.lengths[documents]], axis=1)

    def shuffled(self, split: Split, shares: Sequence[float], seed: int) -> npt.NDArray[np.int64]:
        """Numbers of the unique documents of `split`, in the order of the stream. `shares`: (validation, test)."""
        validation, test = shares
        # The test documents lie lowest: another share for validation moves none of them.
        place = self.hashes[:, 0].astype(np.float64) / 2.0**64
        edges = {"test": (0.0, test), "validation": (test, test + validation), "train": (test + validation, np.inf)}
        low, high = edges[split]
        mine = np.flatnonzero(self.unique & (place >= low) & (place < high))
        second = self.hashes[mine, 1]
        return mine[np.lexsort((second, mix(second ^ _seed_word(seed))))]


def _seed_word(seed: int) -> npt.NDArray[np.uint64]:
    return mix(np.array([seed], dtype=np.uint64))


def _mix_one(word: int) -> int:
    """`mix` of one word, of which numpy would make an array."""
    word = (word + 0x9E3779B97F4A7C15) & _MASK
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & _MASK
    return word ^ (word >> 31)
