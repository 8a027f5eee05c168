"""A model's transformers folder: its identity, and the problems that its files show before anything is loaded."""

from __future__ import annotations

import dataclasses
import functools
import glob
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pdstudy.config.data import BPE, EOS, LEAST_BPE, Corpus, PretrainedTokenizer, View
from pdstudy.config.model import Shape, Student
from pdstudy.config.tokenizer_file import TOKENIZER_FILES, hub_hint
from pdstudy.core.files import content_hash, content_or_name, read_json, user_path
from pdstudy.core.validation import Problem


def model_identity(path: str) -> str:
    """The hash of a folder's weights, config.json and tokenizer; its name where it holds none of them.

    Not of a README, `.cache/` or `generation_config.json`, nor of weights in other forms beside those that are loaded.
    """
    folder = user_path(path)
    weights = folder / "model.safetensors"
    shards = sorted({*_indexed_weights(folder)}) or [file.name for file in folder.glob("*.safetensors")]
    names = [weights.name] if weights.is_file() else shards
    files = [str(folder / name) for name in ("config.json", *TOKENIZER_FILES, *names) if (folder / name).is_file()]
    return content_hash(map(glob.escape, files)) if files else content_or_name((path,))


def earlier_identity(path: str) -> str:
    """The hash of everything in a folder, which was a model's identity until it was `model_identity`."""
    return content_or_name((path,))


def _indexed_weights(folder: Path) -> Iterator[str]:
    index = read_json(folder / "model.safetensors.index.json", "save the model there again") or {}
    yield from index.get("weight_map", {}).values()


def check_weights(path: str) -> Iterator[Problem]:
    """A folder that is not there, or holds no weights that pdstudy reads."""
    folder = user_path(path)
    if not (folder / "config.json").is_file():
        yield Problem("path", path, "a transformers folder, with config.json and weights",
                      hint=hub_hint(path) or f"from {Path.cwd()}", missing=True)  # fmt: skip
    elif not any(folder.glob("*.safetensors")):
        pickled = sorted(file.name for file in folder.glob("*.bin"))
        yield Problem("path", path, "a folder with weights in *.safetensors",
                      hint=f"it has {pickled[0]}: load it once and save_pretrained it" if pickled
                      else "save_pretrained writes them")  # fmt: skip


def check_shape(path: str, shape: Shape) -> Iterator[Problem]:
    """Where a shape that is to price a folder's model is not its own, as far as its config says."""
    config = read_text_config(path) or {}
    for name, key in (("width", "hidden_size"), ("layers", "num_hidden_layers"), ("vocab", "vocab_size")):
        said, there = getattr(shape, name), config.get(key, getattr(shape, name))
        if said != there:
            yield Problem(f"shape.{name}", said, f"the folder's {key}, {there}")


def check_folder(path: str, corpus: Corpus, view: View) -> Iterator[Problem]:
    """Why the model in a folder cannot read a corpus in sequences of a view. Fields are those of the model."""
    config = read_text_config(path)
    if config is None:
        return
    longest = config.get("max_position_embeddings")
    if isinstance(longest, int) and longest < view.context:
        yield Problem("path", path, f"a model that reads the view's {view.context} tokens", hint=f"it reads {longest}")
    rows, ids = config.get("vocab_size"), _least_ids(path, corpus)
    if isinstance(rows, int) and rows < ids:
        yield Problem("path", path, f"a model with a row for each of the tokenizer's {ids} ids", hint=f"it has {rows}")
        return
    yield from _check_tokenizer(path, corpus)


def check_start(path: str, student: Student, corpus: Corpus) -> Iterator[Problem]:
    """Why the weights in a folder cannot be those of a student, as far as its config says, or mean other tokens."""
    config = read_text_config(path)
    if config is None:
        return
    plain = {} if not isinstance(student, Shape) else dataclasses.replace(student, parametrisation=None).multipliers
    for key, ours in _settings(student).items():
        theirs = config.get(key, plain.get(key, ours))
        if theirs is not None and theirs != ours:
            yield Problem("path", path, f"a model of the student's shape, {key} {ours}", hint=f"it has {theirs}")
    rows, ids = config.get("vocab_size"), _least_ids(path, corpus)
    if isinstance(rows, int) and (rows > student.vocab or (rows != student.vocab and rows < ids)):
        yield Problem("path", path, f"a model of {ids} to {student.vocab} rows", hint=f"it has {rows}")
    yield from _check_tokenizer(path, corpus)


def _least_ids(path: str, corpus: Corpus) -> int:
    """Ids that the corpus has at least. A BPE of few texts is smaller than declared: it has the model's, if any."""
    if isinstance(corpus.own_tokenizer, PretrainedTokenizer):
        return corpus.own_tokenizer.vocab or 0
    theirs = _tokens(user_path(path) / TOKENIZER_FILES[0]) if has_tokenizer(path) else None
    return max(LEAST_BPE, 0 if theirs is None else theirs[0])


def _settings(student: Student) -> dict[str, Any]:
    """The shape of a student in the words of a transformers config."""
    if not isinstance(student, Shape):
        return {}
    return {
        "hidden_size": student.width,
        "num_hidden_layers": student.layers,
        "num_attention_heads": student.heads,
        "num_key_value_heads": student.query_groups,
        "head_dim": student.dim_per_head,
        "intermediate_size": student.ffn,
        "rms_norm_eps": student.norm_eps,
        "tie_word_embeddings": student.tied,
        **student.multipliers,
    }


def _check_tokenizer(path: str, corpus: Corpus) -> Iterator[Problem]:
    theirs = user_path(path) / TOKENIZER_FILES[0]
    if theirs.is_file() and not _may_share(corpus.own_tokenizer, theirs):
        yield Problem("path", path, "a model with the corpus's tokenizer",
                      hint=f"tokenize the corpus with the model's: PretrainedTokenizer(path={path!r})")  # fmt: skip


def read_text_config(path: str) -> Mapping[str, Any] | None:
    """The part of a folder's config that is about its language model; None where it is not here."""
    config = read_json(user_path(path) / "config.json", "save the model there again")
    return None if config is None else config.get("text_config") or config


def has_tokenizer(path: str) -> bool:
    return (user_path(path) / TOKENIZER_FILES[0]).is_file()


def same_ids(one: Path, other: Path) -> bool:
    """Whether two tokenizer.json give each token the same id; true where one of them cannot be read as such."""
    mine, theirs = _tokens(one), _tokens(other)
    return mine is None or theirs is None or mine[1] == theirs[1]


def _may_share(tokenizer: BPE | PretrainedTokenizer, theirs: Path) -> bool:
    """Whether the tokenizer of a corpus can be that of a file. A BPE is trained later; its first id is known."""
    if isinstance(tokenizer, PretrainedTokenizer):
        mine = user_path(tokenizer.path) / TOKENIZER_FILES[0]
        return not mine.is_file() or same_ids(mine, theirs)
    tokens = _tokens(theirs)
    return tokens is None or (tokens[0] <= tokenizer.vocab and tokens[2] == EOS)


def _tokens(file: Path) -> tuple[int, str, str] | None:
    status = file.stat()
    return _read_tokens(file, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=8)
def _read_tokens(file: Path, size: int, changed: int) -> tuple[int, str, str] | None:
    """Number of ids, a hash of tokens and ids, and the token of id 0 in a tokenizer.json: megabytes, so read once."""
    try:
        content = json.loads(file.read_text())
        entries = content["model"]["vocab"]
        ids = dict(entries) if isinstance(entries, dict) else {entry[0]: i for i, entry in enumerate(entries)}
        ids |= {token["content"]: token["id"] for token in content.get("added_tokens", ())}
        listed = sorted((number, token) for token, number in ids.items())
        return 1 + listed[-1][0], hashlib.sha256(json.dumps(listed).encode()).hexdigest(), listed[0][1]
    except (ValueError, KeyError, TypeError, IndexError):
        return None
