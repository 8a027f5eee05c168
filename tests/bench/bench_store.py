"""Bytes, error and speed of the store's codecs on real distributions, beside others' formats. `make bench-store`.

SmolLM2-135M over technical English (`smollm`; the first run takes minutes, later ones find it cached). One run, one
core, blocks of `--block` positions, read `--together` positions at a time, as a micro-batch is. Bytes are per position
and per kept entry: "all" counts every column that a store keeps, "step" what the others have at most: ids, values, tail
and the gold id's log-probability. Speeds are positions per CPU second, decoded into int64 ids and float32 values, the
best of several rounds in which the formats take turns.
An 18-bit vocabulary is stood in by spreading the ids.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import smollm
import torch
from formats import DistillKit, Format, Megatron, Plain

from pdstudy.distill.store.codec import COLUMNS, TAIL, Block, Codec, Encoded, Exact
from pdstudy.distill.store.quantised import Planes, added_kl

T = TypeVar("T")

STATISTICS = {"exact": 12, "small": 6}
"""Bytes per position of log-normaliser, entropy and deviation, which no step's loss at temperature 1 needs."""


@dataclass(frozen=True)
class Contender:
    encode: Callable[[], list[bytes]]
    decode: Callable[[list[bytes], int | None], list[Block]]
    """Of several blocks; what is no format of ours takes one after another."""
    beside: int = 0
    """Bytes of the shard beside its blocks."""


def ours(codec: Codec, given: list[Block], block: int) -> Contender:
    numbering = codec.numbering(given)
    return Contender(
        lambda: [codec.encode(one, numbering) for one in given],
        lambda some, k: [codec.decode([Encoded(np.frombuffer(data, np.uint8), numbering) for data in some], block, k)],
        beside=4 * len(numbering.first),
    )


def theirs(format: Format, given: list[Block], block: int, k: int) -> Contender:
    return Contender(
        lambda: [format.encode(one) for one in given],
        lambda some, _: [format.decode(data, block, k) for data in some],
    )


def blocks(tokens: int, k: int, spread: int, block: int) -> list[Block]:
    """The first `k` entries of real distributions; ids are multiplied by `spread`."""
    data = {name: value[:tokens].numpy() for name, value in smollm.distributions(tokens).items()}
    log_probs = data["log_probs"][:, :k]
    dropped = np.exp(data["log_probs"][:, k:].astype(np.float64)).sum(1)
    columns = np.stack([data[name] for name in COLUMNS])
    columns[TAIL] += dropped.astype(np.float32)
    ids = data["ids"][:, :k].astype(np.int64) * spread
    none = np.zeros((tokens, 0))
    return [
        Block(ids[at:end], log_probs[at:end], columns[:, at:end], none[at:end].astype(np.int64), none[at:end])
        for at in range(0, tokens, block)
        for end in [at + block]
    ]


def table(vocab: int, k: int, given: list[Block], block: int, together: int, rounds: int) -> None:
    powers = (0, 1) if k < 100 else (0, 1, 2, 3, 4)
    contenders = {
        "exact": ours(Exact(vocab=vocab), given, block),
        "small": ours(Planes(vocab=vocab), given, block),
        "fp16 + int32": theirs(Plain(), given, block, k),
        "DistillKit": theirs(DistillKit(vocab, 1 if k < 100 else 16, powers), given, block, k),
    }
    if vocab <= 2**17:
        contenders["Megatron, zstd"] = theirs(Megatron(), given, block, k)
    tokens = block * len(given)
    encoded: dict[str, list[bytes]] = {}
    times: dict[tuple[str, str], float] = {}
    for _ in range(rounds):
        for name, one in contenders.items():
            encoded[name] = _timed(times, (name, "encode"), one.encode)
            for what, cut in (("decode", None), ("to k=12", 12)):
                _timed(times, (name, what), functools.partial(_decode_all, one, encoded[name], together, cut))
    for name, one in contenders.items():
        kl = np.concatenate([added_kl(a, one.decode([data], None)[0]) for a, data in zip(given, encoded[name])])
        size = (one.beside + sum(map(len, encoded[name]))) / tokens
        step = size - STATISTICS.get(name, 0)
        speeds = "".join(f"{tokens / times[name, what] / 1e6:10.2f}" for what in ("encode", "decode", "to k=12"))
        print(
            f"{name:16}{size:10.1f}{size / k:10.2f}{step / k:10.2f}{kl.mean():12.1e}{np.quantile(kl, 0.99):10.1e}"
            f"{speeds if name in STATISTICS else speeds[:-10]}",
            flush=True,
        )


def _decode_all(contender: Contender, encoded: list[bytes], together: int, k: int | None) -> None:
    """So many blocks, dropped before the next are read, as a reader's are: memory that is kept is memory made anew."""
    for at in range(0, len(encoded), together):
        contender.decode(encoded[at : at + together], k)


def _timed(times: dict[tuple[str, str], float], key: tuple[str, str], work: Callable[[], T]) -> T:
    began = time.process_time()
    done = work()
    times[key] = min(times.get(key, float("inf")), time.process_time() - began)
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=32_768)
    parser.add_argument("--block", type=int, default=4096, help="positions of a block: a sequence of the view")
    parser.add_argument("--together", type=int, default=4096, help="positions that are read at a time")
    parser.add_argument("--rounds", type=int, default=4)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    titles = ("B/token", "all B/e", "step B/e", "added KL", "99 %", "encode", "decode", "to k=12")
    for vocab, spread in ((smollm.VOCAB, 1), (2**18, 5)):
        for k in (50, 128):
            print(f"\nvocabulary {vocab:,}, k = {k}, {asked.tokens:,} positions; millions of positions per CPU second")
            print(" " * 16 + "".join(f"{title:>{12 if 'KL' in title else 10}}" for title in titles))
            given = blocks(asked.tokens, k, spread, asked.block)
            table(vocab, k, given, asked.block, max(1, asked.together // asked.block), asked.rounds)


if __name__ == "__main__":
    main()
