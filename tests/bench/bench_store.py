"""Bytes, error and speed of the store's codecs on real distributions. `make bench-store`; `--tokens 8192`.

One run, one core, blocks of 512 positions: bytes per kept entry with everything that is stored beside the entries, the
mean KL divergence added, and positions per CPU second encoded, decoded, and decoded to their first 12 entries. The
plain forms beside it are counted, not timed; the row of Megatron-LM is its layout of 16-bit ids, fp16 values and a byte
for the 17th bit. An 18-bit vocabulary is stood in by spreading the ids.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import smollm

from pdstudy.distill.codec import COLUMNS, TAIL, Block, Codec, Exact
from pdstudy.distill.planes import Planes, added_kl

BLOCK = 512


def blocks(tokens: int, k: int, spread: int) -> list[Block]:
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
        for at in range(0, tokens, BLOCK)
        for end in [at + BLOCK]
    ]


def rate(work: Callable[[], object], tokens: int, repeats: int = 5) -> float:
    """Millions of positions per CPU second, the best of some."""
    best = float("inf")
    for _ in range(repeats):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return tokens / best / 1e6


def report(name: str, codec: Codec, given: list[Block], k: int) -> None:
    tokens = BLOCK * len(given)
    encoded = [np.frombuffer(codec.encode(block), np.uint8) for block in given]
    decoded = [codec.decode(data, BLOCK, None) for data in encoded]
    kl = np.concatenate([added_kl(a, b) for a, b in zip(given, decoded)])
    size = sum(map(len, encoded)) / tokens
    print(
        f"{name:10}{size:10.1f}{size / k:10.2f}{kl.mean():12.1e}{np.quantile(kl, 0.99):10.1e}"
        f"{rate(lambda: [codec.encode(block) for block in given], tokens, 2):10.2f}"
        f"{rate(lambda: [codec.decode(data, BLOCK, None) for data in encoded], tokens):10.2f}"
        f"{rate(lambda: [codec.decode(data, BLOCK, 12) for data in encoded], tokens):10.2f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=32_768)
    tokens = parser.parse_args().tokens
    for vocab, spread in ((smollm.VOCAB, 1), (2**18, 5)):
        for k in (50, 128):
            print(f"\nvocabulary {vocab:,}, k = {k}, {tokens:,} positions; millions of positions per second")
            titles = ("B/token", "B/entry", "  added KL", "99 %", "encode", "decode", "to k=12")
            print(" " * 10 + "".join(f"{title:>{12 if 'KL' in title else 10}}" for title in titles))
            given = blocks(tokens, k, spread)
            report("exact", Exact(vocab=vocab), given, k)
            report("fast", Planes(vocab=vocab, compressed=False), given, k)
            report("small", Planes(vocab=vocab, compressed=True), given, k)
            for name, entry in (("fp16+int32", 6.0), ("Megatron", 5.0)):
                print(f"{name:10}{entry * k:10.1f}{entry:10.2f}")


if __name__ == "__main__":
    main()
