"""The price of tokenising texts, in hours of a machine's cores, from the sizes of files alone."""

from __future__ import annotations

from pathlib import Path

from pdstudy.config.data import BPE, Corpus
from pdstudy.config.text_files import find_text_files
from pdstudy.config.text_sources import LocalFiles
from pdstudy.config.tokenised import Tokenised, find_token_files
from pdstudy.plan.plan import Plan

READ_BYTES, HASH_BYTES = 100e6, 280e6
"""Bytes of text that one process reads, and bytes of tokens that it hashes, in a second."""


WORD_BYTES, LIBRARY_BYTES = 8e6, 2.9e6
"""Bytes of text that a core encodes in a second: by the word (a BPE that is trained here), and by the tokenizers
library (others, at least). Measured on a shared EPYC by `make bench-corpus`; the next machine's may be twice that."""


PACKED = 3.0
"""Bytes of text in a byte of a packed file, about."""


def text_price(plan: Plan) -> tuple[float, float] | None:
    """Bytes of texts and tokens in local files that corpora are still to be made of, and about how many hours that
    takes on the cores of one machine of the plan; None where there are none."""
    cores = plan.study.machine.cores
    found = [_seconds(corpus.corpus, cores) for corpus in plan.corpora if not corpus.done]
    size, seconds = (sum(each[i] for each in found) for i in (0, 1))
    return (size, seconds / 3600) if size else None


def _seconds(corpus: Corpus, cores: int) -> tuple[float, float]:
    """Bytes read for a corpus, and seconds: texts are read by one process, and encoded by one per core."""
    if corpus.mixture is not None:  # an order over corpora that have their own price
        return 0.0, 0.0
    texts = sum(
        _text_bytes(file)
        for source in corpus.sources
        for pattern in (source.paths if isinstance(source, LocalFiles) else ())
        for file in find_text_files(pattern)
    )
    hashed = sum(
        file.stat().st_size
        for source in corpus.sources
        if isinstance(source, Tokenised) and source.validation is None
        for file in find_token_files(source.path, source.format)
    )
    rate = WORD_BYTES if isinstance(corpus.own_tokenizer, BPE) else LIBRARY_BYTES
    return texts + hashed, texts / READ_BYTES + texts / (rate * cores) + hashed / HASH_BYTES


def _text_bytes(file: Path) -> float:
    plain = file.suffix.lower() in (".txt", ".jsonl", ".ndjson", ".json")
    return file.stat().st_size * (1.0 if plain else PACKED)
