"""Building a corpus of N MB of Python source: `make bench-corpus`, or this file with `--megabytes N --vocab V`.

Prints MB/s of encoding, and of whole builds, by the tokenizers library and its threads in one process, as all corpora
were encoded before; by one process with its cache of words; and by as many as there are cores; beside them MB per
second of processor time, which other work on the machine changes less, and the peak memory of the building process.
Says whether all wrote the same bytes. The ways take turns, in processes of their own.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import resource
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pdstudy.config.data import BPE, Corpus
from pdstudy.config.text_sources import LocalFiles
from pdstudy.corpus import build, encode, tokenizer

PIECE = 4000
"""Characters of a document."""


def write_texts(path: Path, size: int) -> None:
    """Write documents of about `size` bytes in all, out of the installed packages, over again where they end."""
    sources = sorted(Path(sysconfig.get_paths()["purelib"]).rglob("*.py"))
    written = turn = 0
    with path.open("w") as file:
        while written < size:
            for source in sources:
                try:
                    text = source.read_text()
                except (UnicodeDecodeError, OSError):
                    continue
                for at in range(0, len(text), PIECE):
                    file.write(json.dumps({"text": f"# {turn}\n{text[at : at + PIECE]}"}) + "\n")
                written += len(text)
                if written >= size:
                    break
            turn += 1


def measure(path: Path, vocab: int, words: bool, processes: int, target: Path, queue: Any) -> None:
    """Build once; send seconds of encoding and of all, processor seconds of each, a hash of the bytes, megabytes."""
    took: list[float] = []
    builder = sys.modules["pdstudy.corpus.build"]
    real: Callable[..., dict[str, Any]] = encode.encode_splits

    def timed(*arguments: Any) -> dict[str, Any]:
        began = time.perf_counter(), _processor_seconds()
        splits = real(*arguments, processes=processes)
        took.extend((time.perf_counter() - began[0], _processor_seconds() - began[1]))
        return splits

    builder.encode_splits = timed  # type: ignore[attr-defined]
    if not words:
        tokenizer.word_cache = lambda _: None  # type: ignore[assignment]
    began = time.perf_counter(), _processor_seconds()
    corpus = Corpus(sources=(LocalFiles(paths=(str(path),)),), tokenizer=BPE(vocab=vocab, sample_bytes=5_000_000))
    build(corpus, target)
    took += [time.perf_counter() - began[0], _processor_seconds() - began[1]]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    digest = hashlib.sha256()
    for file in sorted(target.glob("tokens-train-*")):
        digest.update(file.read_bytes())
    queue.put((took, digest.hexdigest(), peak))


def _processor_seconds() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=40)
    parser.add_argument("--vocab", type=int, default=8192)
    parser.add_argument("--turns", type=int, default=2)
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "texts.jsonl"
        write_texts(path, args.megabytes * 10**6)
        cores, digests = encode._cores(), set()
        ways = [("tokenizers", False, 0), ("words", True, 0), (f"words, {cores} processes", True, cores)]
        for turn in range(args.turns):
            for number, (name, words, processes) in enumerate(ways):
                queue = context.Queue()
                target = Path(folder) / f"{turn}-{number}"
                child = context.Process(target=measure, args=(path, args.vocab, words, processes, target, queue))
                child.start()
                took, digest, peak = queue.get()
                child.join()
                digests.add(digest)
                encoding, encoding_cpu, whole, whole_cpu = (args.megabytes / seconds for seconds in took)
                print(f"{name:>20}: encoding {encoding:5.1f} MB/s ({encoding_cpu:5.1f} a processor second), "
                      f"whole {whole:5.1f} ({whole_cpu:5.1f}), {peak:.0f} MB", flush=True)  # fmt: skip
        print("the same bytes" if len(digests) == 1 else "DIFFERENT BYTES")


if __name__ == "__main__":
    main()
