"""The spool: all documents of a corpus on disk and a small index in memory, for deduplication, split and shuffle.

A document costs 24 bytes of memory (16 of hash, 8 of length), whatever its size, so that a corpus may be far larger
than memory. Whether a document is a duplicate, its split and its place in the shuffle follow from the hash of its
content, so that appending documents moves no other document between splits, nor past another in the order.
"""

from __future__ import annotations

import array
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt

from pdstudy.config.data import Split
from pdstudy.corpus.permutation import mix

SPLITS: tuple[Split, ...] = get_args(Split)


class Spool:
    """Texts appended to one file, read back in any order.

    Use as a context manager; the file is removed at the end.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("w+b")
        self._hashes = bytearray()
        self._lengths = array.array("Q")

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def add(self, text: bytes) -> None:
        """Append one document's UTF-8 text."""
        self._file.write(text)
        self._hashes += hashlib.blake2b(text, digest_size=16).digest()
        self._lengths.append(len(text))

    def index(self) -> Index:
        """Index all documents added so far, with duplicates found."""
        self._file.flush()
        hashes = np.frombuffer(bytes(self._hashes), dtype=">u8").reshape(-1, 2).astype(np.uint64)
        return Index(hashes, np.array(self._lengths, dtype=np.int64))

    def texts(self, index: Index, documents: npt.NDArray[np.int64]) -> Iterator[str]:
        """Yield the texts of `documents` (numbers in the order of adding)."""
        handle = self._file.fileno()
        for number in documents:
            length, offset = int(index.lengths[number]), int(index.offsets[number])
            parts = bytearray()
            while len(parts) < length:  # one read returns at most 2 GiB
                parts += os.pread(handle, length - len(parts), offset + len(parts))
            yield parts.decode()


class Index:
    """Hash, length and offset of every spooled document.

    `hashes` is uint64 [documents, 2]: the first word decides the split, the second the place in the shuffle, so that
    the two are independent. `lengths` and `offsets` are bytes.
    """

    def __init__(self, hashes: npt.NDArray[np.uint64], lengths: npt.NDArray[np.int64]) -> None:
        self.hashes = hashes
        self.lengths = lengths
        self.offsets = np.cumsum(lengths) - lengths
        by_hash = np.lexsort((hashes[:, 1], hashes[:, 0]))  # stable: the first of equal documents comes first
        ordered = hashes[by_hash]
        first = np.ones(len(hashes), dtype=bool)
        first[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
        self.unique: npt.NDArray[np.bool_] = np.zeros(len(hashes), dtype=bool)
        self.unique[by_hash[first]] = True

    def __len__(self) -> int:
        return len(self.lengths)

    def shuffled(self, split: Split, shares: Sequence[float], seed: int) -> npt.NDArray[np.int64]:
        """Numbers of the unique documents of `split`, in the order of the stream. `shares`: (validation, test)."""
        validation, test = shares
        # The test documents lie lowest: another share for validation moves none of them.
        place = self.hashes[:, 0].astype(np.float64) / 2.0**64
        edges = {"test": (0.0, test), "validation": (test, test + validation), "train": (test + validation, np.inf)}
        low, high = edges[split]
        mine = np.flatnonzero(self.unique & (place >= low) & (place < high))
        second = self.hashes[mine, 1]
        return mine[np.lexsort((second, mix(second ^ mix(np.array([seed], dtype=np.uint64)))))]
