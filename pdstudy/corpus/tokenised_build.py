"""Corpora of texts that are tokens already: an index of documents over files that stay where they are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pdstudy.config.data import Corpus
from pdstudy.config.tokenised import Tokenised, find_token_files, sample_hash
from pdstudy.core.errors import ConfigError
from pdstudy.core.progress import Progress
from pdstudy.corpus.permutation import mix
from pdstudy.corpus.spool import SPLITS, Index
from pdstudy.corpus.stream import write_places
from pdstudy.corpus.token_files import TokenFile, read_token_file
from pdstudy.corpus.tokenizer import Encoder

SAMPLED_DOCUMENTS, SAMPLED_TOKENS = 200, 2048
"""Documents, evenly spread, and the first tokens of each, by which a tokenizer is checked."""


LEAST_SAME = 0.8
"""Share of sampled tokens that must come out the same when they are decoded and encoded again. Of the right tokenizer
nearly all do; what another makes of its own ids is no text, and is cut otherwise from the first tokens on."""


LEAST_ENDS = 0.99
"""Share of sampled documents that end (begin) with the end (beginning) of a document, where that is in the files."""


_PLACES = {"train": "path", "validation": "validation", "test": "test"}
"""The field of `Tokenised` that has the files of a split."""


def index_tokens(work: Path, corpus: Corpus, encoder: Encoder, progress: Progress) -> dict[str, Any]:
    """Write the documents of each split, and return the manifest's entries for splits and sources.

    Raises `ConfigError` on files that are damaged, and on ids that are not of the corpus's tokenizer.
    """
    sources = [source for source in corpus.sources if isinstance(source, Tokenised)]
    given = sources[0].validation is not None
    read = {
        split: [
            read_token_file(file, source.format)
            for source in sources
            for file in find_token_files(source.paths[_PLACES[split]], source.format)
        ]
        for split in (SPLITS if given else SPLITS[:1])
    }
    checked = {split: _check_tokens(files, encoder) for split, files in read.items()}
    if len({found["end"] for found in checked.values()}) > 1:
        raise ConfigError(f"documents of one split end with {encoder.eos} and those of another do not; tokenize alike")
    places = {split: _places(files) for split, files in read.items()}
    if given:
        orders = {split: _shuffled(len(starts), corpus.shuffle_seed) for split, (starts, _) in places.items()}
        duplicates = 0
    else:
        index = _hashed(read["train"], places["train"][1], progress)
        orders = {s: index.shuffled(s, (corpus.validation, corpus.test), corpus.shuffle_seed) for s in SPLITS}
        duplicates = len(index) - int(index.unique.sum())
    splits: dict[str, Any] = {}
    for split in SPLITS:
        files = read[split if given else "train"]
        starts, lengths = places[split if given else "train"]
        order, end = orders[split], checked[split if given else "train"]["end"]
        if not len(order):
            raise ConfigError(f"no document for the {split} split of {len(starts):,}; give more, or a larger share")
        splits[split] = write_places(work, split, lengths[order] + (end == "added"), starts[order])
        splits[split] |= {
            "end": end,
            "shards": [
                {"path": str(file.path), "dtype": file.dtype, "bytes": file.path.stat().st_size,
                 "sample": sample_hash(file.path)} for file in files
            ],
        }  # fmt: skip
    return {"splits": splits, "duplicates": duplicates, "checked": checked}


def _places(files: list[TokenFile]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where the documents of all files start, in tokens of the files end to end, and their lengths."""
    if not files:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    before = np.cumsum([0] + [len(file.ids) for file in files])
    starts = [file.starts + at for file, at in zip(files, before[:-1], strict=True)]
    return np.concatenate(starts), np.concatenate([file.lengths for file in files])


def _shuffled(documents: int, seed: int) -> npt.NDArray[np.int64]:
    numbers = np.arange(documents, dtype=np.uint64)
    return np.argsort(mix(numbers ^ mix(np.array([seed], dtype=np.uint64))), kind="stable")


def _hashed(files: list[TokenFile], lengths: npt.NDArray[np.int64], progress: Progress) -> Index:
    """Hash every document by its ids as little-endian uint32, so by its content however it is stored."""
    hashes = bytearray()
    for number, file in enumerate(files):
        ids = np.asarray(file.ids)
        for at, (start, length) in enumerate(zip(file.starts.tolist(), file.lengths.tolist(), strict=True)):
            if at % 10_000 == 0:
                progress(f"read {file.path.name}: {at:,} documents", (number + at / len(file.starts)) / len(files))
            hashes += hashlib.blake2b(ids[start : start + length].astype("<u4").tobytes(), digest_size=16).digest()
    words = np.frombuffer(bytes(hashes), dtype=">u8").reshape(-1, 2).astype(np.uint64)
    return Index(words, lengths)


def _sampled(files: list[TokenFile]) -> Iterator[tuple[npt.NDArray[np.int64], int]]:
    """The first ids of evenly spread documents, and the last id of each."""
    counts = np.cumsum([0] + [len(file.starts) for file in files])
    for number in np.unique(np.linspace(0, counts[-1] - 1, SAMPLED_DOCUMENTS).astype(np.int64)):
        at = int(np.searchsorted(counts, number, side="right")) - 1
        file, document = files[at], int(number - counts[at])
        start, length = int(file.starts[document]), int(file.lengths[document])
        ids = np.asarray(file.ids)
        yield ids[start : start + min(length, SAMPLED_TOKENS)].astype(np.int64), int(ids[start + length - 1])


def _check_tokens(files: list[TokenFile], encoder: Encoder) -> dict[str, Any]:
    """Whether ids are those of the tokenizer, and whether documents end with its end; a sample of text."""
    where = f"{files[0].path.parent}" if files else "no file"
    sample = list(_sampled(files)) if any(len(file.starts) for file in files) else []
    if not sample:
        raise ConfigError(f"{where}: no document in {len(files)} files of tokens")
    least, most = min(int(ids.min()) for ids, _ in sample), max(int(ids.max()) for ids, _ in sample)
    if least < 0 or most >= encoder.vocab:
        raise ConfigError(f"{where}: found ids {least} to {most:,}; allowed: 0 to {encoder.vocab - 1:,}, the "
                          f"tokenizer's; give the tokenizer that made them")  # fmt: skip
    ended = float(np.mean([last == encoder.eos for _, last in sample]))
    if 0 < ended < LEAST_ENDS:
        raise ConfigError(
            f"{where}: {ended:.0%} of documents end with {encoder.eos}, the tokenizer's eos; allowed: all, or none "
            f"(it is then added); or name theirs: PretrainedTokenizer(..., eos=...)"
        )
    begun = float(np.mean([int(ids[0]) == encoder.named_bos for ids, _ in sample]))
    if (begun >= LEAST_ENDS) != (encoder.bos is not None):
        mend = "declare it: PretrainedTokenizer(..., bos=...)" if encoder.bos is None else "declare no bos"
        raise ConfigError(f"{where}: {begun:.0%} of documents begin with {encoder.named_bos}, the bos; {mend}")
    same, total, text = 0, 0, ""
    special = [encoder.eos, encoder.named_bos]
    for ids, _ in sample:
        body = ids[~np.isin(ids, [number for number in special if number is not None])]
        decoded = encoder.decode(body.tolist())
        again = encoder.body(decoded)
        text = text or decoded
        both = min(len(body), len(again))
        differ = np.flatnonzero(body[:both] != again[:both])
        same += int(differ[0]) if len(differ) else both
        total += len(body)
    if same < LEAST_SAME * total:
        raise ConfigError(
            f"{where}: of {total:,} tokens in {len(sample)} documents, {same / max(total, 1):.0%} come out the same "
            f"when decoded and encoded again; allowed: {LEAST_SAME:.0%} or more; give the tokenizer that made them. "
            f"By this one they read {text[:60]!r}"
        )
    return {"end": "stored" if ended else "added", "documents": len(sample), "same": round(same / max(total, 1), 4),
            "text": text[:200]}  # fmt: skip
