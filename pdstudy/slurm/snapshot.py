"""The code that jobs run, copied when they are submitted: editing it later changes no job that is under way."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from pdstudy.core import provenance
from pdstudy.core.files import write_json
from pdstudy.slurm.ledger import slurm_folder
from pdstudy.workspace.layout import Workspace


def take_snapshot(workspace: Workspace) -> Path:
    """A folder to put on PYTHONPATH, named by its content; made once per state of the code."""
    root = Path(__file__).resolve().parents[2]
    # In a checkout `pdstudy/analysis` is a link: what it leads to is copied.
    folders = [(Path(folder), names) for folder, _, names in os.walk(root / "pdstudy", followlinks=True)]
    files = sorted(folder / name for folder, names in folders if folder.name != "__pycache__" for name in names)
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(root)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    folder = slurm_folder(workspace) / "code" / digest.hexdigest()[:12]
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        for path in files:
            target = partial / path.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        write_json(partial / provenance.CODE_FILE, provenance.code())
        partial.chmod(0o755)  # others send from this workspace, too
        try:
            os.replace(partial, folder)
        except OSError:  # another submit was quicker
            shutil.rmtree(partial)
    return folder
