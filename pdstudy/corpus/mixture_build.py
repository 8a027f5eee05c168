"""Mixtures: the order in which the documents of several corpora take turns."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pdstudy.config.data import Mixture
from pdstudy.core.errors import ConfigError
from pdstudy.corpus.spool import SPLITS
from pdstudy.corpus.stream import write_places
from pdstudy.corpus.token_corpus import TOKEN_BYTES, TOKENIZER, TokenCorpus

LONGEST_PIECE = 8192
"""Tokens of a document that follow each other without a turn of another source, at most."""

Pieces = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""Where pieces start in their own stream, and their lengths, in tokens, int64 [pieces] each."""


def mix_parts(work: Path, mixture: Mixture, parts: Sequence[TokenCorpus]) -> dict[str, Any]:
    """Write the order of each split over the streams of `parts`, end to end; the manifest's entries.

    Raises `ConfigError` where parts have different tokenizers.
    """
    first = parts[0]
    for other in parts[1:]:
        if other.tokenizer_hash != first.tokenizer_hash:
            raise ConfigError(f"{other.directory} and {first.directory} have different tokenizers; delete both")
    shutil.copytree(first.tokenizer_dir, work / TOKENIZER)
    shutil.copyfile(first.directory / TOKEN_BYTES, work / TOKEN_BYTES)
    shares = [share for _, share in mixture.parts]
    splits: dict[str, Any] = {}
    for split in SPLITS:
        streams = [part.stream(split) for part in parts]
        pieces = [cut_pieces(stream.document_starts(0, len(stream)), len(stream)) for stream in streams]
        order, deviation = interleave([lengths for _, lengths in pieces], shares)
        before = np.cumsum([0] + [len(stream) for stream in streams])
        starts = np.concatenate([starts + at for (starts, _), at in zip(pieces, before[:-1], strict=True)])
        lengths = np.concatenate([lengths for _, lengths in pieces])[order]
        splits[split] = write_places(work, split, lengths, starts[order])
        tokens = splits[split]["tokens"]
        splits[split] |= {
            "deviation": round(deviation, 1),
            "unused": [len(stream) - round(share * tokens) for stream, share in zip(streams, shares)],
        }
    return {"splits": splits, "parts": [part.manifest["fingerprint"] for part in parts]}


def cut_pieces(starts: npt.NDArray[np.int64], tokens: int) -> Pieces:
    """Documents that start at `starts` of a stream of `tokens`, in pieces of at most `LONGEST_PIECE` tokens."""
    lengths = np.diff(starts, append=tokens)
    count = -(-lengths // LONGEST_PIECE)
    within = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
    begins = np.repeat(starts, count) + within * LONGEST_PIECE
    return begins, np.minimum(np.repeat(starts + lengths, count) - begins, LONGEST_PIECE)


def interleave(
    lengths: Sequence[npt.NDArray[np.int64]], shares: Sequence[float]
) -> tuple[npt.NDArray[np.int64], float]:
    """The order of pieces of several sources, numbered end to end, up to where the first source ends; and the largest
    difference, over all beginnings and sources, of a source's tokens from its share.

    A piece has its turn at (tokens of its source before it + half of its own) / share. After every piece up to a turn
    t, source i has given share_i t tokens but for half a piece: the whole is t but for half a piece per source, and so
    is off its share by at most (1 + share_i sources) / 2 pieces.
    """
    turns = [(np.cumsum(each) - each / 2) / share for each, share in zip(lengths, shares, strict=True)]
    end = min(float(each.sum()) / share for each, share in zip(lengths, shares, strict=True))
    order = np.argsort(np.concatenate(turns), kind="stable")
    order = order[: int(np.searchsorted(np.sort(np.concatenate(turns)), end, side="right"))]
    sizes = np.concatenate(lengths)[order]
    source = np.repeat(np.arange(len(lengths)), [len(each) for each in lengths])[order]
    total = np.cumsum(sizes)
    deviation = 0.0
    for number, share in enumerate(shares):
        given = np.cumsum(np.where(source == number, sizes, 0))
        deviation = max(deviation, float(np.abs(given - share * total).max(initial=0)))
    return order, deviation
