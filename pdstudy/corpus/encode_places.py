"""Encoding a batch of texts of a spool, and how a process hands it over."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pdstudy.corpus.spool import read_texts
from pdstudy.corpus.tokenizer import Encoder

UNFINISHED, TEXTS = "unfinished", "texts"
"""Folder of a corpus that is being built which the whole corpus has not, and the spool's folder in it."""


HEADER = struct.Struct("<QQQ")
"""Documents, tokens and bytes of an answer."""


class EncodedTexts(NamedTuple):
    """Documents end to end: their ids [tokens], the length of each in tokens, the bytes of text of all."""

    ids: npt.NDArray[Any]
    lengths: npt.NDArray[np.int64]
    token_bytes: int


def places_path(work: Path, split: str) -> Path:
    """The file with the places of a split's documents in the spool, in the order of the stream."""
    return work / UNFINISHED / f"places-{split}.npy"


def encode_places(
    work: Path, places: npt.NDArray[np.int64], encoder: Encoder, token_bytes: npt.NDArray[np.int32]
) -> EncodedTexts:
    """Encode the texts at `places` of the spool."""
    documents = encoder.encode(list(read_texts(work / UNFINISHED / TEXTS, places)))
    ids = np.concatenate(documents)
    lengths = np.array([len(document) for document in documents], dtype=np.int64)
    return EncodedTexts(ids, lengths, int(token_bytes[ids].sum()))
