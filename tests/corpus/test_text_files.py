"""Text as it lies on disks: every kind of file, folders of a hub, links, and rows that are no text."""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet
import pytest
import zstandard

from pdstudy.config.data import BPE, Corpus
from pdstudy.config.instructions import Instructions, LocalExamples
from pdstudy.config.text_files import find_packages
from pdstudy.config.text_sources import HubDataset, LocalFiles
from pdstudy.core.errors import ConfigError
from pdstudy.core.files import broken_links, expand
from pdstudy.core.identity import fingerprint
from pdstudy.core.validation import problems
from pdstudy.corpus import bad_rows, build, file_rows, open_corpus
from pdstudy.corpus.examples import read_examples
from pdstudy.corpus.sources import documents

TEXTS = ["One sentence.\n", "Zwei Sätze; oder drei?", "four\u2028lines", "[1, 2]"]
LINES = "".join(json.dumps({"id": i, "text": text}) + "\n" for i, text in enumerate(TEXTS)).encode()
ARRAY = json.dumps([{"id": i, "text": text} for i, text in enumerate(TEXTS)], indent=1).encode()


def zstd(data: bytes) -> bytes:
    """Two frames, as parallel packers write them."""
    half = len(data) // 2
    return zstandard.compress(data[:half]) + zstandard.compress(data[half:])


def texts_of(*paths: Path, **declared: object) -> list[str]:
    source = LocalFiles(paths=tuple(map(str, paths)), **declared)  # type: ignore[arg-type]
    assert list(problems(source)) == []
    return [text for _, text in documents(source)]


PACKED: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".zst": zstd}


@pytest.mark.parametrize("packing", PACKED)
@pytest.mark.parametrize(
    ("ending", "data"),
    [(".jsonl", LINES), (".ndjson", LINES), (".json", LINES), (".json", ARRAY), (".JSON", b"\xef\xbb\xbf " + ARRAY)],
    ids=["jsonl", "ndjson", "json-lines", "json-array", "json-bom"],
)
def test_rows_of_json(ending: str, data: bytes, packing: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows{ending}{packing}"
    path.write_bytes(PACKED[packing](data))
    assert texts_of(path) == TEXTS
    upper = path.rename(tmp_path / path.name.upper())
    assert texts_of(upper) == TEXTS


@pytest.mark.parametrize("packing", PACKED)
def test_a_text_is_one_document_however_it_is_packed(packing: str, tmp_path: Path) -> None:
    (tmp_path / f"a.txt{packing}").write_bytes(PACKED[packing](TEXTS[1].encode()))
    assert texts_of(tmp_path) == [TEXTS[1]]


def test_an_array_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_rows, "_BLOCK", 7)
    path = tmp_path / "rows.json"
    path.write_bytes(ARRAY)
    assert texts_of(path) == TEXTS
    monkeypatch.setattr(file_rows, "_BLOCK", 4)  # which ends inside the number
    path.write_text("[12345, 6]")
    with pytest.raises(ConfigError, match=r"rows.json item 0: no field 'text', found a int.*2 without the field, of 2"):
        texts_of(path)
    for cut in (len(ARRAY) - 1, len(ARRAY) // 2):
        path.write_bytes(ARRAY[:cut])
        with pytest.raises(ConfigError, match=r"rows.json item \d: not JSON"):
            texts_of(path)


def test_one_object_over_several_lines_is_said(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps({"data": json.loads(ARRAY)}, indent=1))
    with pytest.raises(ConfigError, match=r"rows.json is one JSON object over several lines.*jq -c '.data\[\]'"):
        texts_of(path)


@pytest.mark.parametrize("packing", [".gz", ".zst"])
def test_a_file_that_is_cut_or_not_packed_is_said(packing: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows.jsonl{packing}"
    for data in (LINES, PACKED[packing](LINES * 9)[:-9]):
        path.write_bytes(data)
        with pytest.raises(ConfigError, match=rf"rows.jsonl{packing} is a damaged (gzip|zstd) file"):
            texts_of(path)


def test_fields_inside_fields_lists_and_bytes(tmp_path: Path) -> None:
    lines = [{"doc": {"text": "a"}}, {"doc": {"text": ["b", "c"]}}, {"doc.text": "d", "doc": {"text": "no"}}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert texts_of(tmp_path / "rows.jsonl", text_field="doc.text") == ["a", "b\nc", "d"]
    table = pa.table({
        "doc": [{"text": "a", "n": 1}, {"text": "b", "n": 2}], "raw": [b"x", "ü".encode()],
        "parts": [["1", "2"], ["3"]],
        "large": pa.array(["l", "m"], pa.large_string()), "dict": pa.array(["p", "p"]).dictionary_encode(),
    })  # fmt: skip
    path = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(table, path)
    wanted = {
        "doc.text": ["a", "b"],
        "raw": ["x", "ü"],
        "parts": ["1\n2", "3"],
        "large": ["l", "m"],
        "dict": ["p", "p"],
    }
    for field, texts in wanted.items():
        assert texts_of(path, text_field=field) == texts
    for field in ("doc.none", "doc.text.more", "none.text"):
        with pytest.raises(ConfigError, match=rf"no (column|field) '{field}', found"):
            texts_of(path, text_field=field)


def test_a_hub_s_folder_is_read_without_what_lies_beside_its_text(tmp_path: Path) -> None:
    """`hf download --local-dir`, and the snapshot in its cache, whose files are links to blobs."""
    folder = tmp_path / "local"
    for name, data in {
        "data/train-0.jsonl": LINES, "README.md": b"# Data", ".gitattributes": b"*", "dataset_infos.json": b"{}",
        "LICENSE": b"Do.", ".cache/huggingface/download/data/train-0.jsonl.metadata": b"1",
        ".cache/huggingface/CACHEDIR.TAG": b"", "._train.jsonl": b"\0\1",
    }.items():  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    assert texts_of(folder) == TEXTS
    hub = tmp_path / "datasets--a--b"
    for name in ("blobs", "refs", "snapshots/123/data"):
        (hub / name).mkdir(parents=True)
    (hub / "blobs/abcdef").write_bytes(LINES)
    (hub / "refs/main").write_text("123")
    (hub / "snapshots/123/data/train-0.jsonl").symlink_to("../../../blobs/abcdef")
    for path in (
        hub,
        hub / "snapshots/123",
        hub / "snapshots/123/data/train-0.jsonl",
        hub / "snapshots/*/data/*.jsonl",
    ):
        assert texts_of(path) == TEXTS
    names = {fingerprint(LocalFiles(paths=(str(path),))) for path in (hub, folder, folder / "data/train-0.jsonl")}
    assert len(names) == 1, "the same text is the same corpus"


def test_linked_folders_are_followed_and_broken_links_said(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store/a.txt").write_text("linked")
    (tmp_path / "texts/own").mkdir(parents=True)
    (tmp_path / "texts/own/b.txt").write_text("own")
    (tmp_path / "texts/linked").symlink_to(tmp_path / "store")
    (tmp_path / "texts/own/up").symlink_to(tmp_path / "texts")  # a circle
    for pattern in ("texts", "texts/*/*.txt"):
        assert sorted(texts_of(tmp_path / pattern)) == ["linked", "own"]
    (tmp_path / "texts/gone.txt").symlink_to(tmp_path / "nowhere.txt")
    for pattern in ("texts", "texts/*.txt", "texts/gone.txt"):
        (problem,) = problems(LocalFiles(paths=(str(tmp_path / pattern),)))
        assert (problem.found, problem.allowed) == (str(tmp_path / "texts/gone.txt"), "links to files that are there")
    assert broken_links(str(tmp_path / "texts")) == [tmp_path / "texts/gone.txt"]


def test_a_glob_reads_below_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a [1]").mkdir()
    monkeypatch.chdir(tmp_path / "a [1]")
    for name in ("x.txt", ".hidden.txt", "sub/y.txt"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(name)
    assert [path.name for path in expand("*.txt")] == [".hidden.txt", "x.txt"]
    assert [path.name for path in expand("**/*.txt")] == [".hidden.txt", "y.txt", "x.txt"]
    assert expand("x.txt") == [Path.cwd() / "x.txt"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    with pytest.raises(ConfigError, match="closed cannot be read"):
        expand(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("a.csv", "to_parquet"),
        ("a.md", "copy it to a .txt"),
        ("a.jsonl.xz", "unpack it"),
        ("a.pdf", "extract its text"),
    ],
)
def test_files_of_other_kinds_are_found_by_kind_with_how_to_convert_them(
    name: str, advice: str, tmp_path: Path
) -> None:
    for i in range(3):
        (tmp_path / f"{i}{name}").write_bytes(b"?")
    (tmp_path / "other.xyz").write_bytes(b"?")
    first, second = problems(LocalFiles(paths=(str(tmp_path),)))
    assert first.found == f"3 files such as {tmp_path}/0{name}"
    assert advice in str(first)
    assert second.found == str(tmp_path / "other.xyz")


BAD = [
    ({"text": None}, "null", "field 'text' is null"),
    ({"body": "x"}, "without the field", "no field 'text', found ['body']; set text_field"),
    ({"text": 3}, "no text", "field 'text' is int, not text; set text_field"),
    ({"text": "\ud800"}, "half a surrogate pair", "half a surrogate pair at character 0 is no Unicode text"),
]
RAW = [
    (b'{"text": "s\xfc"}', "invalid UTF-8"),
    (b'{"text": "a"', "not JSON"),
    (b'{"text": "a", "deep": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deep"),
]


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Bad rows of every kind among 993 good ones, and a number of 5,000 digits beside a good text."""
    good = [json.dumps({"text": f"Document {i}.", "digits": 1}).encode() for i in range(992)]
    good.append(b'{"text": "Much.", "digits": ' + b"7" * 5000 + b"}")
    bad = [json.dumps(row).encode() for row, _, _ in BAD] + [line for line, _ in RAW]
    path = tmp_path / "mixed.jsonl"
    path.write_bytes(b"\n".join([*good[:500], *bad, *good[500:]]) + b"\n")
    return path


def corpus_of(path: Path, **declared: object) -> Corpus:
    source = LocalFiles(paths=(str(path),), **declared)  # type: ignore[arg-type]
    return Corpus(sources=(source,), tokenizer=BPE(vocab=300), validation=0.1, test=0.1)


def test_all_bad_rows_are_refused_at_once_and_counted_by_kind(mixed: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        build(corpus_of(mixed), tmp_path / "out/corpus")
    said = str(refused.value)
    assert said.startswith(f"{mixed}:501: field 'text' is null; bad rows in all: 1 null, 1 without the field (first ")
    for number, (_, kind, detail) in enumerate(BAD, 501):
        assert f"1 {kind}" in said
        assert f"{mixed}:{number}: {detail}" in said
    for number, (_, kind) in enumerate(RAW, 505):
        assert f"1 {kind} (first {mixed}:{number}: " in said
    assert "of 1,000; mend them, or set on_bad_row='skip'" in said
    assert "\n" not in said
    assert "ISO-8859-1" not in said
    assert not list((tmp_path / "out").iterdir())


def test_bad_rows_are_skipped_up_to_a_limit_and_recorded(mixed: Path, tmp_path: Path) -> None:
    seen: list[str] = []
    build(corpus_of(mixed, on_bad_row="skip"), tmp_path / "corpus", lambda step, share: seen.append(step))
    (said,) = (step for step in seen if "null" in step)
    assert said.startswith(f"read LocalFiles: left out 1 null (first {mixed}:501: field 'text' is null), 1 without")
    (source,) = open_corpus(tmp_path / "corpus").manifest["sources"]
    assert source["documents"] == 993
    assert {kind: found["rows"] for kind, found in source["bad_rows"].items()} == dict.fromkeys(
        [*(kind for _, kind, _ in BAD), *(kind for _, kind in RAW)], 1
    )
    assert source["bad_rows"]["null"]["examples"] == [f"{mixed}:501: field 'text' is null"]
    with pytest.raises(ConfigError, match=r"of 1,000; allowed: 0.60%, found 0.70%; mend them, or raise bad_row_limit"):
        build(corpus_of(mixed, on_bad_row="skip", bad_row_limit=0.006), tmp_path / "less")
    build(corpus_of(mixed, on_bad_row="skip", bad_row_limit=0.007), tmp_path / "just")


def test_a_wrong_field_ends_the_reading_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bad_rows, "MOST_REFUSED", 3)
    path = tmp_path / "rows.jsonl"
    path.write_bytes(LINES * 5)
    with pytest.raises(ConfigError, match=r"bad rows so far: 3 without the field, of 3; mend them"):
        texts_of(path, text_field="body")


def test_bad_rows_are_part_of_identity_only_where_declared(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(LINES)
    plain = LocalFiles(paths=(str(path),))
    assert fingerprint(plain) == fingerprint(LocalFiles(paths=(str(path),), on_bad_row="refuse", bad_row_limit=0.01))
    assert fingerprint(plain) != fingerprint(LocalFiles(paths=(str(path),), on_bad_row="skip"))
    assert plain.content()["paths"].split(" ")[1:] == [".jsonl"]
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(LINES))
    assert LocalFiles(paths=(str(tmp_path / "rows.jsonl.gz"),)).content()["paths"].endswith(" .gz")
    (problem,) = problems(LocalFiles(paths=(str(path),), bad_row_limit=1.0))
    assert problem.field == "bad_row_limit"


def test_a_parquet_string_that_is_no_utf_8_is_one_bad_row(tmp_path: Path) -> None:
    raw = pa.array([b"fine", b"s\xfc\xdf", b"also"])
    path = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(pa.table({"text": pa.Array.from_buffers(pa.string(), 3, raw.buffers())}), path)
    with pytest.raises(ConfigError, match=r"rows.parquet row 1: invalid UTF-8 \(byte 0xfc at offset 1\).*of 3"):
        texts_of(path)


def test_rows_of_a_hub_s_data_set_are_judged_likewise(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"doc": {"text": "a"}}, {"doc": {"text": None}}, {"doc": None}, {}]
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=lambda *_, **__: iter(rows)))
    source = HubDataset(name="a/b", revision="c", text_field="doc.text")
    with pytest.raises(ConfigError, match=r"a/b row 1: field 'doc.text' is null.*2 null, 1 without the field .*of 4"):
        list(documents(source))
    bad = bad_rows.BadRows(dataclasses.replace(source, on_bad_row="skip", bad_row_limit=0.75))
    assert [text for _, text in documents(source, bad)] == ["a"]
    bad.check()


def test_packages_that_files_need_are_known_before_they_are_read(tmp_path: Path) -> None:
    for name in ("a.PARQUET", "b.jsonl.zst", "c.txt"):
        (tmp_path / name).write_bytes(b"")
    assert find_packages([str(tmp_path)]) == {("pyarrow", "parquet"), ("zstandard", "zstd")}
    assert find_packages([str(tmp_path / "c.txt")]) == set()


def test_instructions_are_read_of_the_same_files(tmp_path: Path) -> None:
    conversations = [{"prompt": "a", "response": "b"}, {"messages": [{"role": "assistant", "content": "c"}]}]
    lines = "".join(json.dumps(row) + "\n" for row in conversations).encode()
    (tmp_path / "a.jsonl.zst").write_bytes(zstd(lines))
    (tmp_path / "b.json.gz").write_bytes(gzip.compress(json.dumps(conversations).encode()))
    (tmp_path / "c.data").write_bytes(lines)
    (tmp_path / "README.md").write_text("# Chats")
    table = pa.table({"prompt": ["a"], "response": ["b"]})
    pyarrow.parquet.write_table(table, tmp_path / "d.parquet")
    source = LocalExamples(paths=(str(tmp_path),))
    assert not list(problems(source))
    found = [messages[-1]["content"] for messages in read_examples(Instructions(sources=(source,)))]
    assert found == ["b", "c"] * 3 + ["b"]
    (tmp_path / "e.jsonl").write_bytes(
        lines + b'{"prompt": "a"}\n{"prompt": 1, "response": "b"}\n[]\n{"messages": [{"role": null, "content": "x"}]}\n'
    )
    with pytest.raises(
        ConfigError,
        match=r"e.jsonl:3: found KeyError 'response'.*bad rows in all: 4 no conversation, of 13; mend them$",
    ):
        list(read_examples(Instructions(sources=(source,))))
