"""The text of a run: sources, tokenizer, corpus, slices, views. Built by `pdstudy.corpus`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pdstudy.config.text_sources import HubDataset, LocalFiles, Packaged, StandardLibrary
from pdstudy.config.tokenised import Tokenised
from pdstudy.config.tokenizer_file import TOKENIZER_FILES, count_ids, hub_hint, special_tokens
from pdstudy.core.files import content_or_name, user_path
from pdstudy.core.identity import declared, neutral
from pdstudy.core.validation import Problem, nearest

MOST_TOKENS = 2**62
"""Largest end of a slice, in tokens: positions are 64-bit numbers."""

SEEDS = 2**32
"""Seeds are below this: of a larger one torch's generator on a CPU takes these bits alone."""


Split = Literal["train", "validation", "test"]


EOS = "<|endoftext|>"
"""The end-of-document token of a BPE that is trained here, and its id 0."""


LEAST_BPE = 257
"""Entries of the smallest byte-level BPE: the bytes, and the end of a document."""


PlainSource = LocalFiles | HubDataset | Packaged | StandardLibrary | Tokenised


@declared
class Mixture:
    """Sources in fixed shares of the tokens: `Mixture((LocalFiles(...), 0.7), (Packaged(...), 0.3))`.

    The only source of its corpus. Each source is a corpus of its own (`Corpus.parts`), with the same tokenizer, which
    mixtures of other shares share. The mixed stream of a split takes their documents in turn, in the order of
    (tokens so far + half the next document) / share, documents above 8,192 tokens in pieces of that: over any slice
    the tokens of a source differ from its share by less than 8,192 (1 + share * sources), and typically by a document.
    The largest difference of any beginning is in the manifest. A stream ends where the first source does.
    """

    parts: tuple[tuple[PlainSource, float], ...]

    def __init__(self, *given: tuple[PlainSource, float], parts: tuple[tuple[PlainSource, float], ...] = ()) -> None:
        object.__setattr__(self, "parts", (*given, *parts))
        self.__post_init__()  # type: ignore[attr-defined]

    def check(self) -> Iterator[Problem]:
        shares = [share for _, share in self.parts]
        if len(shares) < 2:
            yield Problem("parts", self.parts, "two (source, share) or more")
        elif min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
            total = sum(share for share in shares if share > 0) or 1.0
            hint = f"such as {', '.join(f'{max(share, 0) / total:.4g}' for share in shares)}"
            yield Problem("parts", tuple(shares), "shares above 0 that sum to 1", hint=hint)


Source = PlainSource | Mixture


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
        return user_path(self.path)

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
                          hint=hub_hint(self.path) or "transformers' AutoTokenizer writes one by save_pretrained",
                          missing=True)  # fmt: skip
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
    A corpus as `tokenizer` is the tokenizer of that corpus: a BPE can serve other texts.
    """

    sources: tuple[Source, ...]
    tokenizer: BPE | PretrainedTokenizer | Corpus = BPE()
    validation: float = 0.02
    test: float = 0.02
    shuffle_seed: int = 0

    def check(self) -> Iterator[Problem]:
        if not self.sources:
            yield Problem("sources", self.sources, "at least one source")
        for name in ("validation", "test"):
            if not 0 < getattr(self, name) < 0.5:
                yield Problem(name, getattr(self, name), "a share above 0 and below 0.5")
        if not 0 <= self.shuffle_seed < SEEDS:
            yield Problem("shuffle_seed", self.shuffle_seed, f"0 or more, and below {SEEDS:,}")
        if len(self.sources) > 1 and any(isinstance(source, Mixture) for source in self.sources):
            yield Problem("sources", "a Mixture and others", "a Mixture alone: sources=(Mixture(...),)")
        tokenised = [source for source in self.sources if isinstance(source, Tokenised)]
        if tokenised and len(tokenised) < len(self.sources):
            yield Problem("sources", "Tokenised and texts", "Tokenised alone, or texts alone, or a Mixture of them")
        if any(isinstance(source, Tokenised) for source in self.texts) and isinstance(self.own_tokenizer, BPE):
            yield Problem("tokenizer", self.tokenizer, "the PretrainedTokenizer that made the tokens")
        if len({source.validation is None for source in tokenised}) > 1:
            yield Problem("sources", "some with a validation path", "splits that are given by all, or by none")

    @property
    def mixture(self) -> Mixture | None:
        """The mixture that its source is, if it is one."""
        return next((source for source in self.sources if isinstance(source, Mixture)), None)

    @property
    def texts(self) -> tuple[PlainSource, ...]:
        """The sources, those of a mixture in its place."""
        if self.mixture is not None:
            return tuple(source for source, _ in self.mixture.parts)
        return tuple(source for source in self.sources if not isinstance(source, Mixture))

    @property
    def parts(self) -> tuple[Corpus, ...]:
        """The corpora of a mixture's sources, whose held-out slices are each source's own; of others none.

        A BPE is trained on all of the sources, whatever their shares, so that mixtures have the same tokens.
        """
        if self.mixture is None:
            return ()
        return tuple(dataclasses.replace(self, sources=(source,), tokenizer=self._shared) for source in self.texts)

    @property
    def _shared(self) -> PretrainedTokenizer | Corpus:
        """The tokenizer of the parts of a mixture."""
        if isinstance(self.tokenizer, BPE):
            return dataclasses.replace(self, sources=self.texts)
        return self.tokenizer

    @property
    def needs(self) -> tuple[Corpus, ...]:
        """Corpora that are built before it."""
        return self.parts or ((self.tokenizer,) if isinstance(self.tokenizer, Corpus) else ())

    @property
    def own_tokenizer(self) -> BPE | PretrainedTokenizer:
        """The tokenizer itself, where it is that of another corpus."""
        return self.tokenizer.own_tokenizer if isinstance(self.tokenizer, Corpus) else self.tokenizer

    @property
    def bos(self) -> str | None:
        """The token that begins documents."""
        return None if isinstance(self.own_tokenizer, BPE) else self.own_tokenizer.bos

    @property
    def ids(self) -> Corpus | PretrainedTokenizer:
        """The declaration that decides which token an id stands for: a BPE is trained on its corpus."""
        tokenizer = self.tokenizer if self.mixture is None else self._shared
        if isinstance(tokenizer, Corpus):
            return tokenizer.ids
        if isinstance(tokenizer, BPE):
            return self
        return dataclasses.replace(tokenizer, bos=None, eos=None)

    @property
    def label(self) -> str:
        """Its sources in a few words."""
        shares = [f"{share:.0%} " for _, share in self.mixture.parts] if self.mixture is not None else []
        names = [getattr(source, "name", type(source).__name__) for source in self.texts]
        return "+".join(map(str.__add__, shares or [""] * len(names), names))


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
