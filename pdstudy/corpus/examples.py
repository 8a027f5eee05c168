"""Examples of instructions as token sequences, packed to the context of a view, with targets on responses alone."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pdstudy.config.data import View
from pdstudy.config.instructions import Definitions, Instructions, LocalExamples
from pdstudy.config.text_files import find_text_files, kind_of
from pdstudy.core.errors import ConfigError
from pdstudy.corpus import pinned_sources as packages
from pdstudy.corpus.bad_rows import BadRow, BadRows
from pdstudy.corpus.batch import IGNORED, Batch
from pdstudy.corpus.file_rows import read_rows
from pdstudy.corpus.permutation import order
from pdstudy.corpus.token_corpus import TokenCorpus

Messages = list[dict[str, str]]
Example = tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]
"""Token ids, and which of them are scored as targets."""


@dataclass(frozen=True)
class Packed:
    """Sequences of whole examples, [S, T] each: inputs, targets (`IGNORED` but for responses), example numbers.

    An example begins where another ended, its first token is nobody's target, and the rest of a sequence is the end
    token, unscored. `left_out` counts the examples that are not here, by reason.
    """

    inputs: npt.NDArray[np.int32]
    targets: npt.NDArray[np.int32]
    examples: npt.NDArray[np.int32]
    left_out: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.inputs)

    def batch(self, view: View, rows: npt.NDArray[np.int64]) -> Batch:
        """Make a batch of some rows; attention keeps to an example where the view respects documents."""
        documents = self.examples[rows] if view.documents == "respect" else None
        inputs, targets = (array[rows].astype(np.int64) for array in (self.inputs, self.targets))
        return Batch(inputs, targets, documents, np.full(len(rows), -1, dtype=np.int64))


def step_rows(packed: Packed, seed: int, step: int, count: int) -> npt.NDArray[np.int64]:
    """The `count` sequences that step `step` (0-based) reads: a shuffle per epoch, a function of (seed, step) alone."""
    return order(seed, len(packed), step * count, count)


def concatenate(first: Batch, second: Batch) -> Batch:
    """Concatenate the sequences of two batches of one view."""
    documents = None
    if first.documents is not None and second.documents is not None:
        documents = np.concatenate([first.documents, second.documents])
    return Batch(
        np.concatenate([first.inputs, second.inputs]),
        np.concatenate([first.targets, second.targets]),
        documents,
        np.concatenate([first.sequences, second.sequences]),
    )


def pack(instructions: Instructions, corpus: TokenCorpus, view: View, *, held_out: bool = False) -> Packed:
    """Tokenize and pack all examples of one side of the split, one after another in the order of their hashes.

    Those in whose texts a special token is named are left out: the template's own special tokens are made of names,
    too, so that such a text would forge an end of document.

    Raises `ConfigError` on examples that cannot be read, and where none is left.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(corpus.tokenizer_dir, trust_remote_code=False)
    special = [re.escape(token.content) for token in tokenizer.added_tokens_decoder.values() if token.special]
    forged = re.compile("|".join(special) if special else "(?!)")
    kept: dict[int, Messages] = {}
    left_out: Counter[str] = Counter()
    for messages in read_examples(instructions, left_out):
        if any(forged.search(text) for message in messages for text in message.values()):
            left_out["with a special token's name in the text"] += 1
            continue
        text = json.dumps(messages, sort_keys=True, ensure_ascii=False).encode()
        place = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())
        if (place < instructions.validation * 2**64) == held_out:
            kept[place] = messages
    chosen = [kept[place] for place in sorted(kept)]
    whole: list[Example] = []
    for ids, scored in _encode(chosen, tokenizer, instructions):
        if corpus.bos is not None and ids[0] != corpus.bos:
            ids, scored = np.append(corpus.bos, ids), np.append(False, scored)
        if len(ids) > view.context + 1:  # the last token is a target only
            left_out["longer than the context"] += 1
        elif not scored[1:].any():
            left_out["without a response"] += 1
        else:
            whole.append((ids, scored))
    if not whole:
        reasons = "".join(f", {count:,} {reason}" for reason, count in left_out.items())
        raise ConfigError(
            f"instructions: no example of {len(chosen):,} can be learned at a context of {view.context:,} tokens"
            f"{reasons}"
        )
    return replace(_fill_rows(whole, view.context, corpus.eos), left_out=dict(left_out))


def _encode(chosen: list[Messages], tokenizer: Any, instructions: Instructions) -> Iterator[Example]:
    for first in range(0, len(chosen), 1000):
        made = tokenizer.apply_chat_template(
            chosen[first : first + 1000], chat_template=instructions.template, tokenize=True, return_dict=True,
            return_assistant_tokens_mask=True,
        )  # fmt: skip
        for ids, mask in zip(made["input_ids"], made["assistant_masks"], strict=True):
            yield np.array(ids, dtype=np.int64), np.array(mask, dtype=bool)


def _fill_rows(examples: list[Example], context: int, eos: int) -> Packed:
    rows: list[list[Example]] = [[]]
    room = context
    for example in examples:
        size = len(example[0]) - 1  # the last token is a target only
        if size > room:
            rows.append([])
            room = context
        rows[-1].append(example)
        room -= size
    inputs = np.full((len(rows), context), eos, dtype=np.int32)
    targets = np.full((len(rows), context), IGNORED, dtype=np.int32)
    numbers = np.zeros((len(rows), context), dtype=np.int32)
    for row, members in enumerate(rows):
        at = 0
        for number, (ids, scored) in enumerate(members):
            part = slice(at, at + len(ids) - 1)
            inputs[row, part] = ids[:-1]
            targets[row, part] = np.where(scored[1:], ids[1:], IGNORED)
            numbers[row, part] = number
            at = part.stop
        numbers[row, at:] = len(members)
    return Packed(inputs, targets, numbers)


def read_examples(instructions: Instructions, left_out: Counter[str] | None = None) -> Iterator[Messages]:
    """Read the conversations of every source, in order; those that cannot be learned are counted in `left_out`.

    Raises `ConfigError` with file and row where one is malformed.
    """
    for source in instructions.sources:
        if isinstance(source, Definitions):
            yield from _definitions(source)
        else:
            yield from _local(source, Counter() if left_out is None else left_out)


def _definitions(source: Definitions) -> Iterator[Messages]:
    for title, text in packages.documents(source.name):
        body = text.partition("\n\n" if source.name == "wikipedia-leads" else "\n")[2].strip()
        if body:
            yield _make_exchange(f"Define {title}.", body.partition("\n")[0])


def _local(source: LocalExamples, left_out: Counter[str]) -> Iterator[Messages]:
    bad = BadRows(source)
    for path in [path for pattern in source.paths for path in find_text_files(pattern)]:
        kind = kind_of(path) or ".jsonl"
        for row in read_rows(path, kind.replace(".txt", ".jsonl")):
            bad.rows += 1
            if isinstance(row, BadRow):
                bad.add(row)
                continue
            try:
                yield _messages(row[1])
            except _NotLearnable as reason:
                left_out[str(reason)] += 1
            except (ValueError, KeyError, TypeError) as error:
                detail = (
                    f'found {type(error).__name__} {error}; each row must be {{"messages": [{{"role": ..., "content": '
                    f'...}}, ...]}} or {{"prompt": ..., "response": ...}}'
                )
                bad.add(BadRow(row[0], "no conversation", detail))
    bad.check()


class _NotLearnable(Exception):
    """Why a conversation is left out."""


def _messages(row: Any) -> Messages:
    if "messages" in row:
        messages = [{"role": _role(m["role"]), "content": _content(m["content"])} for m in row["messages"]]
    else:
        messages = _make_exchange(_content(row["prompt"]), _content(row["response"]))
    responses = [message["content"] for message in messages if message["role"] == "assistant"]
    if not responses or not all(map(str.strip, responses)):
        raise _NotLearnable("without a response")
    return messages


def _role(role: Any) -> str:
    if not isinstance(role, str):
        raise TypeError(f"a role that is {type(role).__name__}")
    return role


def _content(content: Any) -> str:
    """A message's text; the texts of a list of parts, joined."""
    if content is None:
        raise _NotLearnable("with a content that is null")
    if isinstance(content, list):
        if any(not isinstance(part, dict) or not isinstance(part.get("text"), str) for part in content):
            raise _NotLearnable("with a content that is no text")
        return "".join(part["text"] for part in content)
    if not isinstance(content, str):
        raise TypeError(f"a content that is {type(content).__name__}")
    return content


def _make_exchange(prompt: str, response: str) -> Messages:
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
