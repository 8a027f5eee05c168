"""Building a corpus: sources, exact deduplication, split, tokenizer, shuffled token shards, manifest.

Memory is bounded by the index of documents (24 bytes each, a few copies while sorting), the tokenizer's training
sample, the batch being encoded, and the largest single document; never by the corpus.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pdstudy.config.data import BPE, Corpus, PretrainedTokenizer, Source, Split
from pdstudy.config.tokenised import Tokenised
from pdstudy.core.errors import ConfigError
from pdstudy.core.files import file_sha256, sync, write_json
from pdstudy.core.identity import encode, fingerprint
from pdstudy.core.progress import Progress, no_progress
from pdstudy.core.validation import problems
from pdstudy.corpus.bad_rows import BadRow, BadRows
from pdstudy.corpus.encode import encode_splits
from pdstudy.corpus.encode_places import TEXTS, UNFINISHED, places_path
from pdstudy.corpus.kept_texts import forget_texts, is_kept, keep_texts, kept_texts
from pdstudy.corpus.mixture_build import mix_parts
from pdstudy.corpus.sources import documents
from pdstudy.corpus.spool import SPLITS, Spool, read_texts
from pdstudy.corpus.token_corpus import FORMAT, MANIFEST, TOKEN_BYTES, TOKENIZER, TokenCorpus, open_corpus
from pdstudy.corpus.tokenised_build import index_tokens
from pdstudy.corpus.tokenizer import Encoder, copy_pretrained, train_bpe

_READ_SHARE, _TRAINED_SHARE = 0.2, 0.4
"""The share of the whole, as progress reports it, at which reading and the tokenizer end; the rest is encoding."""


def build(corpus: Corpus, directory: Path, progress: Progress = no_progress) -> None:
    """Build `corpus` at `directory`, which is there whole in the end or not at all.

    Files are written to a folder beside it, `<directory>.partial`, which is renamed when complete. What an
    interruption leaves there is gone on from: the texts once all are read, the tokenizer, and tokens up to the last
    64 MB of text. There is one builder at a time (the caller holds the claim). Does nothing where the corpus exists.

    Raises `ConfigError` on input that cannot be read, on too few documents for a split, and where `directory` holds
    something else or a damaged corpus.
    """
    key = fingerprint(corpus)
    if directory.exists() and any(directory.iterdir()):
        found = open_corpus(directory).manifest["fingerprint"]
        if found != key:
            raise ConfigError(f"{directory} holds corpus {found}, not {key}; move it away")
        return
    for problem in problems(corpus):
        if problem.missing:  # a plan may be made where the texts are not
            raise ConfigError(str(problem))
    directory.parent.mkdir(parents=True, exist_ok=True)
    for other in corpus.needs:  # a plan has built them before
        build(other, directory.parent / fingerprint(other), progress)
    work = directory.with_name(f"{directory.name}.partial")
    if not is_kept(work, corpus):
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
    try:
        _build_in(work, corpus, progress)
        os.rename(work, directory)
    except (ConfigError, OSError):  # nothing that could be gone on from, or no room for it
        shutil.rmtree(work, ignore_errors=True)
        raise
    progress("done", 1.0)


def _build_in(work: Path, corpus: Corpus, progress: Progress) -> None:
    needs = [open_corpus(work.parent / fingerprint(other)) for other in corpus.needs]
    if corpus.mixture is not None:
        entries = mix_parts(work, corpus.mixture, needs)
        _write_manifest(work, corpus, Encoder(work / TOKENIZER, corpus.bos), **entries)
        return
    if any(isinstance(source, Tokenised) for source in corpus.sources):
        _build_index(work, corpus, needs, progress)
        return
    spool = work / UNFINISHED / TEXTS
    if not is_kept(work, corpus):
        _spool_texts(work, corpus, spool, progress)
    index, sources = kept_texts(work, corpus)
    shares = (corpus.validation, corpus.test)
    order = {split: index.shuffled(split, shares, corpus.shuffle_seed) for split in SPLITS}
    _check_splits(order, corpus)
    if not (work / TOKENIZER).exists():
        progress("tokenizer", _READ_SHARE)
        made = work / UNFINISHED / TOKENIZER
        shutil.rmtree(made, ignore_errors=True)
        if isinstance(corpus.tokenizer, BPE):
            sample = _sample(read_texts(spool, index.places(order["train"])), corpus.tokenizer.sample_bytes)
            train_bpe(sample, corpus.tokenizer.vocab, made)
        else:
            _copy_tokenizer(made, corpus, needs)
        for file in made.iterdir():
            sync(file)
        os.rename(made, work / TOKENIZER)
    encoder = Encoder(work / TOKENIZER, corpus.bos)
    np.save(work / TOKEN_BYTES, encoder.token_bytes())
    dtype = "uint16" if encoder.vocab <= 2**16 else "uint32"

    def report(what: str, share: float) -> None:
        progress(what, _TRAINED_SHARE + (1 - _TRAINED_SHARE) * share)

    duplicates = len(index) - int(index.unique.sum())
    for split, chosen in order.items():
        np.save(places_path(work, split), index.places(chosen))
    del index, order, chosen  # some sixty bytes a document
    splits = encode_splits(work, encoder, dtype, report)
    _write_manifest(work, corpus, encoder, dtype=dtype, splits=splits, sources=sources, duplicates=duplicates)
    forget_texts(work)


def _spool_texts(work: Path, corpus: Corpus, spool: Path, progress: Progress) -> None:
    """Read all sources into the spool and keep it; what it has in memory ends with this call."""
    (work / UNFINISHED).mkdir()
    with Spool(spool, corpus.shuffle_seed) as texts:
        count = len(corpus.sources)
        sources = [_read(source, texts, i, count, progress) for i, source in enumerate(corpus.sources)]
        read = texts.index()
    keep_texts(work, corpus, read, sources)


def _copy_tokenizer(folder: Path, corpus: Corpus, needs: list[TokenCorpus]) -> None:
    """Copy the tokenizer of the corpus that it is taken from, or of a folder."""
    if isinstance(corpus.tokenizer, PretrainedTokenizer):
        copy_pretrained(corpus.tokenizer, folder)
    else:
        shutil.copytree(needs[0].tokenizer_dir, folder)


def _build_index(work: Path, corpus: Corpus, needs: list[TokenCorpus], progress: Progress) -> None:
    """Build a corpus of files of tokens: the tokenizer, and the index of documents."""
    _copy_tokenizer(work / TOKENIZER, corpus, needs)
    encoder = Encoder(work / TOKENIZER, corpus.bos)
    np.save(work / TOKEN_BYTES, encoder.token_bytes())
    _write_manifest(work, corpus, encoder, **index_tokens(work, corpus, encoder, progress))


def _write_manifest(work: Path, corpus: Corpus, encoder: Encoder, *, dtype: str | None = None, **entries: Any) -> None:
    write_json(work / MANIFEST, {
        "format": FORMAT,
        "corpus": encode(corpus),
        "fingerprint": fingerprint(corpus),
        "vocab": encoder.vocab,
        "eos": encoder.eos,
        **({} if encoder.bos is None else {"bos": encoder.bos}),
        **({} if dtype is None else {"dtype": dtype}),
        "tokenizer_sha256": file_sha256(work / TOKENIZER / "tokenizer.json"),
        **entries,
        "files": _hash_files(work),
        "versions": {name: version(name) for name in ("numpy", "tokenizers")},
    })  # fmt: skip


def _read(source: Source, spool: Spool, number: int, sources: int, progress: Progress) -> dict[str, Any]:
    """Spool the documents of one source, but for those of white space alone; the manifest's entry for it."""
    label = type(source).__name__ + (f" {source.name}" if hasattr(source, "name") else "")
    progress(f"read {label}", _READ_SHARE * number / sources)  # may have to download it
    digest = hashlib.sha256()
    kept = empty = size = 0
    bad = BadRows(source)
    for where, text in documents(source, bad):
        if (kept + empty) % 1000 == 999:
            # How many documents a source has is known only at its end.
            progress(f"read {label}: {kept:,} documents", _READ_SHARE * number / sources)
        if not text or text.isspace():
            empty += 1
            continue
        try:
            raw = text.encode()
        except UnicodeEncodeError as error:
            detail = f"half a surrogate pair at character {error.start} is no Unicode text"
            bad.add(BadRow(where, "half a surrogate pair", detail))
            continue
        spool.add(raw)
        digest.update(len(raw).to_bytes(8, "little") + raw)
        kept += 1
        size += len(raw)
    bad.check()
    if bad.count:
        progress(f"read {label}: left out {bad.summary}", _READ_SHARE * (number + 1) / sources)
    if not kept:
        raise ConfigError(f"source {label} has no text: {empty} documents, all empty")
    described = {"documents": kept, "empty": empty, "bytes": size, "sha256": digest.hexdigest()}
    return {"source": encode(source), **described, **({"bad_rows": bad.describe()} if bad.count else {})}


def _check_splits(order: dict[Split, npt.NDArray[np.int64]], corpus: Corpus) -> None:
    counts = {split: len(chosen) for split, chosen in order.items()}
    if not all(counts.values()):
        found = ", ".join(f"{n:,} for {split}" for split, n in counts.items())
        raise ConfigError(
            f"too few documents: {found} (validation = {corpus.validation:g}, test = {corpus.test:g}); give more "
            f"documents (a .txt file is one: cut it up, or write .jsonl with one document per line) or larger shares"
        )


def _sample(texts: Iterator[str], size: int) -> Iterator[str]:
    """The first `size` bytes of `texts`; the last text is cut between two characters."""
    for text in texts:
        raw = text.encode()
        yield text if len(raw) <= size else raw[:size].decode(errors="ignore")
        size -= len(raw)
        if size <= 0:
            return


def _hash_files(work: Path) -> dict[str, dict[str, Any]]:
    """Sizes and hashes of all files, which are safe on the disk before the manifest names them."""
    files = sorted([*work.glob("*.bin"), *work.glob("*.npy"), *(work / TOKENIZER).iterdir()])
    for file in files:
        with file.open("rb+") as opened:
            os.fsync(opened.fileno())
    return {str(f.relative_to(work)): {"bytes": f.stat().st_size, "sha256": file_sha256(f)} for f in files}
