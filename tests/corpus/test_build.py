"""What is built is whole, repeatable, checked, and the same however it is stored."""

import hashlib
import itertools
import json
import multiprocessing
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from pdstudy.config.data import BPE, Corpus, PretrainedTokenizer
from pdstudy.config.text_sources import LocalFiles, StandardLibrary
from pdstudy.core.errors import ConfigError
from pdstudy.corpus import TokenCorpus, build, encode, open_corpus
from pdstudy.corpus.sources import documents
from pdstudy.corpus.spool import Spool
from pdstudy.corpus.stream import StreamWriter, TokenStream
from pdstudy.corpus.tokenizer import Encoder
from tests.corpus.small import files, small

Messages = Any
"""A queue of the spawn context."""


def test_two_builds_are_equal_byte_for_byte(tmp_path: Path) -> None:
    corpus = small(tmp_path / "text")
    build(corpus, tmp_path / "a")
    build(corpus, tmp_path / "b")
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b", "text"]


def test_building_again_does_nothing_and_another_corpus_is_refused(tmp_path: Path) -> None:
    corpus = small(tmp_path / "text")
    build(corpus, tmp_path / "a")
    before = (tmp_path / "a/manifest.json").stat().st_mtime_ns
    build(corpus, tmp_path / "a")
    assert (tmp_path / "a/manifest.json").stat().st_mtime_ns == before
    with pytest.raises(ConfigError, match=r"holds corpus .* move it away"):
        build(small(tmp_path / "other", documents=299), tmp_path / "a")


def test_progress_rises_to_one(tmp_path: Path) -> None:
    seen: list[tuple[str, float]] = []
    build(small(tmp_path / "text"), tmp_path / "a", lambda what, share: seen.append((what, share)))
    shares = [share for _, share in seen]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    stages = [what.split(":")[0] for what, _ in seen]
    wanted = ["read LocalFiles", "tokenizer", "tokens of train", "tokens of validation", "tokens of test", "done"]
    assert list(dict.fromkeys(stages)) == wanted


def test_duplicates_are_dropped_and_counted(tmp_path: Path) -> None:
    corpus = small(tmp_path / "text")
    build(corpus, tmp_path / "once")
    path = tmp_path / "text/rows.jsonl"
    path.write_text(path.read_text() * 3)
    build(small_again(corpus), tmp_path / "thrice")
    once, thrice = open_corpus(tmp_path / "once"), open_corpus(tmp_path / "thrice")
    assert thrice.manifest["splits"] == once.manifest["splits"]
    assert thrice.stream("train").sha256(0, 1000) == once.stream("train").sha256(0, 1000)
    assert thrice.manifest["duplicates"] - once.manifest["duplicates"] == 600


def test_documents_of_white_space_are_counted_as_empty(tmp_path: Path) -> None:
    corpus = small(tmp_path / "text")
    with (tmp_path / "text/rows.jsonl").open("a") as file:
        file.write("".join(json.dumps({"text": text}) + "\n" for text in ("", " \n\t", "\u00a0", "x")))
    build(corpus, tmp_path / "built")
    (source,) = open_corpus(tmp_path / "built").manifest["sources"]
    assert (source["documents"], source["empty"]) == (301, 3)


def small_again(corpus: Corpus) -> Corpus:
    """The same declaration as a new process would see it after its file changed."""
    source = corpus.sources[0]
    assert isinstance(source, LocalFiles)
    path = Path(source.paths[0])
    moved = path.rename(path.with_name("more.jsonl"))
    return Corpus(sources=(LocalFiles(paths=(str(moved),)),), tokenizer=corpus.tokenizer,
                  validation=corpus.validation, test=corpus.test)  # fmt: skip


def test_the_texts_of_all_splits_are_the_source(standard: TokenCorpus, texts: list[str]) -> None:
    decoder = Encoder(standard.tokenizer_dir)
    found = set()
    for split in ("train", "validation", "test"):
        stream = standard.stream(split)  # type: ignore[arg-type]
        edges = [*stream.document_starts(0, len(stream)).tolist(), len(stream)]
        for start, stop in itertools.pairwise(edges):
            found.add(decoder.decode(stream.tokens(start, stop).tolist()))
    assert found == set(texts)


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_shards_are_one_index_space(dtype: type, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    high = np.iinfo(dtype).max
    documents = [rng.integers(0, high, n, endpoint=True).astype(np.uint32) for n in rng.integers(1, 30, 50)]
    flat = np.concatenate(documents)
    starts = np.cumsum([0, *map(len, documents)])[:-1]
    writer = StreamWriter(tmp_path, "train", dtype, tmp_path, shard_tokens=64)
    for i in range(0, 50, 7):
        writer.write(np.concatenate(documents[i : i + 7]), np.array([len(d) for d in documents[i : i + 7]]))
        if i == 21:  # as after an interruption, which left more than was kept
            kept = writer.keep()
            writer.write(np.arange(99, dtype=np.uint32), np.array([99]))
            writer.close()
            writer = StreamWriter(tmp_path, "train", dtype, tmp_path, kept=kept, shard_tokens=64)
    *shards, offsets = writer.close()
    assert len(shards) == -(-len(flat) // 64)
    stream = TokenStream("train", [np.memmap(tmp_path / s, dtype=dtype, mode="r") for s in shards],
                         np.load(tmp_path / offsets))  # fmt: skip
    assert len(stream) == len(flat)
    assert stream.num_documents == 50
    for start in range(0, len(flat), 13):
        for stop in (start, start + 1, start + 64, start + 200, len(flat)):
            stop = min(stop, len(flat))
            tokens = stream.tokens(start, stop)
            assert tokens.dtype == np.int64
            assert np.array_equal(tokens, flat[start:stop])
            inside = starts[(starts >= start) & (starts < stop)]
            assert np.array_equal(stream.document_starts(start, stop), inside)
    assert np.array_equal(stream.document_starts(0, len(flat) + 9), starts)  # its end begins no document
    assert stream.sha256(5, 500) == hashlib.sha256(flat[5:500].astype("<u4").tobytes()).hexdigest()
    for start, stop in ((0, len(flat) + 1), (-1, 3), (5, 4)):
        with pytest.raises(ConfigError, match="of the train split are needed"):
            stream.tokens(start, stop)


def test_batches_have_a_megabyte_or_4096_documents() -> None:
    def sizes(lengths: list[int], first: int = 0) -> list[int]:
        return [len(batch) for batch in encode._batches(np.append(0, np.cumsum(lengths)), first)]

    assert sizes([1] * 10_000) == [4096, 4096, 1808]
    assert sizes([400_000] * 5) == [2, 2, 1]
    assert sizes([3_000_000, 1, 3_000_000], 1) == [1, 1]


@pytest.mark.integration
def test_processes_encode_as_this_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "BATCH_BYTES", 20_000)
    corpus = small(tmp_path / "text")
    build(corpus, tmp_path / "alone")
    monkeypatch.setattr(encode, "LEAST_SHARED_BYTES", 0)
    monkeypatch.setattr(encode, "_cores", lambda: 3)
    build(corpus, tmp_path / "shared")
    assert files(tmp_path / "shared") == files(tmp_path / "alone")
    real = encode._Worker.__init__

    def broken(self: object, work: Path, encoder: Encoder, dtype: str) -> None:
        encoder.bos_name = "no token"
        real(self, work, encoder, dtype)  # type: ignore[arg-type]

    monkeypatch.setattr(encode._Worker, "__init__", broken)
    with pytest.raises(ConfigError, match="a process that encodes text ended with 1; its error is above"):
        build(corpus, tmp_path / "broken")
    assert not list(tmp_path.glob("broken*"))


@pytest.mark.integration
def test_opening_needs_no_torch(standard: TokenCorpus) -> None:
    program = (
        "import sys; from pathlib import Path; from pdstudy.corpus import open_corpus; import pdstudy.corpus.batch;"
        f"open_corpus(Path({str(standard.directory)!r})).stream('train').tokens(0, 9);"
        "assert not {'torch', 'transformers', 'pyarrow', 'datasets'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def peak_megabytes(corpus: Corpus, directory: Path) -> float:
    """Peak resident memory of a process of its own that builds `corpus`."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_measure, args=(corpus, directory, queue))
    process.start()
    peak: float = queue.get(timeout=500)
    process.join()
    return peak


def _measure(corpus: Corpus, directory: Path, queue: Messages) -> None:
    build(corpus, directory)
    unit = 1e6 if sys.platform == "darwin" else 1e3
    queue.put(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_corpus(tmp_path: Path) -> None:
    """20 MB of text more must cost less than 6 MB of memory more (the allocator's noise is some 3 MB)."""
    texts = [text for _, text in documents(StandardLibrary()) if 0 < len(text) < 30_000]
    peaks = []
    for copies in (1, 5):
        path = tmp_path / f"{copies}.jsonl"
        with path.open("w") as file:
            for copy in range(copies):
                for text in texts:
                    file.write(json.dumps({"text": f"# {copy}\n{text}"}) + "\n")
        corpus = Corpus(sources=(LocalFiles(paths=(str(path),)),), tokenizer=BPE(vocab=512, sample_bytes=2_000_000))
        peaks.append(peak_megabytes(corpus, tmp_path / f"corpus{copies}"))
    assert peaks[1] - peaks[0] < 6, peaks


def tokenizer_of(folder: Path, vocab: int) -> PretrainedTokenizer:
    """Bytes, numbered as they come, and merges; the last of `vocab` ids is "ab"."""
    names = ["<|end|>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    names += [f"filler {i}" for i in range(vocab - len(names) - 1)] + ["ab"]
    tokenizer = Tokenizer(models.BPE(vocab={name: i for i, name in enumerate(names)}, merges=[("a", "b")]))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|end|>"])
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|end|>"}))
    return PretrainedTokenizer(path=str(folder))


@pytest.mark.integration
@pytest.mark.parametrize(("vocab", "dtype"), [(65_536, "uint16"), (65_537, "uint32")])
def test_the_largest_id_is_read_as_it_was_written(vocab: int, dtype: str, tmp_path: Path) -> None:
    """Two bytes hold ids up to 65,535: one more entry needs four."""
    texts = [f"{'ab' * (1 + n % 3)} {n}" for n in range(60)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    corpus = Corpus(sources=(LocalFiles(paths=(str(tmp_path / "rows.jsonl"),)),),
                    tokenizer=tokenizer_of(tmp_path / "tokenizer", vocab), validation=0.1, test=0.1)  # fmt: skip
    build(corpus, tmp_path / "corpus")
    built = open_corpus(tmp_path / "corpus")
    assert (built.vocab, built.manifest["dtype"]) == (vocab, dtype)
    stream, decoder = built.stream("train"), Encoder(built.tokenizer_dir)
    tokens = stream.tokens(0, len(stream))
    assert tokens.max() == vocab - 1
    assert set(decoder.decode(tokens.tolist()).split(" ")[0].split("ab")) == {""}


def test_a_shard_that_is_exactly_full_is_followed_by_none_until_a_token_is_left(tmp_path: Path) -> None:
    for extra, sizes in ((0, [64, 64]), (1, [64, 64, 1])):
        folder = tmp_path / str(extra)
        folder.mkdir()
        writer = StreamWriter(folder, "train", np.uint16, folder, shard_tokens=64)
        for length in (40, 24, 64, *[1] * extra):
            writer.write(np.arange(length, dtype=np.uint32), np.array([length]))
        *shards, _ = writer.close()
        assert [(folder / name).stat().st_size // 2 for name in shards] == sizes


def test_a_document_is_read_whole_where_the_system_reads_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One read returns 2 GiB at most."""
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda handle, count, at: real(handle, min(count, 3), at))
    with Spool(tmp_path / "spool") as spool:
        for text in ("short", "a longer text, of some parts"):
            spool.add(text.encode())
        assert list(spool.texts(spool.index(), np.array([1, 0]))) == ["a longer text, of some parts", "short"]


def test_bytes_of_tokens_are_those_of_what_the_tokenizer_kept(tmp_path: Path) -> None:
    """A tokenizer that normalises text keeps fewer bytes than the text has; both are in the manifest."""
    declared = tokenizer_of(tmp_path / "tokenizer", 300)
    path = tmp_path / "tokenizer/tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.save(str(path))
    texts = [f"{chr(0xFB01)}ne {n}" for n in range(60)]  # a ligature of three bytes for two letters
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    corpus = Corpus(sources=(LocalFiles(paths=(str(tmp_path / "rows.jsonl"),)),), tokenizer=declared,
                    validation=0.1, test=0.1)  # fmt: skip
    build(corpus, tmp_path / "corpus")
    for split in open_corpus(tmp_path / "corpus").manifest["splits"].values():
        assert split["bytes"] - split["token_bytes"] == split["documents"]
