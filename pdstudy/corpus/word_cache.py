"""Encoding by the word: a byte-level BPE encodes each word alone, and texts have few that are not among the last ones.

The tokenizers library cuts texts by GPT-2's pattern with a Unicode regex engine, which is most of its time. Python's
`re` cuts ASCII into the same words ten times as fast, and a dictionary has their ids; new words are encoded by the
tokenizer. Before " x", x a letter of ASCII, there is always a cut: a space goes to the letter after it, whatever stands
before. There texts that are not ASCII are cut, and what holds other characters goes to the tokenizer in one piece.
"""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
from tokenizers import Tokenizer

MOST_WORDS, LONGEST_WORD = 200_000, 64
"""Entries of the cache, some 150 bytes each, and characters of an entry, at most."""


_S = r" \t\n\r\f\v"


WORDS = re.compile(
    rf"'(?:[sdmt]|ll|ve|re)| ?[A-Za-z]+| ?[0-9]+| ?[^{_S}A-Za-z0-9]+|[{_S}]+(?![^{_S}])|[{_S}]+"
)  # fmt: skip
"""GPT-2's pattern over ASCII. Python's own \\s has four control characters more."""


CHUNKS = re.compile(r"(?= [A-Za-z])")


class WordCache(dict[str, bytes]):
    """Ids of words as little-endian uint32, found by `tokenizer` where they are not here."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self._tokenizer = tokenizer

    def __missing__(self, word: str) -> bytes:
        ids = np.array(self._tokenizer.encode(word, add_special_tokens=False).ids, dtype="<u4").tobytes()
        if len(self) < MOST_WORDS and len(word) <= LONGEST_WORD:
            self[word] = ids
        return ids

    def encode(self, text: str) -> bytes:
        """The ids of a text, those that the tokenizer gives it."""
        if text.isascii():
            return b"".join(map(self.__getitem__, WORDS.findall(text)))
        parts: list[bytes] = []
        for chunk in CHUNKS.split(text):
            parts += map(self.__getitem__, WORDS.findall(chunk)) if chunk.isascii() else [self[chunk]]
        return b"".join(parts)


def word_cache(tokenizer: Tokenizer) -> WordCache | None:
    """A cache for a tokenizer that encodes words alone, as GPT-2's and those that are trained here do; else None."""
    state: dict[str, Any] = json.loads(tokenizer.to_str())
    cut = state["pre_tokenizer"] or {}
    alone = (
        state["normalizer"] is None
        and state["model"]["type"] == "BPE"
        and not state["model"].get("dropout")
        and cut.get("type") == "ByteLevel"
        and cut.get("use_regex", True)
        and not cut.get("add_prefix_space")
        and all(token["special"] for token in state["added_tokens"])
    )
    return WordCache(tokenizer) if alone else None
