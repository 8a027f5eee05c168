"""The content of a text file whose name says something else, and how to convert it."""

from __future__ import annotations

import codecs
import json
from pathlib import Path

HEAD_BYTES = 1 << 16
"""Bytes at a file's beginning that are looked at."""

LINES = 5
"""Lines that are compared to find a table."""

SEPARATORS = {";": "semicolons", "\t": "tabs", ",": "commas"}

GZIP = b"\x1f\x8b"
PARQUET = b"PAR1"

MAGIC = (
    (GZIP, "gzip", "if it holds JSON lines, name it {stem}.jsonl.gz; else unpack it with `gzip -d`"),
    (PARQUET, "parquet", "name it {stem}.parquet"),
    (b"\x28\xb5\x2f\xfd", "zstd", "if it holds JSON lines, name it {stem}.jsonl.zst"),
    (b"BZh", "bzip2", "unpack it with `bzip2 -d`"),
    (b"\xfd7zXZ", "xz", "unpack it with `xz -d`"),
    (b"PK\x03\x04", "a zip archive", "unpack it with `unzip`"),
    (b"%PDF", "PDF", "extract its text, for example with `pdftotext`"),
    (b"ARROW1", "Arrow", "write it as parquet: `pandas.read_feather(...).to_parquet(...)`"),
)
"""First bytes of a file, its kind, and what to do about it."""

UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def describe_content(path: Path) -> str:
    """The kind that a file has in spite of its name, and how to convert it, as the end of a message ("; it is ...");
    empty where the name is right, or nothing can be told."""
    kind, fix = _look_at(path)
    return "" if not kind or path.name.endswith(_ENDINGS.get(kind, ())) else f"; it is {kind}: {fix}"


_ENDINGS = {
    "gzip": (".gz",),
    "parquet": (".parquet",),
    "zstd": (".zst",),
    "JSON lines": (".jsonl", ".ndjson", ".json"),
    "a JSON array": (".json",),
    "plain text": (".txt",),
}
"""Endings under which a kind of content is at home."""


def _look_at(path: Path) -> tuple[str, str]:
    """The kind of a file's content, and what to do about it; empty where nothing can be told."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    stem = path.name.partition(".")[0]
    for magic, kind, fix in MAGIC:
        if head.startswith(magic):
            return kind, fix.format(stem=stem)
    if head.startswith(UTF16):
        return "UTF-16", f"convert it with `iconv -f UTF-16 -t UTF-8 {path.name}`"
    try:
        text = head[: head.rfind(b"\n") + 1 or None].decode("utf-8-sig")
    except UnicodeDecodeError:
        return "", ""
    lines = [line for line in text.splitlines() if line.strip()][:LINES]
    if not lines:
        return "", ""
    if lines[0].lstrip().startswith("["):
        return "a JSON array", f"name it {stem}.json"
    if lines[0].lstrip().startswith("{"):
        if _is_json_object(lines[0]):
            return "JSON lines", f"name it {stem}.jsonl"
        return "JSON over several lines", f"`jq -c . {path.name} > {stem}-lines.jsonl` writes one object a line"
    for separator, name in SEPARATORS.items():
        fields = {line.count(separator) for line in lines}
        if len(lines) > 1 and len(fields) == 1 and fields != {0}:
            return f"a table separated by {name}", _convert_table(path, separator)
    return "plain text", f"name it {stem}.txt, which is one document, or write a JSON object per document"


def _is_json_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _convert_table(path: Path, separator: str) -> str:
    """A command that writes a table as JSON lines."""
    written = f"{path.name.partition('.')[0]}.jsonl" if path.suffix != ".jsonl" else f"{path.stem}-lines.jsonl"
    read = f"pd.read_csv('{path.name}', sep={separator!r})"
    return f"`python -c \"import pandas as pd; {read}.to_json('{written}', orient='records', lines=True)\"` converts it"
