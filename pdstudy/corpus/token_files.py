"""Files of token ids with the places of their documents, as Megatron-LM, datatrove and dolma write them.

megatron   `.bin` holds the ids; `.idx` "MMIDIDX\\0\\0", the version 1 (8 bytes), a code of the type (1 byte), the
           numbers of sequences and of document bounds (8 each), then of every sequence its length (int32), of every
           sequence its byte offset (int64), and of every bound the number of a sequence (int64); a document is the
           sequences between two bounds
datatrove  `.ds` holds the ids, in 2 or 4 bytes; `.ds.index` the end of every document, in tokens (uint64)
dolma      `.npy` holds the ids alone, without numpy's header; `.csv.gz` a row "start,end,..." of every document

All numbers are little-endian. Checked against Megatron-LM's `indexed_dataset.py`, datatrove 0.10's `TokenizedFile` and
`MemmapWriter` of dolma 1.2.
"""

from __future__ import annotations

import csv
import gzip
import struct
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pdstudy.config.tokenised import Format, index_of
from pdstudy.core.errors import ConfigError

_MAGIC = b"MMIDIDX\x00\x00"


_HEADER = struct.Struct("<9sQBQQ")
"""Of a Megatron-LM index: magic, version, code of the type, sequences, bounds of documents."""


_DTYPES = {3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}
"""Types of ids by Megatron-LM's codes; bytes and real numbers are no ids."""


@dataclass(frozen=True)
class TokenFile:
    """A file of token ids of one type, and its documents that are not empty."""

    path: Path
    dtype: str
    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]

    @property
    def ids(self) -> npt.NDArray[np.generic]:
        """The ids, memory-mapped, [tokens]."""
        return np.memmap(self.path, dtype=self.dtype, mode="r")


def read_token_file(path: Path, kind: Format) -> TokenFile:
    """Read where the documents of a file are. Raises `ConfigError` where index and file do not belong together."""
    index, size = index_of(path, kind), path.stat().st_size
    dtype, starts, lengths = _READERS[kind](index, size)
    width = np.dtype(dtype).itemsize
    ends = starts + lengths
    if size % width or (len(ends) and (starts.min() < 0 or lengths.min() < 0 or ends.max() * width > size)):
        raise ConfigError(
            f"{index} is not the index of {path}: it has documents up to token {int(ends.max(initial=0)):,}, and the "
            f"file has {size:,} bytes, {size / width:,.1f} tokens; copy both again"
        )
    kept = lengths > 0
    return TokenFile(path, dtype, starts[kept], lengths[kept])


def _read_megatron(index: Path, size: int) -> tuple[str, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    raw = np.memmap(index, dtype=np.uint8, mode="r")
    head = bytes(raw[: _HEADER.size])
    if len(head) < _HEADER.size or not head.startswith(_MAGIC):
        raise ConfigError(f"{index} is no index of Megatron-LM: it begins with {head[:9]!r}, not {_MAGIC!r}")
    _, version, code, sequences, bounds = _HEADER.unpack(head)
    if version != 1 or code not in _DTYPES:
        raise ConfigError(f"{index} has version {version} and ids of type {code}; allowed: 1 and {list(_DTYPES)}")
    if len(raw) < _HEADER.size + 12 * sequences + 8 * bounds:
        raise ConfigError(f"{index} is cut off: it has {len(raw):,} bytes of {sequences:,} sequences; copy it again")
    offsets = np.frombuffer(raw, "<i8", sequences, _HEADER.size + 4 * sequences)
    lengths = np.frombuffer(raw, "<i4", sequences, _HEADER.size)
    edges = np.frombuffer(raw, "<i8", bounds, _HEADER.size + 12 * sequences)
    before = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    starts = np.append(offsets // np.dtype(_DTYPES[code]).itemsize, before[-1])[edges[:-1]]
    return _DTYPES[code], starts.astype(np.int64), before[edges[1:]] - before[edges[:-1]]


def _read_datatrove(index: Path, size: int) -> tuple[str, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    ends = np.fromfile(index, dtype="<u8").astype(np.int64)
    starts = np.concatenate([[0], ends[:-1]]) if len(ends) else ends
    return _unsigned(index, size, int(ends[-1]) if len(ends) else 0), starts, ends - starts


def _read_dolma(index: Path, size: int) -> tuple[str, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    starts, ends = array("q"), array("q")
    with gzip.open(index, "rt", encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.reader(file), 1):
            try:
                starts.append(int(row[0]))
                ends.append(int(row[1]))
            except (ValueError, IndexError) as error:
                raise ConfigError(f"{index} row {number}: found {row[:2]}; allowed: start,end in tokens") from error
    first, stop = np.array(starts, dtype=np.int64), np.array(ends, dtype=np.int64)
    return _unsigned(index, size, int(stop.max(initial=0))), first, stop - first


def _unsigned(index: Path, size: int, tokens: int) -> str:
    """The type of ids that fill a file of so many bytes: nothing but its size says which."""
    for dtype in ("<u2", "<u4"):
        if tokens * np.dtype(dtype).itemsize == size:
            return dtype
    raise ConfigError(
        f"{index} is not the index of its file: it ends at token {tokens:,}, and the file has {size:,} bytes, which is "
        f"not 2 or 4 a token; copy both again"
    )


_READERS: dict[Format, Callable[[Path, int], tuple[str, npt.NDArray[np.int64], npt.NDArray[np.int64]]]] = {
    "megatron": _read_megatron,
    "datatrove": _read_datatrove,
    "dolma": _read_dolma,
}
