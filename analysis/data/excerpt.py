"""Page data: what the pages of some studies read of a workspace, in a few files, and back into a workspace's layout.

A page is made of its data alone, so that a repository can hold pages and their data without the workspace, and an old
page can be made anew by newer code."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pdstudy.analysis.data.study_record import Record
from pdstudy.analysis.errors import DataError
from pdstudy.core.errors import ConfigError
from pdstudy.core.files import read_json, write_bytes
from pdstudy.core.run_files import SEQUENCES

REPORT = "report.json"
"""Content of a report: title, records of studies, record of a search."""

FILES, ANSWERS, TABLES = "files.jsonl", "answers.jsonl.gz", "sequences.npz"
"""A row per JSON file of the workspace, the same of answers to tasks by item, and NumPy tables by sequence."""

RECORD_FIELDS = {"study", "title", "about", "seeds", "axes", "baseline", "cells", "teachers", "stores", "corpora",
                 "evaluations", "outputs"}  # fmt: skip
"""Fields of a study's record without which it has no page."""

RUN_FILES = ("config.json", "provenance.json", "status.json", "result.json", "evals.jsonl")
"""Files of a run's folder that pages read."""


@dataclass(frozen=True)
class Report:
    """Subject of a report: one study, the studies of a folder, or a search with the study of its final comparison."""

    title: str
    records: tuple[Record, ...]
    search: Record | None = None


def save_excerpt(workspace: Path, report: Report, folder: Path) -> None:
    """Write into `folder` all that the pages of `report` read of the workspace. Equal results give equal bytes."""
    about: dict[str, Any] = {"title": report.title, "records": list(report.records)}
    write_bytes(folder / REPORT, _encode(about | ({"search": report.search} if report.search else {})))
    runs = sorted({path for record in report.records for path in _run_folders(record)})
    small = [Path(path, name) for path in runs for name in RUN_FILES]
    stores = sorted({store for record in report.records for store in _stores(record)})
    for store in stores:
        shards = sorted(path.name for path in (workspace / "stores" / store).glob("shard-*.json"))
        small += [Path("stores", store, name) for name in ("inspect.json", *shards)]
    answers = sorted({a["key"] for r in report.records for cell in r["cells"] for a in cell.get("downstream", ())})
    small += [Path("downstream", key, "results.json") for key in answers]
    rows = [row for path in small if (row := _row(workspace, path))]
    write_bytes(folder / FILES, b"".join(map(_encode, [*rows, *_sharing(workspace, report.records)])))
    items = [row for key in answers if (row := _row(workspace, Path("downstream", key, "items.jsonl")))]
    _write_or_remove(folder / ANSWERS, gzip.compress(b"".join(map(_encode, items)), mtime=0) if items else None)
    tables = [path for run in runs for path in sorted((workspace / run / SEQUENCES).glob("*.npy"))]
    _write_or_remove(folder / TABLES, _archive(workspace, tables) if tables else None)


def _write_or_remove(path: Path, data: bytes | None) -> None:
    """Write a file that a report may lack; one of an earlier report would be read as this one's."""
    if data is None:
        path.unlink(missing_ok=True)
    else:
        write_bytes(path, data)


def _archive(workspace: Path, tables: Iterable[Path]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for path in tables:
            name = path.relative_to(workspace).as_posix()
            archive.writestr(zipfile.ZipInfo(name), path.read_bytes(), zipfile.ZIP_DEFLATED)
    return made.getvalue()


@contextlib.contextmanager
def open_excerpt(folder: Path) -> Iterator[tuple[Path, Report]]:
    """A folder laid out as a workspace with what `save_excerpt` wrote, while the context lasts, and the report.

    Raises:
        DataError: the folder holds no page data, or it is damaged.
    """
    about = read_json(folder / REPORT, "restore it, or make the report from its workspace", ("title", "records"))
    if about is None:
        raise DataError(f"{folder} holds no {REPORT}; `--data` takes the folder data/ of a page, as `report` writes it")
    records, search = about["records"], about.get("search")
    listed = isinstance(records, list) and (records or search)
    if not listed or not all(isinstance(record, dict) and record.keys() >= RECORD_FIELDS for record in records):
        wanted = ", ".join(sorted(RECORD_FIELDS))
        raise DataError(
            f"{folder / REPORT} is damaged: records are not those of studies, each with {wanted}; restore it, or make "
            "the report from its workspace"
        )
    with tempfile.TemporaryDirectory(prefix="pdstudy-") as made:
        workspace = Path(made)
        try:
            answers = folder / ANSWERS
            packed = gzip.decompress(answers.read_bytes()) if answers.exists() else b""
            for row in [*_decode((folder / FILES).read_bytes(), FILES), *_decode(packed, ANSWERS)]:
                path = _within(workspace, row["path"])
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(row["text"] if "text" in row else _as_file(row["content"]), encoding="utf-8")
            if (folder / TABLES).exists():
                with zipfile.ZipFile(folder / TABLES) as archive:
                    for name in archive.namelist():
                        path = _within(workspace, name)
                        path.parent.mkdir(parents=True, exist_ok=True)
                        path.write_bytes(archive.read(name))
        except (LookupError, TypeError, ValueError, OSError, EOFError, RuntimeError, zlib.error,
                zipfile.BadZipFile) as error:  # fmt: skip
            raise DataError(
                f"{folder} is damaged: {error}; restore it, or make the report from its workspace"
            ) from error
        yield workspace, Report(str(about["title"]), tuple(records), search)


def _run_folders(record: Record) -> set[str]:
    """Folders of runs and of teachers' losses that a study's pages read."""
    runs = {cell["run"] for cell in record["cells"]} | {teacher["run"] for teacher in record["teachers"]}
    runs |= {each["run"] for each in record.get("finetuned", ())}
    return {f"runs/{key}" for key in runs} | {f"teachers/{each['key']}" for each in record.get("models", ())}


def _stores(record: Record) -> set[str]:
    return {each["key"] for each in record["stores"]} | {each["store"] for each in record.get("captures", ())}


def _sharing(workspace: Path, records: Sequence[Record]) -> list[dict[str, Any]]:
    """Records of other studies that have a run of these, cut to what a page says of them."""
    ours = {cell["run"] for record in records for cell in record["cells"]}
    rows = []
    for path in sorted((workspace / "studies").glob("*.json")):
        try:
            other = read_json(path)
        except ConfigError:  # damage is said of the study that has it
            continue
        shared = [{"labels": c["labels"], "run": c["run"]} for c in other.get("cells", ()) if c["run"] in ours]
        if shared:
            kept = {"study": other["study"], "baseline": other.get("baseline", {}), "cells": shared}
            rows.append({"path": path.relative_to(workspace).as_posix(), "content": kept})
    return rows


def _row(workspace: Path, path: Path) -> dict[str, Any] | None:
    """The row of a file: its JSON, or its text where it is damaged; None where it is absent."""
    try:
        text = (workspace / path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    row: dict[str, Any] = {"path": path.as_posix()}
    try:
        if path.suffix == ".jsonl":
            if not text.endswith("\n"):
                return row | {"text": text}
            return row | {"content": [json.loads(line) for line in text.splitlines()]}
        content = json.loads(text)
    except ValueError:
        return row | {"text": text}
    if path.name == "config.json" and isinstance(content, dict):
        content.pop("hashed", None)  # the same run again, as it enters its key
    return row | {"content": content}


def _as_file(content: list[Any] | Mapping[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in content) if isinstance(content, list) else json.dumps(content)


def _encode(row: Mapping[str, Any]) -> bytes:
    return (json.dumps(row) + "\n").encode()


def _decode(rows: bytes, name: str) -> Iterable[dict[str, Any]]:
    """What `_encode` wrote. The file was written whole: a row without an end is damage."""
    if rows and not rows.endswith(b"\n"):
        raise ValueError(f"{name} ends within a row")
    for number, row in enumerate(rows.splitlines(), 1):
        try:
            yield json.loads(row)
        except ValueError as error:
            raise ValueError(f"{name}, line {number} is not JSON") from error


def _within(workspace: Path, name: str) -> Path:
    """The path of a file of the excerpt; a name that leads out of the folder is damage."""
    path = (workspace / name).resolve()
    if not path.is_relative_to(workspace.resolve()):
        raise ValueError(f"the name {name!r} leads out of its folder")
    return path
