"""Files of tokens are read as those who wrote them read them, and refused where they are not what is declared."""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import os
import shutil
import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from pdstudy.config.data import BPE, Corpus, PretrainedTokenizer
from pdstudy.config.text_sources import StandardLibrary
from pdstudy.config.tokenised import Format, Tokenised
from pdstudy.core.errors import ConfigError
from pdstudy.core.identity import fingerprint
from pdstudy.core.validation import problems
from pdstudy.corpus import TokenCorpus, build, open_corpus
from pdstudy.corpus.tokenizer import Encoder
from tests.corpus.pretrained import write_tokenizer

FORMATS: tuple[Format, ...] = ("megatron", "datatrove", "dolma")
TEXTS = [f"the cat number {n} sat on mat {n * n}, " + "and the hat " * (n % 5) for n in range(240)]
Documents = list[list[int]]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer"), TEXTS)


@pytest.fixture(scope="module")
def documents(tokenizer: str) -> Documents:
    return [ids.tolist() for ids in Encoder(Path(tokenizer)).encode(TEXTS)]


def write(stem: Path, kind: Format, documents: Documents, dtype: str = "<u2") -> None:
    """Write a file as the three do, from the descriptions of their formats."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    ids = np.concatenate([np.array(d, dtype=dtype) for d in documents])
    ends = list(itertools.accumulate(map(len, documents)))
    ending = {"megatron": ".bin", "datatrove": ".ds", "dolma": ".npy"}[kind]
    Path(f"{stem}{ending}").write_bytes(ids.tobytes())
    if kind == "datatrove":
        Path(f"{stem}.ds.index").write_bytes(struct.pack(f"<{len(ends)}Q", *ends))
        Path(f"{stem}.ds.metadata").write_text(f"tokenizer.json|{ids.itemsize}\n{len(ids)}\n1 T")
    elif kind == "dolma":
        with gzip.open(f"{stem}.csv.gz", "wt") as file:
            rows = csv.writer(file)
            rows.writerows([e - len(d), e, f"id,{n}\n", "a.jsonl", n] for n, (d, e) in enumerate(zip(documents, ends)))
    else:  # each document is two sequences, as sentences are
        lengths = [size for d in documents for size in (1, len(d) - 1)]
        offsets = [ids.itemsize * at for at in (0, *itertools.accumulate(lengths[:-1]))]
        code = {"<u2": 8, "<i4": 4}[dtype]
        head = struct.pack("<9sQBQQ", b"MMIDIDX\0\0", 1, code, len(lengths), len(documents) + 1)
        parts = np.array(lengths, "<i4"), np.array(offsets, "<i8"), np.arange(len(documents) + 1, dtype="<i8") * 2
        Path(f"{stem}.idx").write_bytes(head + b"".join(part.tobytes() for part in parts))


def declare(tokenizer: str, path: Path, kind: Format = "datatrove", **fields: str) -> Corpus:
    ends = {name: fields.pop(name) for name in ("bos", "eos") if name in fields}
    source = Tokenised(path=str(path), format=kind, **fields)
    return Corpus(sources=(source,), tokenizer=PretrainedTokenizer(path=tokenizer, **ends), validation=0.1, test=0.1)


def built(corpus: Corpus, directory: Path) -> TokenCorpus:
    build(corpus, directory)
    return open_corpus(directory)


def read(corpus: TokenCorpus, split: str) -> list[tuple[int, ...]]:
    stream = corpus.stream(split)  # type: ignore[arg-type]
    whole = stream.tokens(0, len(stream))
    edges = [*stream.document_starts(0, len(stream)).tolist(), len(stream)]
    assert len(edges) == stream.num_documents + 1
    for a, b in ((0, 1), (3, 47), (len(stream) - 5, len(stream))):  # any part of the whole
        assert np.array_equal(stream.tokens(a, b), whole[a:b])
    return [tuple(whole[a:b].tolist()) for a, b in itertools.pairwise(edges)]


@pytest.mark.parametrize(("kind", "dtype"), [*((k, "<u2") for k in FORMATS), ("megatron", "<i4"), ("dolma", "<u4")])
def test_documents_are_those_that_were_written(
    kind: Format, dtype: str, tokenizer: str, documents: Documents, tmp_path: Path
) -> None:
    for n in range(2):
        write(tmp_path / f"tokens/part-{n}", kind, documents[n::2] + documents[:20], dtype)
    corpus = built(declare(tokenizer, tmp_path / "tokens", kind), tmp_path / "corpus")
    found = {split: read(corpus, split) for split in ("train", "validation", "test")}
    assert Counter(itertools.chain(*found.values())) == Counter(map(tuple, documents))  # each once
    assert corpus.manifest["duplicates"] == 40
    assert [tuple(d) for d in documents if tuple(d) in found["train"]] != found["train"]  # shuffled
    assert (corpus.vocab, corpus.eos) == (320, 1)
    assert not list((tmp_path / "corpus").glob("*.bin"))


def test_the_split_is_that_of_a_document_whatever_the_format(
    tokenizer: str, documents: Documents, tmp_path: Path
) -> None:
    found = []
    for kind in FORMATS:
        write(tmp_path / kind / "part", kind, documents)
        found.append(read(built(declare(tokenizer, tmp_path / kind, kind), tmp_path / f"corpus {kind}"), "test"))
    assert found[0] == found[1] == found[2]
    more = [[5, 6, 7, 1], *documents]
    write(tmp_path / "more/part", "dolma", more)
    appended = read(built(declare(tokenizer, tmp_path / "more", "dolma"), tmp_path / "corpus more"), "test")
    assert [d for d in appended if d != (5, 6, 7, 1)] == found[0]


@pytest.mark.parametrize("kind", FORMATS)
def test_splits_may_be_given(kind: Format, tokenizer: str, documents: Documents, tmp_path: Path) -> None:
    parts = {"train": documents[:200], "validation": documents[200:220], "test": documents[:20]}
    for split, part in parts.items():
        write(tmp_path / split, kind, part)
    ending = {"megatron": "", "datatrove": ".ds", "dolma": ".npy"}[kind]  # a prefix, as Megatron-LM has it
    paths = {split: str(tmp_path / f"{split}{ending}") for split in ("validation", "test")}
    corpus = built(declare(tokenizer, tmp_path / f"train{ending}", kind, **paths), tmp_path / "corpus")
    for split, part in parts.items():
        assert Counter(read(corpus, split)) == Counter(map(tuple, part))


def test_an_end_that_the_files_lack_is_added(tokenizer: str, documents: Documents, tmp_path: Path) -> None:
    write(tmp_path / "with/part", "megatron", documents)
    write(tmp_path / "without/part", "megatron", [d[:-1] for d in documents])
    stored, added = (
        built(declare(tokenizer, tmp_path / name, "megatron"), tmp_path / f"corpus {name}")
        for name in ("with", "without")
    )
    assert (stored.manifest["splits"]["test"]["end"], added.manifest["splits"]["test"]["end"]) == ("stored", "added")
    everything = [sorted(d for s in ("train", "validation", "test") for d in read(c, s)) for c in (stored, added)]
    assert everything[0] == everything[1]


def test_identity_is_content_and_not_place(tokenizer: str, documents: Documents, tmp_path: Path) -> None:
    write(tmp_path / "here/part", "datatrove", documents)
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    one = fingerprint(declare(tokenizer, tmp_path / "here"))
    assert fingerprint(declare(tokenizer, tmp_path / "there")) == one
    raw = bytearray((tmp_path / "there/part.ds").read_bytes())
    raw[100] ^= 1
    (tmp_path / "changed").mkdir()
    (tmp_path / "changed/part.ds").write_bytes(raw)
    shutil.copy(tmp_path / "here/part.ds.index", tmp_path / "changed")
    assert fingerprint(declare(tokenizer, tmp_path / "changed")) != one


def test_files_that_change_or_go_are_said(tokenizer: str, documents: Documents, tmp_path: Path) -> None:
    write(tmp_path / "tokens/part", "datatrove", documents)
    build(declare(tokenizer, tmp_path / "tokens"), tmp_path / "corpus")
    file = tmp_path / "tokens/part.ds"
    raw = file.read_bytes()
    file.write_bytes(raw[:-2] + b"\7\0")
    os.utime(file, (1, 1))
    with pytest.raises(ConfigError, match=r"part.ds has changed, whose documents .* lists; put it back, or delete"):
        open_corpus(tmp_path / "corpus")
    file.unlink()
    with pytest.raises(ConfigError, match=r"part.ds is gone"):
        open_corpus(tmp_path / "corpus")


def test_the_wrong_tokenizer_is_refused(tokenizer: str, documents: Documents, tmp_path: Path) -> None:
    write(tmp_path / "part", "datatrove", documents)
    other = write_tokenizer(tmp_path / "other", [text.upper()[::-1] for text in TEXTS])
    with pytest.raises(ConfigError, match=r"tokens in 200 documents, \d+% come out the same .* By this one they read"):
        build(declare(other, tmp_path), tmp_path / "corpus")
    small = write_tokenizer(tmp_path / "small", TEXTS, vocab=270)
    with pytest.raises(ConfigError, match=r"found ids 1 to 319; allowed: 0 to 269, the tokenizer's"):
        build(declare(small, tmp_path), tmp_path / "corpus")
    with pytest.raises(ConfigError, match=r"0% of documents begin with 0, the bos; declare no bos"):
        build(declare(tokenizer, tmp_path, bos="<s>"), tmp_path / "corpus")


def test_ends_must_be_those_that_are_declared(tokenizer: str, documents: Documents, tmp_path: Path) -> None:
    write(tmp_path / "begun/part", "datatrove", [[0, *d] for d in documents])
    with pytest.raises(ConfigError, match=r"100% of documents begin with 0, the bos; declare it"):
        build(declare(tokenizer, tmp_path / "begun"), tmp_path / "corpus")
    assert built(declare(tokenizer, tmp_path / "begun", bos="<s>"), tmp_path / "corpus").bos == 0
    write(tmp_path / "mixed/part", "datatrove", [d[: len(d) - n % 2] for n, d in enumerate(documents)])
    with pytest.raises(ConfigError, match=r"\d\d% of documents end with 1, the tokenizer's eos; allowed: all, or none"):
        build(declare(tokenizer, tmp_path / "mixed"), tmp_path / "mixed corpus")


@pytest.mark.parametrize(
    ("kind", "damage", "said"),
    [
        ("datatrove", lambda tokens, index: tokens.write_bytes(tokens.read_bytes()[:-2]), "not 2 or 4 a token"),
        ("dolma", lambda tokens, index: index.write_bytes(gzip.compress(b"start,end\n0,4\n")), "row 1: found ['start'"),
        ("dolma", lambda tokens, index: tokens.write_bytes(b"\x93NUMPY" + tokens.read_bytes()), "not 2 or 4 a token"),
        ("megatron", lambda tokens, index: tokens.write_bytes(tokens.read_bytes()[:-2]), "is not the index of"),
        ("megatron", lambda tokens, index: index.write_bytes(index.read_bytes()[:99]), "is cut off: it has 99 bytes"),
        ("megatron", lambda tokens, index: index.write_bytes(b"TNTIDX\0\0"), "is no index of Megatron-LM"),
    ],
)
def test_damage_is_said(
    kind: Format, damage: object, said: str, tokenizer: str, documents: Documents, tmp_path: Path
) -> None:
    write(tmp_path / "tokens/part", kind, documents)
    ends = {"datatrove": (".ds", ".ds.index"), "dolma": (".npy", ".csv.gz"), "megatron": (".bin", ".idx")}[kind]
    tokens, index = (tmp_path / f"tokens/part{end}" for end in ends)
    damage(tokens, index)  # type: ignore[operator]
    with pytest.raises(ConfigError) as refused:
        build(declare(tokenizer, tmp_path / "tokens", kind), tmp_path / "corpus")
    assert said in str(refused.value)


def test_declarations_that_cannot_be_are_refused(tokenizer: str, documents: Documents, tmp_path: Path) -> None:
    write(tmp_path / "part", "datatrove", documents)
    sources = (Tokenised(path=str(tmp_path), format="datatrove"),)
    wrong: dict[str, Corpus] = {
        "Tokenised alone, or texts alone": Corpus(
            sources=(*sources, StandardLibrary()), tokenizer=PretrainedTokenizer(path=tokenizer)
        ),
        "the PretrainedTokenizer that made": Corpus(sources=sources, tokenizer=BPE()),
        "files that end in .npy": declare(tokenizer, tmp_path, "dolma"),
        "files, since the other split": declare(tokenizer, tmp_path, validation=str(tmp_path)),
    }
    for said, corpus in wrong.items():
        (problem,) = problems(corpus)
        assert said in str(problem)
    (tmp_path / "part.ds.index").unlink()
    (problem,) = problems(declare(tokenizer, tmp_path))
    assert "a file with part.ds.index beside it" in str(problem)
    assert problem.missing
    assert json.loads(json.dumps(fingerprint(declare(tokenizer, tmp_path))))
