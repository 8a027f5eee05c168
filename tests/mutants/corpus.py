"""Slips in corpus."""

from __future__ import annotations

from tests.mutants.slip import Slip

BUILDS = "tests/corpus/test_build.py tests/corpus/test_interrupted_build.py tests/corpus/test_damaged_corpus.py"
"""Tests of building a corpus."""

SLIPS = (
    Slip(
        "pdstudy/corpus/build.py",
        "if not text or text.isspace():",
        "if not text:",
        f"tests/corpus/test_tokenizer.py {BUILDS}",
    ),
    Slip(
        "pdstudy/corpus/encode_places.py",
        "int(token_bytes[ids].sum())",
        "len(ids)",
        f"tests/corpus/test_tokenizer.py {BUILDS}",
    ),
    Slip(
        "pdstudy/corpus/encode.py",
        "min(max(stop, at + 1), at + BATCH_DOCUMENTS)",
        "max(stop, at + 1)",
        f"tests/corpus/test_tokenizer.py {BUILDS}",
    ),
    Slip(
        "pdstudy/corpus/build.py",
        "len(index) - int(index.unique.sum())",
        "int(index.unique.sum())",
        f"tests/corpus/test_tokenizer.py {BUILDS}",
    ),
    Slip(
        "pdstudy/corpus/spool.py",
        "(place >= low) & (place < high)",
        "(place > low) & (place <= high)",
        "tests/corpus/test_spool.py",
        harmless="another split only for a hash that equals an edge to the last of its bits",
    ),
    Slip(
        "pdstudy/corpus/spool.py",
        "second ^ _seed_word(seed)",
        "second",
        "tests/corpus/test_spool.py",
    ),
    Slip(
        "pdstudy/corpus/spool.py",
        "while len(parts) < length:",
        "if length:",
        f"tests/corpus/test_tokenizer.py {BUILDS}",
    ),
    Slip(
        "pdstudy/corpus/stream.py",
        'self._edges, start, side="right")) - 1',
        'self._edges, start, side="left")) - 1',
        f"tests/corpus/test_tokenizer.py {BUILDS}",
        harmless="a position between two is read from the end of the first, where nothing is left of that",
    ),
    Slip(
        "pdstudy/corpus/stream.py",
        "np.searchsorted(self._offsets[:-1], [start, stop])",
        "np.searchsorted(self._offsets, [start, stop])",
        f"tests/corpus/test_tokenizer.py {BUILDS}",
    ),
    Slip("pdstudy/corpus/batch.py", "begins[:, 0] = 0  #", "pass  #", "tests/corpus tests/train/test_loader.py"),
    Slip(
        "pdstudy/corpus/batch.py",
        "places % len(sequences)",
        "np.minimum(places, len(sequences) - 1)",
        "tests/corpus tests/train/test_online_logits.py",
    ),
    Slip(
        "pdstudy/corpus/tokenizer.py",
        "self._tokenizer.encode_special_tokens = True",
        "pass",
        f"tests/corpus/test_tokenizer.py {BUILDS}",
    ),
    Slip(
        "pdstudy/corpus/tokenizer.py",
        "self._tokenizer.no_truncation()",
        "pass",
        f"tests/corpus/test_tokenizer.py {BUILDS}",
    ),
    Slip("pdstudy/corpus/tokenizer.py", '0 if added["special"] else', "", "tests/corpus"),
    Slip(
        "pdstudy/corpus/tokenizer.py",
        "max(self._tokenizer.get_vocab().values()) + 1",
        "len(self._tokenizer.get_vocab())",
        "tests/corpus",
    ),
    Slip("pdstudy/corpus/token_corpus.py", 'if stat.st_size != expected["bytes"]:', "if False:", "tests/corpus"),
    Slip("pdstudy/corpus/examples.py", "room -= size", "room -= size + 1", "tests/train/test_instructions.py"),
    Slip(
        "pdstudy/corpus/examples.py",
        "numbers[row, at:] = len(members)",
        "pass",
        "tests/train/test_instructions.py tests/train/test_responses.py",
    ),
    Slip(
        "pdstudy/corpus/examples.py",
        "np.where(scored[1:], ids[1:], IGNORED)",
        "np.where(scored[:-1], ids[1:], IGNORED)",
        "tests/train/test_instructions.py",
    ),
    Slip(
        "pdstudy/corpus/bad_rows.py",
        "self.count > self._limit * self.rows",
        "self.count >= self._limit * self.rows",
        "tests/corpus/test_text_files.py",
    ),
    Slip(
        "pdstudy/corpus/file_rows.py",
        'self._packed = self._frame.unused_data if self._frame.eof else b""',
        'self._packed = b""',
        "tests/corpus/test_text_files.py",
    ),
    Slip(
        "pdstudy/corpus/file_rows.py",
        "complete = end < len(buffer)",
        "complete = True",
        "tests/corpus/test_text_files.py",
    ),
    Slip(
        "pdstudy/corpus/stream.py",
        'self._offsets, start, side="right")) - 1',
        'self._offsets, start, side="left")) - 1',
        "tests/corpus/test_tokenised.py",
        harmless="a position between two is read from the end of the first, where nothing is left of that",
    ),
    Slip(
        "pdstudy/corpus/stream.py",
        "if stored < high <= stop:",
        "if high <= stop:",
        "tests/corpus/test_tokenised.py",
    ),
    Slip(
        "pdstudy/corpus/mixture_build.py",
        "(np.cumsum(each) - each / 2) / share",
        "np.cumsum(each) / share",
        "tests/corpus/test_mixture.py",
    ),
    Slip(
        "pdstudy/corpus/tokenised_build.py",
        "same < LEAST_SAME * total",
        "same < 0",
        "tests/corpus/test_tokenised.py",
    ),
    Slip(
        "pdstudy/corpus/token_files.py",
        "before[edges[1:]] - before[edges[:-1]]",
        "lengths[edges[:-1]].astype(np.int64)",
        "tests/corpus/test_tokenised.py",
    ),
    Slip(
        "pdstudy/corpus/stream.py",
        "8 * self.documents",
        "0",
        BUILDS,
    ),
    Slip(
        "pdstudy/corpus/encode.py",
        "saved = at\n",
        "pass\n",
        BUILDS,
        harmless="what is encoded is then kept more often",
    ),
    Slip("pdstudy/corpus/word_cache.py", r"(?= [A-Za-z])", r"(?=[A-Za-z])", "tests/corpus/test_tokenizer.py"),
    Slip("pdstudy/corpus/word_cache.py", "(?![^{_S}])", "", "tests/corpus/test_tokenizer.py"),
)
