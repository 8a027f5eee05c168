"""Files of text as they lie on disks: the kinds that are read, and what a folder of them holds besides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from pdstudy.core.files import broken_links, content_hash, content_or_name, expand, user_path
from pdstudy.core.validation import Problem

KINDS = (
    ".txt", ".jsonl", ".ndjson", ".json", ".parquet", ".jsonl.gz", ".ndjson.gz", ".json.gz", ".txt.gz",
    ".jsonl.zst", ".ndjson.zst", ".json.zst", ".txt.zst",
)  # fmt: skip
"""Endings of the files that are read, in lower case; upper case is read as well."""


_HASHED_AS = {".jsonl.gz": ".gz"}
"""Kinds that identities of earlier versions name otherwise."""


_ALWAYS_TEXT = (".txt", ".jsonl", ".jsonl.gz", ".parquet")
"""Kinds that are read of a folder whatever the file is called."""


_DESCRIPTIONS = ("readme", "license", "licence", "notice", "citation", "changelog", "dataset_info", "dataset_infos",
                 "dataset_dict", "state")  # fmt: skip
"""Names, without endings, of files that describe a data set."""


_PACKAGES = {".parquet": ("pyarrow", "parquet"), ".zst": ("zstandard", "zstd")}
"""The package that reading files of an ending imports beyond the basics, and the extra of pdstudy that has it."""


_CONVERSIONS = {
    (".csv", ".tsv", ".xlsx"): "convert it: pandas.read_csv(...).to_parquet(...), which keeps columns",
    (".md", ".rst", ".html", ".tex", ".xml"): "copy it to a .txt, or write JSON lines of its parts",
    (".bz2", ".xz", ".zip", ".tar", ".tgz", ".7z", ".lz4"): "unpack it; .gz and .zst are read packed",
    (".arrow", ".feather"): "convert it: datasets.Dataset.from_file(...).to_parquet(...)",
    (".pdf", ".docx", ".epub"): "extract its text into a .txt",
}


def kind_of(path: Path) -> str | None:
    """The kind of a file by its name; None where it is no text that is read."""
    name = path.name.lower()
    return next((kind for kind in KINDS if name.endswith(kind)), None)


def find_text_files(pattern: str) -> list[Path]:
    """The files that a path, a folder or a glob stands for; of a folder, not what a hub's download leaves besides."""
    root = user_path(pattern).absolute()
    files = expand(pattern)
    return [file for file in files if not _is_beside(file, root)] if root.is_dir() else files


def _is_beside(file: Path, root: Path) -> bool:
    parts = file.relative_to(root).parts
    if kind_of(file) in _ALWAYS_TEXT and not file.name.startswith("._"):
        return False
    if any(part.startswith(".") for part in parts) or file.name.lower().split(".")[0] in _DESCRIPTIONS:
        return True
    # A hub's cache: snapshots/REVISION/x.parquet are links to blobs/HASH.
    above = [root.joinpath(*parts[:i]) for i, part in enumerate(parts) if part in ("blobs", "refs")]
    return any((folder / "snapshots").is_dir() for folder in above)


def find_packages(patterns: Iterable[str]) -> set[tuple[str, str]]:
    """(Module, extra of pdstudy) that reading these files takes."""
    kinds = {kind_of(file) or "" for pattern in patterns for file in find_text_files(pattern)}
    return {needed for ending, needed in _PACKAGES.items() if any(kind.endswith(ending) for kind in kinds)}


def text_identity(patterns: Iterable[str]) -> str:
    """The content and the kinds of files, whatever their names; the patterns where one matches nothing."""
    patterns = tuple(patterns)
    found = [find_text_files(pattern) for pattern in patterns]
    files = [file for each in found for file in each]
    kinds = {_HASHED_AS.get(kind, kind) for kind in (kind_of(file) or file.suffix for file in files)}
    content = content_hash(map(str, files)) if all(found) else content_or_name(patterns)
    return " ".join([content, *sorted(kinds)])


def check_text_files(patterns: tuple[str, ...], *, any_kind: bool = False) -> Iterator[Problem]:
    """Problems of patterns that match nothing, and of files that cannot be read; with `any_kind`, none of endings."""
    if not patterns:
        yield Problem("paths", patterns, "at least one path or glob")
    for i, pattern in enumerate(patterns):
        files, broken = find_text_files(pattern), broken_links(pattern)
        if broken:
            yield Problem(f"paths[{i}]", _some(broken), "links to files that are there", missing=True)
        elif not files:
            yield Problem(f"paths[{i}]", pattern, "a file, folder or glob that is there", hint=f"from {Path.cwd()}",
                          missing=True)  # fmt: skip
        other: dict[str, list[Path]] = {}
        for file in files:
            if kind_of(file) is None and not any_kind:
                other.setdefault(file.suffix.lower(), []).append(file)
        for ending, members in other.items():
            convert = next((advice for endings, advice in _CONVERSIONS.items() if ending in endings), None)
            hint = "; ".join([*([convert] if convert else []), "a glob leaves others out"])
            yield Problem(f"paths[{i}]", _some(members), f"files that end in {', '.join(KINDS)}", hint=hint)


def _some(files: list[Path]) -> str:
    return str(files[0]) if len(files) == 1 else f"{len(files):,} files such as {files[0]}"
