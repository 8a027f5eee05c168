"""The tokenizer of a corpus: trained here or copied from a transformers folder, and the bytes of its tokens."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from pdstudy.config.data import EOS, PretrainedTokenizer
from pdstudy.config.tokenizer_file import TOKENIZER_FILES, name_tokens, named_token
from pdstudy.core.errors import ConfigError
from pdstudy.corpus.word_cache import word_cache


def train_bpe(texts: Iterator[str], vocab: int, folder: Path) -> None:
    """Train a byte-level BPE of at most `vocab` entries and save it as transformers reads it.

    The smallest entries are `EOS` (id 0) and the 256 bytes, so that any text has tokens. The same texts in the same
    order give the same files. Short texts may hold fewer merges: the vocabulary is then smaller.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab, special_tokens=[EOS], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    # No model_max_length: transformers then leaves the limit to the model's configuration.
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": EOS, "clean_up_tokenization_spaces": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


def copy_pretrained(tokenizer: PretrainedTokenizer, folder: Path) -> None:
    """Copy the tokenizer of a local transformers folder, with the ends of documents that are declared.

    Raises `ConfigError` where there is no fast tokenizer.
    """
    source = tokenizer.folder
    if not (source / "tokenizer.json").is_file():
        raise ConfigError(
            f"{source} has no tokenizer.json; load it once with transformers' AutoTokenizer and save_pretrained it"
        )
    folder.mkdir()
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    if tokenizer.eos is not None:
        name_tokens(folder, {"eos_token": tokenizer.eos})
    if tokenizer.bos is not None:
        name_tokens(folder, {"bos_token": tokenizer.bos, "add_bos_token": True})


class Encoder:
    """Text to token ids: the token that begins documents, if any, a document's own ids, the one that ends it.

    A special token's name inside a text is text: it is cut into ordinary tokens, so that no document can forge an
    end of document.
    """

    def __init__(self, folder: Path, bos: str | None = None) -> None:
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True
        eos = named_token(folder, "eos_token")
        if eos is None:
            names = " or ".join(TOKENIZER_FILES[1:])
            raise ConfigError(
                f"{folder} names no eos_token in {names}; documents need an end: PretrainedTokenizer(..., eos=...)"
            )
        self.eos: int = self._id(eos, "end-of-document", folder)
        self.bos_name = bos
        self.bos: int | None = None if bos is None else self._id(bos, "beginning-of-document", folder)
        named = bos or named_token(folder, "bos_token")
        self.named_bos: int | None = None if named in (None, eos) else self._tokenizer.token_to_id(named)
        self.vocab: int = max(self._tokenizer.get_vocab().values()) + 1
        self._begin, self._end = (
            b"" if number is None else np.array([number], dtype="<u4").tobytes() for number in (self.bos, self.eos)
        )
        self._words = word_cache(self._tokenizer)

    def _id(self, token: str, role: str, folder: Path) -> int:
        number: int | None = self._tokenizer.token_to_id(token)
        if number is None:
            raise ConfigError(f"{folder}: the {role} token {token!r} is not in tokenizer.json's vocabulary")
        return number

    def encode(self, texts: Sequence[str]) -> list[npt.NDArray[np.uint32]]:
        """Token ids of each text, those that begin and end a document included."""
        if self._words is not None:
            bodies = [self._words.encode(text) for text in texts]
        else:
            encoded = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
            bodies = [np.array(encoding.ids, dtype="<u4").tobytes() for encoding in encoded]
        return [np.frombuffer(b"".join([self._begin, body, self._end]), dtype="<u4") for body in bodies]

    def body(self, text: str) -> npt.NDArray[np.int64]:
        """Token ids of a text alone."""
        return np.array(self._tokenizer.encode(text, add_special_tokens=False).ids, dtype=np.int64)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens; special tokens are left out."""
        text: str = self._tokenizer.decode(list(ids))
        return text

    def token_bytes(self) -> npt.NDArray[np.int32]:
        """int32 [vocab]: the UTF-8 bytes that each id stands for, 0 for special tokens and unused ids.

        Exact where the tokenizer keeps text as it is (byte-level BPE; SentencePiece with byte fallback, but for the
        space that it may put in front); for others it counts what a token is decoded to.
        """
        state = json.loads(self._tokenizer.to_str())
        kinds = _decoder_kinds(state.get("decoder"))
        out = np.zeros(self.vocab, dtype=np.int32)
        for token, number in self._tokenizer.get_vocab().items():
            if "ByteLevel" in kinds:
                out[number] = len(token)  # one character of the byte alphabet per byte
            elif "ByteFallback" in kinds and re.fullmatch(r"<0x[0-9A-F]{2}>", token):
                out[number] = 1
            elif "ByteFallback" in kinds:
                out[number] = len(token.replace("▁", " ").encode())
            else:
                out[number] = len(self._tokenizer.decode([number]).encode())
        for added in state.get("added_tokens", []):  # kept as written, whatever the decoder
            out[added["id"]] = 0 if added["special"] else len(added["content"].encode())
        return out


def _decoder_kinds(decoder: dict[str, Any] | None) -> set[str]:
    if decoder is None:
        return set()
    return {decoder["type"]}.union(*(_decoder_kinds(inner) for inner in decoder.get("decoders", [])))
