"""Rows of files of every kind, streamed one at a time, and the text in a row.

A file that is damaged as a whole (a cut gzip, no parquet) raises `ConfigError`; a row that is bad is a `BadRow`.
"""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from pdstudy.core.errors import ConfigError
from pdstudy.corpus.bad_rows import BadRow
from pdstudy.corpus.file_content import describe_content

Row = tuple[str, Any]
"""(where it is, its value)."""


_BLOCK, _PACKED = 1 << 20, 1 << 16
"""Characters of a JSON array, and bytes of a zstd file, that are read at a time."""


def read_rows(path: Path, kind: str, field: str | None = None) -> Iterator[Row | BadRow]:
    """Yield the rows of a file of a kind of `pdstudy.config.text_files`; of parquet, the column of `field` alone."""
    if kind == ".parquet":
        return _parquet(path, field)
    if kind.startswith(".txt"):
        return _text(path, kind)
    return _json(path, kind)


def find_text(row: Row, field: str) -> str | BadRow:
    """The text in a field of a row; fields inside others are named with dots."""
    where, value = row
    if not isinstance(value, dict):
        return BadRow(where, "without the field", f"no field {field!r}, found a {type(value).__name__}; set text_field")
    found, text = _look_up(value, field)
    if not found:
        return BadRow(where, "without the field", f"no field {field!r}, found {sorted(value)}; set text_field")
    if text is None:
        return BadRow(where, "null", f"field {field!r} is null")
    if isinstance(text, bytes):
        try:
            return text.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            return _not_utf8(where, error)
    if isinstance(text, list) and all(isinstance(part, str) for part in text):
        return "\n".join(text)
    if not isinstance(text, str):
        return BadRow(where, "no text", f"field {field!r} is {type(text).__name__}, not text; set text_field")
    return text


def _look_up(row: dict[str, Any], field: str) -> tuple[bool, Any]:
    """Whether a row has a field, and its value; null where a part on the way is."""
    if field in row:
        return True, row[field]
    name, _, rest = field.partition(".")
    if not rest or name not in row:
        return False, None
    inner = row[name]
    return _look_up(inner, rest) if isinstance(inner, dict) else (inner is None, None)


def _open(path: Path, kind: str) -> IO[bytes]:
    if kind.endswith(".gz"):
        return io.BufferedReader(gzip.open(path, "rb"))
    if not kind.endswith(".zst"):
        return path.open("rb")
    try:
        import zstandard
    except ImportError as error:
        raise ConfigError(f"reading {path} needs zstandard: pip install 'pdstudy[zstd]'") from error
    return io.BufferedReader(_Zstd(path, zstandard.ZstdDecompressor()), _BLOCK)


class _Zstd(io.RawIOBase):
    """The content of a zstd file of any number of frames; zstandard's own reader takes a cut file for its end."""

    def __init__(self, path: Path, decompressor: Any) -> None:
        self._file, self._decompressor = path.open("rb"), decompressor
        self._frame: Any = None
        self._packed = self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            self._packed = self._packed or self._file.read(_PACKED)
            if not self._packed:
                if self._frame is not None:
                    raise EOFError("it ends inside a frame")
                return 0
            self._frame = self._frame or self._decompressor.decompressobj()
            self._ready = self._frame.decompress(self._packed)
            self._packed = self._frame.unused_data if self._frame.eof else b""
            self._frame = None if self._frame.eof else self._frame
        count = min(len(buffer), len(self._ready))
        buffer[:count], self._ready = self._ready[:count], self._ready[count:]
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


def _read_packed(path: Path, kind: str, rows: Iterator[Row | BadRow]) -> Iterator[Row | BadRow]:
    """The rows, with a damaged file said as such."""
    packing = "zstd" if kind.endswith(".zst") else "gzip"
    fix = f"fetch or pack it again{describe_content(path)}"
    try:
        yield from rows
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ConfigError(f"{path} is a damaged {packing} file ({error}); {fix}") from error
    except Exception as error:
        if type(error).__name__ == "ZstdError":
            raise ConfigError(f"{path} is a damaged {packing} file ({error}); {fix}") from error
        raise


def _text(path: Path, kind: str) -> Iterator[Row | BadRow]:
    def rows() -> Iterator[Row | BadRow]:
        with _open(path, kind) as file:
            raw = file.read()
        try:
            yield str(path), raw.decode("utf-8-sig")  # a byte order mark is no text
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            yield _explain(_not_utf8(f"{path}:{line}", error), path, kind)

    return _read_packed(path, kind, rows())


def _json(path: Path, kind: str) -> Iterator[Row | BadRow]:
    def rows() -> Iterator[Row | BadRow]:
        with _open(path, kind) as file:
            if kind.startswith(".json") and not kind.startswith(".jsonl"):
                start = file.peek(_BLOCK).removeprefix(b"\xef\xbb\xbf").lstrip()  # type: ignore[attr-defined]
                if start.startswith(b"["):
                    yield from _array(path, io.TextIOWrapper(file, "utf-8-sig"))
                    return
                _refuse_one_object(path, start)
            for number, line in enumerate(file, 1):
                if line.strip():
                    row = _parse(line, f"{path}:{number}")
                    yield _explain(row, path, kind) if number == 1 else row

    return _read_packed(path, kind, rows())


def _explain(row: Row | BadRow, path: Path, kind: str) -> Row | BadRow:
    """A file's first row; where it is bad, with what the file is instead of what its name says."""
    if not isinstance(row, BadRow) or kind.endswith((".gz", ".zst")):
        return row
    return dataclasses.replace(row, detail=f"{row.detail}{describe_content(path)}")


def _refuse_one_object(path: Path, start: bytes) -> None:
    first, _, more = start.partition(b"\n")
    try:
        json.loads(first)
    except json.JSONDecodeError:
        if (more and first.strip() in (b"{", b"{}")) or first.rstrip().endswith((b"{", b"[", b",")):
            raise ConfigError(
                f"{path} is one JSON object over several lines, not rows: write its rows one a line, for example with "
                f"`jq -c '.data[]'`"
            ) from None
    except (ValueError, RecursionError):
        pass  # the row will say so


def _parse(line: bytes, where: str) -> Row | BadRow:
    try:
        text = line.decode("utf-8-sig")  # given bytes, json would take halves of surrogate pairs for text
    except UnicodeDecodeError as error:
        return _not_utf8(where, error)
    try:
        try:
            return where, json.loads(text)
        except json.JSONDecodeError as error:
            return BadRow(where, "not JSON", f"not JSON ({error.msg}); each line must be one JSON object")
        except ValueError:  # a number of more digits than Python converts; no text is a number
            return where, json.loads(text, parse_int=lambda digits: 0)
    except RecursionError:
        return BadRow(where, "nested too deep", "its JSON is nested too deep to be read")


def _array(path: Path, file: io.TextIOWrapper) -> Iterator[Row | BadRow]:
    """Items of one JSON array, parsed as they are read: memory holds the largest of them."""
    decoder, buffer, number = json.JSONDecoder(), file.read(_BLOCK), 0
    at = buffer.index("[") + 1
    while True:
        while at < len(buffer) and buffer[at] in " \t\r\n,":
            at += 1
        if buffer[at : at + 1] == "]":
            return
        try:
            item, end = decoder.raw_decode(buffer, at)
            complete = end < len(buffer)  # or a number might go on
        except ValueError as error:
            complete, reason = False, str(error)
        else:
            reason = "it ends inside the array"
        if complete:
            yield f"{path} item {number}", item
            at, number = end, number + 1
            continue
        try:
            more = file.read(max(_BLOCK, len(buffer) - at))
        except UnicodeDecodeError as error:
            raise ConfigError(
                f"{path}: invalid UTF-8 after item {number - 1} ({error.reason}); convert the file"
            ) from error
        if not more:
            raise ConfigError(f"{path} item {number}: not JSON ({reason}); mend the file, or write JSON lines")
        buffer, at = buffer[at:] + more, 0


def _parquet(path: Path, field: str | None) -> Iterator[Row | BadRow]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ConfigError(f"reading {path} needs pyarrow: pip install 'pdstudy[parquet]'") from error
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            columns = None if field is None else [field]
            number = 0
            for batch in file.iter_batches(batch_size=1024, columns=columns):
                if not batch.num_columns:
                    raise ConfigError(f"{path}: no column {field!r}, found {names}; set text_field")
                for value in _values(batch):
                    where = f"{path} row {number}"
                    number += 1
                    yield _not_utf8(where, value) if isinstance(value, UnicodeDecodeError) else (where, value)
    except (pyarrow.ArrowException, OSError) as error:
        raise ConfigError(f"{path} is not a parquet file that can be read ({error}){describe_content(path)}") from error


def _values(batch: Any) -> Iterator[Any]:
    """The rows of a batch, an error in the place of each that is no UTF-8."""
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        for index in range(batch.num_rows):
            try:
                yield from batch.slice(index, 1).to_pylist()
            except UnicodeDecodeError as error:
                yield error


def _not_utf8(where: str, error: UnicodeDecodeError) -> BadRow:
    byte = error.object[error.start]
    detail = f"invalid UTF-8 (byte 0x{byte:02x} at offset {error.start}); convert it from the encoding that it has"
    return BadRow(where, "invalid UTF-8", detail)
