"""The tokens of one split: shards on disk read as one array, and the writer of such shards."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from pdstudy.config.data import Split
from pdstudy.core.errors import ConfigError

SHARD_TOKENS = 2**27
"""Tokens of a full shard: 256 MiB at two bytes each."""

_BLOCK = 2**20
"""Tokens that are hashed at a time."""


class TokenStream:
    """The tokens of one split, memory-mapped.

    `shards` are one-dimensional uint16 or uint32 arrays; `offsets` (int64 [documents + 1]) are the positions at which
    documents begin, and the end of the last.
    """

    def __init__(self, split: Split, shards: Sequence[Shard], offsets: npt.NDArray[np.int64]) -> None:
        self.split = split
        # Plain arrays over the map: slices of a memmap cost more.
        self._shards = [shard if isinstance(shard, TokenStream) else np.asarray(shard) for shard in shards]
        self._edges = np.cumsum([0] + [len(shard) for shard in shards])
        self._offsets = offsets

    def __len__(self) -> int:
        return int(self._offsets[-1])

    @property
    def num_documents(self) -> int:
        return len(self._offsets) - 1

    def tokens(self, start: int, stop: int) -> npt.NDArray[np.int64]:
        """Token ids of positions [start, stop). Raises `ConfigError` past the end."""
        if not 0 <= start <= stop <= len(self):
            raise ConfigError(
                f"tokens [{start:,}, {stop:,}) of the {self.split} split are needed, but it has {len(self):,}; "
                f"use a smaller slice (its last target is the token after it), or more text"
            )
        out = np.empty(stop - start, dtype=np.int64)
        self.read_into(start, out)
        return out

    def read_into(self, start: int, out: npt.NDArray[np.int64]) -> None:
        """Fill `out` with the tokens of the shards, end to end, from position `start` on."""
        stop = start + len(out)
        shard = int(np.searchsorted(self._edges, start, side="right")) - 1
        at = start
        while at < stop:
            low, high = int(self._edges[shard]), int(self._edges[shard + 1])
            end = min(stop, high)
            out[at - start : end - start] = self._shards[shard][at - low : end - low]
            at, shard = end, shard + 1

    def __getitem__(self, positions: slice) -> npt.NDArray[np.int64]:
        """The token ids of a range of positions, as those of an array."""
        return self.tokens(positions.start, positions.stop)

    def document_starts(self, start: int, stop: int) -> npt.NDArray[np.int64]:
        """Positions in [start, stop) at which a document begins, ascending."""
        low, high = np.searchsorted(self._offsets[:-1], [start, stop])
        return np.array(self._offsets[low:high], dtype=np.int64)

    def sha256(self, start: int, stop: int) -> str:
        """sha256 of the tokens [start, stop) as little-endian uint32: independent of how shards are stored."""
        digest = hashlib.sha256()
        for at in range(start, stop, _BLOCK):
            digest.update(self.tokens(at, min(at + _BLOCK, stop)).astype("<u4").tobytes())
        return digest.hexdigest()


class GatheredStream(TokenStream):
    """Pieces of shards in another order than that in which they lie: documents of files that are read in place, or of
    several sources in turn.

    `places` (int64 [pieces]) are the positions of pieces in the shards end to end, `offsets` those in the stream. Each
    piece is followed by the token `end` where that is given, which the shards then lack.
    """

    def __init__(
        self,
        split: Split,
        shards: Sequence[Shard],
        offsets: npt.NDArray[np.int64],
        places: npt.NDArray[np.int64],
        end: int | None = None,
    ) -> None:
        super().__init__(split, shards, offsets)
        self._places = places
        self._end = end

    def read_into(self, start: int, out: npt.NDArray[np.int64]) -> None:
        stop = start + len(out)
        piece = int(np.searchsorted(self._offsets, start, side="right")) - 1
        at = start
        while at < stop:
            low, high = int(self._offsets[piece]), int(self._offsets[piece + 1])
            stored = high if self._end is None else high - 1
            upto = min(stop, stored)
            if at < upto:
                super().read_into(int(self._places[piece]) + at - low, out[at - start : upto - start])
            if stored < high <= stop:
                assert self._end is not None
                out[stored - start] = self._end
            at, piece = high, piece + 1


Shard = npt.NDArray[Any] | TokenStream
"""Tokens that can be sliced: an array, or another stream."""


class StreamWriter:
    """Writes one split's shards and document offsets into `directory`; the ends of documents to a file in `unfinished`.

    With `kept`, what `keep` returned, it goes on where the writer was then.
    """

    def __init__(
        self,
        directory: Path,
        split: Split,
        dtype: npt.DTypeLike,
        unfinished: Path,
        *,
        kept: dict[str, Any] | None = None,
        shard_tokens: int = SHARD_TOKENS,
    ) -> None:
        self._directory = directory
        self._split = split
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self._shard_tokens = shard_tokens
        at = kept or {"documents": 0, "tokens": 0, "shard": 0}
        shard = int(at["shard"])
        self.documents, self.tokens = int(at["documents"]), int(at["tokens"])
        self.names = [self._name(number) for number in range(shard + 1)]
        self._room = (shard + 1) * shard_tokens - self.tokens
        self._file = _open_at(directory / self.names[-1], (shard_tokens - self._room) * self._dtype.itemsize)
        self._ends = _open_at(unfinished / f"ends-{split}", 8 * self.documents)

    def write(self, ids: npt.NDArray[Any], lengths: npt.NDArray[np.int64]) -> None:
        """Append documents: their token ids, each with its end-of-document token, and how many each has."""
        self._ends.write((self.tokens + np.cumsum(lengths)).astype("<i8").tobytes())
        self.documents += len(lengths)
        self.tokens += len(ids)
        tokens = ids.astype(self._dtype)
        while len(tokens) > self._room:
            self._file.write(tokens[: self._room].tobytes())
            tokens = tokens[self._room :]
            self._next_shard()
        self._file.write(tokens.tobytes())
        self._room -= len(tokens)

    def _name(self, shard: int) -> str:
        return f"tokens-{self._split}-{shard:05d}.bin"

    def _next_shard(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self.names.append(self._name(len(self.names)))
        self._file = (self._directory / self.names[-1]).open("wb")
        self._room = self._shard_tokens

    def keep(self) -> dict[str, Any]:
        """Force all that was written to disk, and return where the writer is."""
        for file in (self._file, self._ends):
            file.flush()
            os.fsync(file.fileno())
        return {"documents": self.documents, "tokens": self.tokens, "shard": len(self.names) - 1}

    def close(self) -> list[str]:
        """Finish, and return the names of the shards in order, then of the offsets."""
        self._file.close()
        self._ends.close()
        name = f"documents-{self._split}.npy"
        ends = np.fromfile(self._ends.name, dtype="<i8")
        np.save(self._directory / name, np.concatenate([np.zeros(1, dtype=np.int64), ends]))
        return [*self.names, name]


def write_places(
    work: Path, split: Split, lengths: npt.NDArray[np.int64], starts: npt.NDArray[np.int64]
) -> dict[str, Any]:
    """Write the documents of a split whose tokens lie elsewhere, in order; the manifest's entry of the split.

    `lengths` and `starts` are int64 [documents], in tokens; `starts` are places in what the split is read from.
    """
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    names = [f"documents-{split}.npy", f"places-{split}.npy"]
    for name, array in zip(names, (offsets, starts), strict=True):
        np.save(work / name, array)
    return {"tokens": int(offsets[-1]), "documents": len(starts), "files": names}


def _open_at(path: Path, size: int) -> BinaryIO:
    """Open a file to append behind its first `size` bytes."""
    file = path.open("r+b" if size else "wb")
    file.truncate(size)
    file.seek(size)
    return file
