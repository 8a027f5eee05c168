"""Packed examples on disk, beside the corpus with whose tokenizer they were made; each run maps them into memory.

Rendering and tokenizing takes a process a second for some 150,000 tokens: hours for the instructions of a large study,
which every finetuning of it, and every rank, would spend again.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

from pdstudy.config.data import View
from pdstudy.config.instructions import Instructions
from pdstudy.core.errors import ConfigError
from pdstudy.core.files import file_sha256, read_json, write_json
from pdstudy.core.identity import fingerprint
from pdstudy.corpus.examples import Packed, pack
from pdstudy.corpus.token_corpus import TokenCorpus

CACHE_EDITION = 3
"""Version of how examples become sequences: raised when that changes."""


ARRAY_NAMES = ("inputs", "targets", "examples")
"""Arrays of `Packed`, one file each."""


LEAST_CACHED_POSITIONS = 1 << 20
"""Positions from which examples are kept on disk: fewer are made again in seconds."""


def load_packed(instructions: Instructions, corpus: TokenCorpus, view: View, *, held_out: bool = False) -> Packed:
    """Load what `pack` makes from the corpus's folder, or make it, and keep it there where it is large.

    Raises `ConfigError` as `pack` does, and where what was kept is damaged.
    """
    # Their share of a step changes no example.
    name = fingerprint(dataclasses.replace(instructions, share=1.0))
    folder = (
        corpus.directory / "examples" / f"{name}-{view.context}-{'held-out' if held_out else 'train'}-{CACHE_EDITION}"
    )
    about = read_json(folder / "about.json")
    if about is None:
        made = pack(instructions, corpus, view, held_out=held_out)
        if made.inputs.size >= LEAST_CACHED_POSITIONS:
            _keep(made, folder)
        return made
    for name in ARRAY_NAMES:
        file = folder / f"{name}.npy"
        if not file.is_file() or file_sha256(file) != about["sha256"][name]:
            raise ConfigError(f"{file} is damaged: its sha256 is not that of about.json; delete {folder} and run again")
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in ARRAY_NAMES}
    return Packed(**arrays, left_out=about["left_out"])


def _keep(made: Packed, folder: Path) -> None:
    """Write them to a folder that is whole or absent; nothing where it cannot be written, or another run was first."""
    partial: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        for name in ARRAY_NAMES:
            with (partial / f"{name}.npy").open("wb") as file:
                np.save(file, getattr(made, name))
                file.flush()
                os.fsync(file.fileno())
        digests = {name: file_sha256(partial / f"{name}.npy") for name in ARRAY_NAMES}
        write_json(partial / "about.json", {"left_out": made.left_out, "sha256": digests})
        partial.chmod(0o755)
        os.replace(partial, folder)
    except OSError:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
