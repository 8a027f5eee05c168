"""The code that jobs run, copied when they are submitted: editing it later changes no job that is under way."""

from __future__ import annotations

import getpass
import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from pdstudy.core import provenance
from pdstudy.core.files import write_bytes, write_json
from pdstudy.slurm.ledger import slurm_folder
from pdstudy.workspace.layout import Workspace


def take_snapshot(workspace: Workspace) -> Path:
    """A folder to put on PYTHONPATH, named by the digest of its content; made once per state of the code and user.

    A folder that is there is not trusted by its name: files that were changed or purged are put back, others removed.
    One that belongs to another user, who may change it at any time, is not used.
    """
    contents = _read_package()
    digest = hashlib.sha256()
    for name, data in sorted(contents.items(), key=lambda item: Path(item[0])):
        digest.update(f"{name}\0{len(data)}\0".encode())
        digest.update(data)
    folder = slurm_folder(workspace) / "code" / digest.hexdigest()[:12]
    if folder.exists() and folder.stat().st_uid != os.getuid():
        folder = folder.with_name(f"{folder.name}-{getpass.getuser()}")
    if folder.exists():
        _repair(folder, contents)
    else:
        _write(folder, contents)
    return folder


def _read_package() -> dict[str, bytes]:
    """The files of this package by their names, the package's own among them."""
    root = Path(__file__).resolve().parents[2]
    contents = {}
    # In a checkout `pdstudy/analysis` is a link: what it leads to is copied.
    for folder, folders, names in os.walk(root / "pdstudy", followlinks=True):
        folders[:] = [name for name in folders if name != "__pycache__" and not name.startswith(".")]
        for name in names:
            path = Path(folder) / name
            if not name.startswith(".") and path.is_file():  # editors leave locks that lead nowhere
                contents[str(path.relative_to(root))] = path.read_bytes()
    return contents


def _write(folder: Path, contents: dict[str, bytes]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    for name, data in contents.items():
        path = partial / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o644)
    write_json(partial / provenance.CODE_FILE, provenance.code())
    for made in (partial, *(path for path in partial.rglob("*") if path.is_dir())):
        made.chmod(0o755)  # others read it, and only its owner writes
    try:
        os.replace(partial, folder)
    except OSError:  # another submit was quicker
        shutil.rmtree(partial)


def _repair(folder: Path, contents: dict[str, bytes]) -> None:
    """Make the files of a folder those of `contents` again. One by one, since jobs may be importing them."""
    for path in [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]:
        name = str(path.relative_to(folder))
        if path.is_symlink() or (name not in contents and name != provenance.CODE_FILE):
            path.unlink(missing_ok=True)  # compiled files, too: Python trusts them by date and size
    for name, data in contents.items():
        path = folder / name
        if not path.is_file() or path.read_bytes() != data:
            write_bytes(path, data)
    if not (folder / provenance.CODE_FILE).is_file():
        write_json(folder / provenance.CODE_FILE, provenance.code())
