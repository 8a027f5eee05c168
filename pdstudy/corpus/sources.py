"""The documents of every kind of source, streamed one at a time, each with where it comes from."""

from __future__ import annotations

import gzip
import json
import sysconfig
import tokenize
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pdstudy.config.data import TEXT_FILES, HubDataset, LocalFiles, Packaged, Source, StandardLibrary, running_python
from pdstudy.core.errors import ConfigError
from pdstudy.core.files import expand
from pdstudy.corpus import pinned_sources as packages

Document = tuple[str, str]
"""(where it comes from, its text)."""


def documents(source: Source) -> Iterator[Document]:
    """Yield the documents of `source`, always in the same order. Raises `ConfigError` on what cannot be read."""
    match source:
        case LocalFiles():
            return _local(source)
        case Packaged():
            return packages.documents(source.name)
        case StandardLibrary():
            return _standard_library(source)
        case HubDataset():
            return _hub(source)


def _local(source: LocalFiles) -> Iterator[Document]:
    for pattern in source.paths:
        for path in expand(pattern):
            if path.name.endswith(".txt"):
                yield _text(path)
            elif path.name.endswith((".jsonl", ".jsonl.gz")):
                yield from _json_lines(path, source.text_field)
            elif path.name.endswith(".parquet"):
                yield from _parquet(path, source.text_field)
            else:
                raise ConfigError(
                    f"{path} is no corpus file: {', '.join(TEXT_FILES)} are read; "
                    f"give a glob such as {str(path.parent / '*.txt')!r} to leave others out"
                )


def _text(path: Path) -> Document:
    try:
        # A byte order mark is not text.
        return str(path), path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise _not_utf8(f"{path}:{line}", error) from error


def _json_lines(path: Path, field: str) -> Iterator[Document]:
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                where = f"{path}:{number}"
                try:
                    row = json.loads(line.decode("utf-8-sig"))  # given bytes, json would take halves of pairs for text
                except UnicodeDecodeError as error:
                    raise _not_utf8(where, error) from error
                except json.JSONDecodeError as error:
                    raise ConfigError(f"{where}: not JSON ({error.msg}); each line must be one JSON object") from error
                yield where, _field(row, field, where)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ConfigError(f"{path} is a damaged gzip file ({error}); fetch or compress it again") from error


def _field(row: Any, field: str, where: str) -> str:
    if not isinstance(row, dict) or field not in row:
        fields = sorted(row) if isinstance(row, dict) else f"a {type(row).__name__}"
        raise ConfigError(f"{where}: no field {field!r}, found {fields}; set text_field")
    text = row[field]
    if not isinstance(text, str):
        raise ConfigError(f"{where}: field {field!r} is {type(text).__name__}, not text; set text_field")
    return text


def _parquet(path: Path, field: str) -> Iterator[Document]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ConfigError(f"reading {path} needs pyarrow: pip install 'pdstudy[parquet]'") from error
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            if field not in file.schema_arrow.names:
                raise ConfigError(f"{path}: no column {field!r}, found {file.schema_arrow.names}; set text_field")
            number = 0
            for batch in file.iter_batches(batch_size=1024, columns=[field]):
                for text in batch.column(0).to_pylist():
                    yield f"{path} row {number}", _field({field: text}, field, f"{path} row {number}")
                    number += 1
    except (pyarrow.ArrowException, OSError) as error:
        raise ConfigError(f"{path} is not a parquet file that can be read ({error})") from error


def _hub(source: HubDataset) -> Iterator[Document]:
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
        where = f"{source.name} row {number}"
        yield where, _field(row, source.text_field, where)


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


def _not_utf8(where: str, error: UnicodeDecodeError) -> ConfigError:
    byte = error.object[error.start]
    return ConfigError(
        f"{where}: invalid UTF-8 (byte 0x{byte:02x} at offset {error.start}); convert it, for example with "
        f"`iconv -f ISO-8859-1 -t UTF-8`"
    )
