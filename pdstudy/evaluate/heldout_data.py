"""The data of evaluations: stretches of held-out text, or the examples that instructions hold out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pdstudy.config.data import View
from pdstudy.config.evaluation import Evaluation, HeldoutResponses, corpus_of, split_of
from pdstudy.core.errors import ConfigError
from pdstudy.core.identity import fingerprint
from pdstudy.corpus import TokenCorpus, open_corpus
from pdstudy.corpus.batch import Batch, read_batch
from pdstudy.corpus.example_cache import load_packed


@dataclass(frozen=True)
class HeldOut:
    """`count` sequences of a view that are scored; `read` makes a batch of those with the given numbers (from 0).

    `described` are the columns of evals.jsonl that identify it.
    """

    view: View
    corpus: TokenCorpus
    count: int
    read: Callable[[npt.NDArray[np.int64]], Batch]
    described: dict[str, object]


def held_out(evaluation: Evaluation, view: View, corpus: TokenCorpus) -> HeldOut:
    """The sequences that `evaluation` scores of a run with this view, ready to be read.

    Raises `ConfigError` where the corpus has no such slice, and on examples that cannot be read.
    """
    described: dict[str, object] = {"eval": fingerprint(evaluation), "split": split_of(evaluation)}
    if isinstance(evaluation, HeldoutResponses):
        # Examples are packed at random: none may see its neighbours, or the loss would depend on who they are.
        view = dataclasses.replace(view, documents="respect")
        examples = load_packed(evaluation.instructions, corpus, view, held_out=True)
        count = min(len(examples), max(1, evaluation.tokens // view.context))
        return HeldOut(view, corpus, count, lambda rows: examples.batch(view, rows), described)
    other = corpus_of(evaluation)
    if other is not None:
        corpus = _open_other(fingerprint(other), corpus)
    sequences = _sequences(evaluation, view, corpus)
    stream = corpus.stream(evaluation.data.split)
    described["slice"] = [sequences.start * view.context, sequences.stop * view.context]
    return HeldOut(
        view, corpus, len(sequences), lambda rows: read_batch(stream, view, sequences.start + rows), described
    )


def _open_other(key: str, corpus: TokenCorpus) -> TokenCorpus:
    """Open another corpus, which lies beside that of the run in a workspace. Raises `ConfigError` on other tokens."""
    other = open_corpus(corpus.directory.parent / key)
    if other.tokenizer_hash != corpus.tokenizer_hash:
        raise ConfigError(f"{other.directory} has another tokenizer than {corpus.directory}: its losses are of other "
                          f"tokens; evaluate a corpus of the same tokenizer")  # fmt: skip
    return other


def _sequences(heldout: Evaluation, view: View, corpus: TokenCorpus) -> range:
    """The whole sequences of the view inside the held-out slice."""
    assert not isinstance(heldout, HeldoutResponses)
    part = heldout.data
    length = len(corpus.stream(part.split))
    if part.stop + 1 > length:
        raise ConfigError(
            f"evaluation: found {part.split} [{part.start}, {part.stop}); allowed: at most {length - 1} predictions, "
            f"which is what the corpus's {part.split} split holds"
        )
    sequences = view.sequences(part)
    if part.start % view.context or not sequences:
        raise ConfigError(
            f"evaluation: found {part.split} [{part.start}, {part.stop}); allowed: a start that is a multiple of the "
            f"context, {view.context}, and at least that many tokens"
        )
    return sequences
