"""Encoding the texts of a spool into token shards: in this process, or of larger corpora in one process per core.

The tokenizers library has threads of its own, but they share a cache of words, and what they return is turned into
arrays one document at a time by the thread that asked. Processes that read the spool themselves, encode with one thread
and return arrays, share nothing.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pdstudy.config.data import Split
from pdstudy.core.errors import ConfigError
from pdstudy.core.files import read_json, write_json
from pdstudy.core.progress import Progress
from pdstudy.corpus.encode_places import HEADER, UNFINISHED, EncodedTexts, encode_places, places_path
from pdstudy.corpus.spool import SPLITS
from pdstudy.corpus.stream import StreamWriter
from pdstudy.corpus.token_corpus import TOKEN_BYTES
from pdstudy.corpus.tokenizer import Encoder

BATCH_BYTES, BATCH_DOCUMENTS = 1_000_000, 4096
"""Bytes and documents that are encoded at a time, at most."""


KEPT_BYTES = 64_000_000
"""Bytes of text after which what is encoded is forced to disk, and need not be encoded again."""


LEAST_SHARED_BYTES = 32_000_000
"""Bytes of text from which processes are started: they take half a second to begin."""


def encode_splits(
    work: Path,
    encoder: Encoder,
    dtype: str,
    progress: Progress,
    processes: int | None = None,
) -> dict[str, Any]:
    """Encode the texts of each split, at the places (`Index.places`) in its file; the manifest's entries of splits.

    Goes on from what an earlier call has kept. `processes`: by default one per core from 32 MB of text on, else none
    but this. Raises `ConfigError` where one of them ends.
    """
    folder = work / UNFINISHED
    kept: dict[str, Any] = read_json(folder / "encoded.json") or {}
    places = {s: np.load(places_path(work, s), mmap_mode="r", allow_pickle=False) for s in SPLITS}
    total = sum(int(each[:, 2].sum()) for each in places.values())
    if processes is None:
        processes = _cores() if total >= LEAST_SHARED_BYTES else 0
    workers = [_Worker(work, encoder, dtype) for _ in range(processes)]
    done = 0
    splits: dict[str, Any] = {}
    try:
        for split, each in places.items():
            before = kept.get(split, {"token_bytes": 0, "documents": 0})
            writer = StreamWriter(work, split, dtype, folder, kept=kept.get(split))
            byte_count, ends = before["token_bytes"], np.append(0, np.cumsum(each[:, 2]))
            first, saved = before["documents"], int(ends[before["documents"]])
            for batch, encoded in _encode(work, split, list(_batches(ends, first)), encoder, workers):
                writer.write(encoded.ids, encoded.lengths)
                byte_count += encoded.token_bytes
                at = int(ends[batch.stop])
                if at - saved >= KEPT_BYTES:
                    kept[split] = writer.keep() | {"token_bytes": byte_count}
                    write_json(folder / "encoded.json", kept)
                    saved = at
                progress(f"tokens of {split}", (done + at) / total)
            kept[split] = writer.keep() | {"token_bytes": byte_count}
            write_json(folder / "encoded.json", kept)
            done += int(ends[-1])
            splits[split] = {
                "tokens": writer.tokens,
                "documents": writer.documents,
                "bytes": int(ends[-1]),
                "token_bytes": byte_count,
                "files": writer.close(),
            }
    finally:
        for worker in workers:
            worker.end()
    return splits


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _batches(ends: npt.NDArray[np.int64], first: int) -> Iterator[range]:
    """Ranges of documents from `first` on, about a megabyte each; `ends` are bytes of text, [documents + 1]."""
    at, documents = first, len(ends) - 1
    while at < documents:
        stop = int(np.searchsorted(ends, ends[at] + BATCH_BYTES, side="right")) - 1
        stop = min(max(stop, at + 1), at + BATCH_DOCUMENTS)
        yield range(at, stop)
        at = stop


def _encode(
    work: Path, split: Split, batches: list[range], encoder: Encoder, workers: list[_Worker]
) -> Iterator[tuple[range, EncodedTexts]]:
    """Yield what batches come to, in order. Each worker has two of them at a time, so that none waits."""
    if not workers:
        token_bytes = np.load(work / TOKEN_BYTES, allow_pickle=False)
        places = np.load(places_path(work, split), mmap_mode="r", allow_pickle=False)
        for batch in batches:
            yield batch, encode_places(work, places[batch.start : batch.stop], encoder, token_bytes)
        return
    asked: deque[tuple[range, _Worker]] = deque()
    for number, batch in enumerate(batches):
        worker = workers[number % len(workers)]
        worker.send(split, batch)
        asked.append((batch, worker))
        if len(asked) >= 2 * len(workers):
            first, owner = asked.popleft()
            yield first, owner.receive()
    for batch, worker in asked:
        yield batch, worker.receive()


class _Worker:
    """A process that encodes batches, in the order in which they are sent."""

    def __init__(self, work: Path, encoder: Encoder, dtype: str) -> None:
        self._dtype = np.dtype(dtype).newbyteorder("<")
        command = [sys.executable, "-m", "pdstudy.corpus.encode_worker", str(work), dtype, encoder.bos_name or ""]
        environment = os.environ | {"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, bufsize=0
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._answers = self._process.stdin, self._process.stdout

    def send(self, split: Split, batch: range) -> None:
        try:
            self._requests.write(f"{split} {batch.start} {batch.stop}\n".encode())
        except BrokenPipeError:
            self._fail()

    def receive(self) -> EncodedTexts:
        documents, tokens, token_bytes = HEADER.unpack(self._read(HEADER.size))
        lengths = np.frombuffer(self._read(8 * documents), dtype="<i8")
        ids = np.frombuffer(self._read(self._dtype.itemsize * tokens), dtype=self._dtype)
        return EncodedTexts(ids, lengths, token_bytes)

    def _read(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            part = self._answers.read(size - len(parts))
            if not part:
                self._fail()
            parts += part
        return bytes(parts)

    def _fail(self) -> None:
        code = self._process.wait()
        raise ConfigError(
            f"a process that encodes text ended with {code}"
            + (", killed: out of memory? Give the job more, or fewer cores" if code == -9 else "; its error is above")
        )

    def end(self) -> None:
        self._requests.close()
        self._answers.close()
        self._process.wait()
