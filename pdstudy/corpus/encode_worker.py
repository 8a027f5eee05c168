"""`python -m pdstudy.corpus.encode_worker WORK DTYPE BOS`: a process that encodes batches of texts for a build.

Reads lines "SPLIT START STOP" and answers each, in order, with the numbers of documents, tokens and bytes that the
tokens stand for (uint64 each), the documents' lengths (int64) and the ids, little-endian. Ends with its input.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pdstudy.corpus.encode_places import HEADER, encode_places, places_path
from pdstudy.corpus.token_corpus import TOKEN_BYTES, TOKENIZER
from pdstudy.corpus.tokenizer import Encoder


def main(work: Path, dtype: str, bos: str | None) -> None:
    encoder = Encoder(work / TOKENIZER, bos)
    token_bytes = np.load(work / TOKEN_BYTES, allow_pickle=False)
    places: dict[str, npt.NDArray[np.int64]] = {}
    answers = sys.stdout.buffer
    for line in sys.stdin:
        split, start, stop = line.split()
        if split not in places:
            places[split] = np.load(places_path(work, split), mmap_mode="r", allow_pickle=False)
        encoded = encode_places(work, places[split][int(start) : int(stop)], encoder, token_bytes)
        answers.write(HEADER.pack(len(encoded.lengths), len(encoded.ids), encoded.token_bytes))
        answers.write(encoded.lengths.astype("<i8").tobytes())
        answers.write(encoded.ids.astype(np.dtype(dtype).newbyteorder("<")).tobytes())
        answers.flush()


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):  # the build has stopped
        main(Path(sys.argv[1]), sys.argv[2], sys.argv[3] or None)
