"""Texts that are tokens already: files of Megatron-LM, datatrove and dolma, by whatever machine they were made."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pdstudy.core.files import content_hash, expand
from pdstudy.core.identity import declared, neutral
from pdstudy.core.validation import Problem

Format = Literal["megatron", "datatrove", "dolma"]


ENDINGS: dict[str, tuple[str, str]] = {
    "megatron": (".bin", ".idx"),
    "datatrove": (".ds", ".ds.index"),
    "dolma": (".npy", ".csv.gz"),
}
"""Endings of a format's files of tokens, and of the file beside each that says where documents end."""


SAMPLE_BLOCKS, BLOCK_BYTES = 16, 4096
"""Blocks of a file of tokens, evenly spread from its first byte to its last, that stand for its content."""


@declared
class Tokenised:
    """Documents as files of token ids, which are read where they lie: only an index of documents is made of them.

    `path` is a file, a folder or a glob; of Megatron-LM also the prefix of `.bin` and `.idx`. The formats are those of
    Megatron-LM's `IndexedDataset`, datatrove's `DocumentTokenizer` (`.ds` with `.ds.index`) and `dolma tokens` (`.npy`
    with `.csv.gz`). Documents are split by the hash of their ids, once each, which takes one reading of all tokens;
    with `validation` and `test` (paths as well) the files are the splits, and only their indices are read.

    Identity is the indices, the sizes and 16 blocks of 4 KiB of each file, not where they lie.
    """

    path: str
    format: Format
    validation: str | None = neutral(None)
    test: str | None = neutral(None)

    @property
    def paths(self) -> dict[str, str]:
        """The paths by field."""
        named = {"path": self.path, "validation": self.validation, "test": self.test}
        return {name: path for name, path in named.items() if path is not None}

    def content(self) -> dict[str, str]:
        return {name: _identity(path, self.format) for name, path in self.paths.items()}

    def check(self) -> Iterator[Problem]:
        if len(self.paths) == 2:
            lacking = "test" if self.test is None else "validation"
            yield Problem(lacking, None, "files, since the other split has its own, or none for both")
        tokens, index = ENDINGS[self.format]
        for name, path in self.paths.items():
            files = find_token_files(path, self.format)
            if not files:
                yield Problem(name, path, f"files that end in {tokens} with their {index}", missing=True,
                              hint=f"from {Path.cwd()}")  # fmt: skip
            for file in files:
                if not index_of(file, self.format).is_file():
                    yield Problem(name, str(file), f"a file with {index_of(file, self.format).name} beside it",
                                  missing=True)  # fmt: skip


def find_token_files(path: str, kind: Format) -> list[Path]:
    """The files of tokens that a path stands for, sorted."""
    ending = ENDINGS[kind][0]
    found = expand(path) or expand(path + ending)
    return [file for file in found if file.name.endswith(ending)]


def index_of(file: Path, kind: Format) -> Path:
    """The file that says where the documents of a file of tokens end."""
    tokens, index = ENDINGS[kind]
    return file.with_name(file.name.removesuffix(tokens) + index)


def sample_hash(file: Path) -> str:
    """sha256 of a file's size and of `SAMPLE_BLOCKS` blocks of it."""
    stat = file.stat()
    return _sample_hash(str(file), stat.st_size, stat.st_mtime_ns)


@functools.cache
def _sample_hash(file: str, size: int, changed: int) -> str:
    digest = hashlib.sha256(str(size).encode())
    handle = os.open(file, os.O_RDONLY)
    try:
        for block in range(SAMPLE_BLOCKS):
            digest.update(os.pread(handle, BLOCK_BYTES, max(0, size - BLOCK_BYTES) * block // (SAMPLE_BLOCKS - 1)))
    finally:
        os.close(handle)
    return digest.hexdigest()


def _identity(path: str, kind: Format) -> str:
    files = find_token_files(path, kind)
    indices = [index_of(file, kind) for file in files]
    if not files or not all(index.is_file() for index in indices):
        return f"not here: {path}"
    parts = [f"{content_hash([str(index)])} {sample_hash(file)}" for file, index in zip(files, indices, strict=True)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
