"""A build that is killed, stopped, or out of room leaves nothing that counts, and is gone on with."""

import dataclasses
import errno
import multiprocessing
import os
import resource
import time
import traceback
from pathlib import Path
from typing import Any

import pytest

from pdstudy.config.data import BPE, Corpus
from pdstudy.corpus import build, encode, kept_texts, open_corpus
from tests.corpus.small import files, small

Messages = Any
"""A queue of the spawn context."""


def _stall(what: str, share: float) -> None:
    if what == "tokens of train":
        time.sleep(600)


@pytest.mark.integration
def test_a_killed_build_leaves_nothing_that_counts(tmp_path: Path) -> None:
    target = tmp_path / "corpus"
    corpus = small(tmp_path / "text")
    child = multiprocessing.get_context("spawn").Process(target=build, args=(corpus, target, _stall))
    child.start()
    while not list(tmp_path.glob("corpus.partial/tokens-train*")):
        assert child.is_alive()
        time.sleep(0.02)
    child.kill()
    child.join()
    assert not target.exists()
    build(corpus, target)
    open_corpus(target)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["corpus", "text"]


class _Stopped(Exception):
    pass


@pytest.mark.parametrize(
    "shares", [[0.3], *(pytest.param(each, marks=pytest.mark.integration) for each in ([0.41, 0.6, 0.9], [0.995]))]
)
def test_an_interrupted_build_goes_on_and_is_the_same_byte_for_byte(
    shares: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encode, "BATCH_BYTES", 20_000)
    monkeypatch.setattr(encode, "KEPT_BYTES", 60_000)
    corpus, target = small(tmp_path / "text"), tmp_path / "corpus"
    build(corpus, tmp_path / "whole")
    said: list[str] = []
    for stop in shares:

        def until(what: str, share: float, stop: float = stop) -> None:
            said.append(what)
            if share > stop:
                raise _Stopped

        with pytest.raises(_Stopped):
            build(corpus, target, until)
        assert not target.exists()
        said.clear()
    build(corpus, target, lambda what, share: said.append(what))
    assert files(target) == files(tmp_path / "whole")
    assert not [what for what in said if what.startswith("read")]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["corpus", "text", "whole"]


def test_what_another_version_left_is_not_gone_on_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = small(tmp_path / "text")

    def stop(what: str, share: float) -> None:
        if share > 0.5:
            raise _Stopped

    with pytest.raises(_Stopped):
        build(corpus, tmp_path / "corpus", stop)
    monkeypatch.setattr(kept_texts, "EDITION", 0)
    said: list[str] = []
    build(corpus, tmp_path / "corpus", lambda what, share: said.append(what))
    assert said[0].startswith("read")


def _build_with_small_files(size: int, corpus: Corpus, directory: Path, queue: Messages) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    try:
        build(corpus, directory)
    except OSError as error:
        names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
        queue.put((error.errno, names))


@pytest.mark.integration
@pytest.mark.parametrize(("size", "where"), [(100, "__exit__"), (70_000, "keep")])
def test_a_write_that_fails_leaves_nothing(size: int, where: str, tmp_path: Path) -> None:
    """A limit on the size of files makes the system refuse a write as a full disk does: of texts, and of tokens."""
    corpus = dataclasses.replace(small(tmp_path / "text"), tokenizer=BPE(vocab=260))
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    child = context.Process(target=_build_with_small_files, args=(size, corpus, tmp_path / "out/corpus", queue))
    child.start()
    number, names = queue.get(timeout=60)
    child.join()
    assert number == errno.EFBIG
    assert where in names
    assert not list((tmp_path / "out").iterdir())


def test_every_file_is_safe_on_the_disk_before_the_corpus_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real_fsync, real_rename = os.fsync, os.rename

    def fsync(handle: int) -> None:
        real_fsync(handle)
        synced.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)

    def rename(source: Path, target: Path) -> None:
        names = [path.name for path in source.rglob("*") if path.is_file()]
        assert {name.removeprefix(".").split(".json.")[0].removesuffix(".json") for name in synced} >= {
            name.removesuffix(".json") for name in names
        }
        real_rename(source, target)
        synced.append("renamed")

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)
    build(small(tmp_path / "text"), tmp_path / "corpus")
    assert synced[-1] == "renamed"
