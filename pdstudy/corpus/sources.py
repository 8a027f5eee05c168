"""The documents of every kind of source, streamed one at a time, each with where it comes from."""

from __future__ import annotations

import sysconfig
import tokenize
from collections.abc import Iterator
from pathlib import Path

from pdstudy.config.data import Mixture, Source
from pdstudy.config.text_files import KINDS, find_text_files, kind_of
from pdstudy.config.text_sources import HubDataset, LocalFiles, Packaged, StandardLibrary, running_python
from pdstudy.config.tokenised import Tokenised
from pdstudy.core.errors import ConfigError
from pdstudy.corpus import pinned_sources as packages
from pdstudy.corpus.bad_rows import BadRow, BadRows
from pdstudy.corpus.file_rows import Row, find_text, read_rows

Document = tuple[str, str]
"""(where it comes from, its text)."""


def documents(source: Source, bad: BadRows | None = None) -> Iterator[Document]:
    """Yield the documents of `source`, always in the same order.

    Bad rows are counted in `bad`, whose `check` the caller calls in the end; without it they are refused here. Raises
    `ConfigError` on files that cannot be read.
    """
    found = bad or BadRows(source)
    for row in _read(source):
        found.rows += 1
        if isinstance(row, BadRow):
            found.add(row)
        else:
            yield row
    if bad is None:
        found.check()


def _read(source: Source) -> Iterator[Document | BadRow]:
    match source:
        case LocalFiles():
            return _local(source)
        case Packaged():
            return packages.documents(source.name)
        case StandardLibrary():
            return _standard_library(source)
        case HubDataset():
            return _hub(source)
        case Tokenised() | Mixture():
            raise TypeError(f"a {type(source).__name__} is no text: `build` reads it otherwise")


def _local(source: LocalFiles) -> Iterator[Document | BadRow]:
    for pattern in source.paths:
        for path in find_text_files(pattern):
            kind = kind_of(path)
            if kind is None:
                raise ConfigError(
                    f"{path} is no corpus file: {', '.join(KINDS)} are read; "
                    f"give a glob such as {str(path.parent / '*.txt')!r} to leave others out"
                )
            for row in read_rows(path, kind, source.text_field):
                if isinstance(row, BadRow) or kind.startswith(".txt"):
                    yield row
                else:
                    yield _document(row, source.text_field)


def _document(row: Row, field: str) -> Document | BadRow:
    text = find_text(row, field)
    return text if isinstance(text, BadRow) else (row[0], text)


def _hub(source: HubDataset) -> Iterator[Document | BadRow]:
    try:
        import datasets
    except ImportError as error:
        raise ConfigError(f"reading data set {source.name!r} needs datasets: pip install 'pdstudy[hub]'") from error
    try:
        rows = datasets.load_dataset(source.name, source.subset, split=source.split, revision=source.revision)
    except Exception as error:  # datasets raises its own, the hub client's, fsspec's and the network's errors
        raise ConfigError(
            f"data set {source.name!r} (subset {source.subset!r}, split {source.split!r}, revision {source.revision!r})"
            f" cannot be loaded: {type(error).__name__}: {error}"
        ) from error
    for number, row in enumerate(rows):
        yield _document((f"{source.name} row {number}", row), source.text_field)


def _standard_library(source: StandardLibrary) -> Iterator[Document]:
    """Yield Python sources, but for tests, installed packages, and files that the build of this Python generated."""
    if source.python != running_python():
        raise ConfigError(f"the corpus is the standard library of {source.python}; this is {running_python()}: "
                          f"run it there, or declare StandardLibrary() anew")  # fmt: skip
    root = Path(sysconfig.get_paths()["stdlib"])
    left_out = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        if left_out.isdisjoint(relative.parts) and not path.name.startswith("_sysconfigdata"):
            with tokenize.open(path) as file:
                yield relative.as_posix(), file.read()
