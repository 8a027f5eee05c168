"""A corpus of which a file is damaged or gone is refused, with the way out."""

from pathlib import Path

import pytest

from pdstudy.core.errors import ConfigError
from pdstudy.corpus import build, open_corpus
from tests.corpus.small import small


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2])


@pytest.mark.parametrize(
    ("name", "damage", "reason"),
    [
        ("tokens-train-00000.bin", flip, "its sha256 is not the one in the manifest"),
        ("tokens-test-00000.bin", cut, "bytes, the manifest says"),
        ("documents-validation.npy", flip, "its sha256 is not the one in the manifest"),
        ("token_bytes.npy", Path.unlink, "it is missing"),
        ("tokenizer/tokenizer.json", flip, "its sha256 is not the one in the manifest"),
        ("manifest.json", cut, "it cannot be read"),
    ],
)
def test_damage_is_refused_with_file_and_reason(name: str, damage: object, reason: str, tmp_path: Path) -> None:
    corpus = small(tmp_path / "text")
    build(corpus, tmp_path / "a")
    open_corpus(tmp_path / "a")
    damage(tmp_path / "a" / name)  # type: ignore[operator]
    with pytest.raises(ConfigError, match=rf"{name} is damaged: .*{reason}.*; delete .*/a and run again"):
        open_corpus(tmp_path / "a")
    with pytest.raises(ConfigError, match="is damaged"):
        build(corpus, tmp_path / "a")


def test_an_absent_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no corpus at .*: it has no manifest.json"):
        open_corpus(tmp_path)


def test_a_corpus_without_its_manifest_is_refused_with_the_way_out(tmp_path: Path) -> None:
    corpus = small(tmp_path / "text")
    build(corpus, tmp_path / "a")
    (tmp_path / "a/manifest.json").unlink()
    for attempt in (lambda: build(corpus, tmp_path / "a"), lambda: open_corpus(tmp_path / "a")):
        with pytest.raises(ConfigError, match=r"/a holds files, but no manifest.json.* delete .*/a and run again"):
            attempt()
    for path in sorted((tmp_path / "a").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    build(corpus, tmp_path / "a")  # an empty folder is no corpus
    open_corpus(tmp_path / "a")
