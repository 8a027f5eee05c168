"""Texts that were read for a corpus, kept until it is whole, so that an interrupted build need not read again."""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from pdstudy.config.data import Corpus
from pdstudy.core.files import read_json, sync, write_json
from pdstudy.core.identity import fingerprint
from pdstudy.corpus.encode_places import TEXTS, UNFINISHED
from pdstudy.corpus.spool import Index, sync_spool

EDITION = 1
"""Version of what a build leaves unfinished: raised when that changes."""


def _made_by(corpus: Corpus) -> dict[str, Any]:
    """Everything that must be the same for a build to go on."""
    return {"edition": EDITION, "corpus": fingerprint(corpus), "tokenizers": version("tokenizers")}


def is_kept(work: Path, corpus: Corpus) -> bool:
    """Whether all texts of `corpus` have been read in this folder."""
    about = read_json(work / UNFINISHED / "read.json")
    return about is not None and about["made_by"] == _made_by(corpus)


def keep_texts(work: Path, corpus: Corpus, index: Index, sources: list[dict[str, Any]]) -> None:
    """Keep the index of the texts and the manifest's entries of their sources, safe on the disk."""
    folder = work / UNFINISHED
    for name, array in (("hashes", index.hashes), ("lengths", index.lengths)):
        np.save(folder / f"{name}.npy", array)
        sync(folder / f"{name}.npy")
    sync_spool(folder / TEXTS)
    write_json(folder / "read.json", {"made_by": _made_by(corpus), "sources": sources})


def kept_texts(work: Path, corpus: Corpus) -> tuple[Index, list[dict[str, Any]]]:
    """The texts that `keep_texts` kept."""
    folder = work / UNFINISHED
    hashes, lengths = (np.load(folder / f"{name}.npy", allow_pickle=False) for name in ("hashes", "lengths"))
    return Index(hashes, lengths, corpus.shuffle_seed), read_json(folder / "read.json")["sources"]


def forget_texts(work: Path) -> None:
    """Remove what is unfinished; first the file that says that it can be gone on from."""
    (work / UNFINISHED / "read.json").unlink()
    shutil.rmtree(work / UNFINISHED)
