"""Files: atomic writes, JSON lines that survive a kill, content hashes of a user's files."""

from __future__ import annotations

import contextlib
import functools
import glob
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pdstudy.core.errors import ConfigError


def write_bytes(path: Path, data: bytes) -> None:
    """Write, fsync, rename: a reader sees the old file or the new one, never half of either."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def sync(path: Path) -> None:
    """Force a file's content, or a folder's entries, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically, as `write_bytes` does."""
    write_bytes(path, (json.dumps(value, indent=1) + "\n").encode())


def read_json(
    path: Path, mend: str = "delete it and run again, which makes it anew", fields: Iterable[str] = ()
) -> Any:
    """The JSON object in a file, or None where the file is absent.

    Raises `ConfigError` on a damaged one: no JSON, no object, or one that lacks some of `fields`; `mend` is what to do
    about that.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):  # the latter below a stray file, such as a .DS_Store
        return None
    except ValueError as error:
        raise ConfigError(f"{path} is damaged: it is not JSON ({error}); {mend}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path} is damaged: it is JSON, but no object; {mend}")
    if lacking := [field for field in fields if field not in found]:
        raise ConfigError(f"{path} is damaged: it lacks {', '.join(lacking)}; {mend}")
    return found


def append_jsonl(path: Path, row: dict[str, Any]) -> None:
    """Append a row to a JSON-lines file."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a JSON-lines file; a last line cut short by a kill is left out. Raises `ConfigError` on another one that
    is damaged."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.endswith(b"\n"):
                try:
                    row = json.loads(line)
                except ValueError as error:
                    raise ConfigError(
                        f"{path}:{number} is damaged: it is not JSON ({error}); delete the line"
                    ) from error
                if not isinstance(row, dict):
                    raise ConfigError(f"{path}:{number} is damaged: it is JSON, but no object; delete the line")
                yield row


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write a JSON-lines file atomically."""
    write_bytes(path, "".join(json.dumps(row) + "\n" for row in rows).encode())


def truncate_jsonl(path: Path, keep_up_to_step: int) -> None:
    """Drop rows of steps that a resumed run will write again."""
    if path.exists():
        write_jsonl(path, (row for row in read_jsonl(path) if row["step"] <= keep_up_to_step))


def file_sha256(path: Path) -> str:
    """sha256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def cache_root() -> Path:
    """Folder of downloads and hashes that workspaces share: `PDSTUDY_CACHE`, default `~/.cache/pdstudy`."""
    return user_path(os.environ.get("PDSTUDY_CACHE") or "~/.cache/pdstudy")


def user_path(text: str) -> Path:
    """A path as a user writes it: `~` is a home folder where that is known, else the character."""
    return Path(os.path.expanduser(text))  # Path.expanduser raises where a container's user has no entry


def content_hash(paths: Iterable[str]) -> str:
    """sha256 over the content of user files (globs and folders allowed), independent of where they lie.

    Hashes are remembered by path, size and modification time, so that a plan of large files stays quick.
    Raises `ConfigError` where a path matches nothing.
    """
    stamps = []
    for pattern in paths:
        found = expand(pattern)
        if not found:
            raise ConfigError(f"no file matches {pattern!r} (looked from {Path.cwd()})")
        for path in found:
            stat = path.stat()
            stamps.append((str(path), stat.st_size, stat.st_mtime_ns))
    return hashlib.sha256("".join(sorted(_remembered_sha256(*s) for s in stamps)).encode()).hexdigest()


def content_or_name(paths: Iterable[str]) -> str:
    """`content_hash`, or the names where a path matches nothing: an identity for files that are not here yet."""
    paths = tuple(paths)
    if all(expand(pattern) for pattern in paths):
        return content_hash(paths)
    return f"not here: {' '.join(paths)}"


def expand(pattern: str) -> list[Path]:
    """The files that a path, a folder (all below it) or a glob stands for, sorted.

    Links to files and folders are followed, and files keep the names under which they are found: those of a hub's
    cache are links to blobs whose names say nothing.
    """
    return [path for path in _names(pattern) if path.is_file()]


def broken_links(pattern: str) -> list[Path]:
    """Links among the names that a path, a folder or a glob stands for which lead nowhere."""
    return [path for path in _names(pattern) if path.is_symlink() and not path.exists()]


def _names(pattern: str) -> list[Path]:
    path = user_path(pattern)
    if path.is_dir():
        return sorted(_below(path.absolute(), ()))
    if path.is_file() or path.is_symlink():
        return [path.absolute()]
    return sorted(Path(name).absolute() for name in glob.glob(str(path), recursive=True, include_hidden=True))


def _below(folder: Path, above: tuple[str, ...]) -> Iterator[Path]:
    """Everything below a folder but folders; a link to a folder that it lies in is not followed."""
    real = os.path.realpath(folder)
    if real in above:
        return
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise ConfigError(
            f"{folder} cannot be read ({error.strerror}); change its permissions, or leave it out"
        ) from error
    for entry in entries:
        if entry.is_dir():
            yield from _below(Path(entry.path), (*above, real))
        else:
            yield Path(entry.path)


@functools.cache
def _remembered_sha256(path: str, size: int, mtime_ns: int) -> str:
    memory = cache_root() / "content" / hashlib.sha256(f"{path}\0{size}\0{mtime_ns}".encode()).hexdigest()
    with contextlib.suppress(OSError, ValueError):
        if re.fullmatch("[0-9a-f]{64}", known := memory.read_text()):  # what is torn would make all runs new ones
            return known
    digest = file_sha256(Path(path))
    with contextlib.suppress(OSError):  # a read-only home only costs hashing again
        write_bytes(memory, digest.encode())
    return digest
