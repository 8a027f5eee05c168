"""Atomic files, JSON lines cut short by a kill, claims and their takeover."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pdstudy.core import files
from pdstudy.core.claim import Claim, Claimed
from pdstudy.core.errors import ConfigError
from pdstudy.core.files import (
    append_jsonl,
    content_hash,
    read_json,
    read_jsonl,
    truncate_jsonl,
    write_bytes,
    write_json,
)
from pdstudy.corpus import example_cache
from pdstudy.corpus.examples import Packed
from pdstudy.search.storage import Journal
from pdstudy.slurm.ledger import append_row


def test_a_failed_write_leaves_the_old_file_and_no_temporary(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_bytes(path, "text")  # type: ignore[arg-type]
    assert read_json(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_a_last_line_cut_short_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    for step in (1, 2, 3):
        append_jsonl(path, {"step": step})
    with path.open("a") as file:
        file.write('{"step": 4, "lo')
    assert [r["step"] for r in read_jsonl(path)] == [1, 2, 3]
    truncate_jsonl(path, 2)
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'


def test_a_claim_excludes_others_and_names_the_holder(tmp_path: Path) -> None:
    path = tmp_path / "claims" / "student-1"
    with Claim(path, "student 1"):
        message = f"student 1 is in the hands of process {os.getpid()}"
        with pytest.raises(Claimed, match=message), Claim(path, "student 1"):
            pass
        assert Claim.holder(path) is not None
    assert not path.exists()


@pytest.mark.integration
def test_the_claim_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "claim"
    code = (
        f"from pathlib import Path; from pdstudy.core.claim import Claim; Claim(Path({str(path)!r}), 'it').__enter__()"
    )
    subprocess.run([sys.executable, "-c", code + "; import os; os._exit(9)"], check=False)
    assert json.loads(path.read_text())["pid"] != os.getpid()
    assert Claim.holder(path) is None
    with Claim(path, "student 1"):
        assert json.loads(path.read_text())["pid"] == os.getpid()


def test_a_claim_on_another_host_counts_as_live(tmp_path: Path) -> None:
    path = tmp_path / "claim"
    write_json(path, {"host": "elsewhere", "pid": 1, "born": "0"})
    with pytest.raises(Claimed, match="on elsewhere"), Claim(path, "student 1"):
        pass


@pytest.mark.integration
def test_a_claim_that_somebody_else_holds_by_now_is_not_given_back(tmp_path: Path) -> None:
    """Its file was deleted from another host, which could not see that its process lived."""
    path = tmp_path / "claim"
    with Claim(path, "x"):
        theirs = {**read_json(path), "host": "elsewhere"}
        write_json(path, theirs)
    assert read_json(path) == theirs
    path.unlink()
    with Claim(path, "x"):
        path.unlink()
    assert not path.exists()


@pytest.mark.integration
def test_of_many_who_take_over_one_dead_claim_one_wins(tmp_path: Path) -> None:
    path = tmp_path / "claim"
    code = (
        "import sys, time; from pathlib import Path; from pdstudy.core.claim import Claim, Claimed\n"
        f"path = Path({str(path)!r})\n"
        "for _ in range(30):\n"
        "    try:\n"
        "        with Claim(path, 'it'):\n"
        f"            with open({str(tmp_path / 'inside')!r}, 'x'): time.sleep(0.002)\n"
        f"            Path({str(tmp_path / 'inside')!r}).unlink()\n"
        "    except Claimed: time.sleep(0.001)\n"
    )
    write_json(path, {"host": os.uname().nodename, "pid": 2**22 + 1, "born": "1"})
    crowd = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(4)]
    assert [p.wait(60) for p in crowd] == [0, 0, 0, 0]


def test_a_pattern_that_matches_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no file matches"):
        content_hash((str(tmp_path / "*.txt"),))


def test_a_folder_named_alike_elsewhere_is_other_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Archives unpack with equal times: the remembered hash of a relative path must not serve another folder."""
    monkeypatch.setenv("PDSTUDY_CACHE", str(tmp_path / "cache"))
    found = []
    for name in ("one", "two"):
        texts = tmp_path / name / "texts"
        texts.mkdir(parents=True)
        (texts / "a.txt").write_text(name)
        os.utime(texts / "a.txt", ns=(0, 0))
        monkeypatch.chdir(tmp_path / name)
        found.append(content_hash(("texts",)))
    assert found[0] != found[1]


def test_a_stray_file_is_no_json_folder(tmp_path: Path) -> None:
    (tmp_path / ".DS_Store").write_text("")
    assert read_json(tmp_path / ".DS_Store" / "config.json") is None


class Disk:
    """The calls that make a write safe, in their order: what was synced, with its content, and what was renamed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[str, Path, bytes]] = []
        fsync, replace = os.fsync, os.replace

        def note_fsync(handle: int) -> None:
            path = Path(os.readlink(f"/proc/self/fd/{handle}"))
            self.calls.append(("fsync", path, path.read_bytes()))
            fsync(handle)

        def note_replace(source: Path, target: Path) -> None:
            content = Path(target).read_bytes() if Path(target).is_file() else b""
            self.calls.append(("replace", Path(target), content))
            replace(source, target)

        monkeypatch.setattr(os, "fsync", note_fsync)
        monkeypatch.setattr(os, "replace", note_replace)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def test_a_file_is_whole_on_disk_before_it_takes_its_name(tmp_path: Path, disk: Disk) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(b"old")
    with path.open("rb") as reader:
        write_bytes(path, b"new, and longer than any buffer" * 1000)
        assert reader.read() == b"old", "whoever has opened it reads on what was there"
    (fsync, source, synced), (replace, target, before) = disk.calls
    assert (fsync, replace) == ("fsync", "replace")
    assert (source.parent, target) == (tmp_path, path), "renamed within one file system"
    assert synced == path.read_bytes()
    assert before == b"old"
    assert path.stat().st_mode & 0o777 == 0o644, "others may read it"


@pytest.mark.parametrize("write", [lambda p: write_json(p, {"a": 1}), lambda p: truncate_jsonl(p, 1)])
def test_json_and_rows_are_written_the_same_way(tmp_path: Path, disk: Disk, write: Callable[[Path], None]) -> None:
    path = tmp_path / "x"
    path.write_text('{"step": 1}\n{"step": 2}\n')
    write(path)
    assert [call for call, *_ in disk.calls] == ["fsync", "replace"]
    assert disk.calls[0][2] == path.read_bytes()


def test_arrays_of_a_cache_are_on_disk_before_their_folder_has_its_name(tmp_path: Path, disk: Disk) -> None:
    arrays = {name: np.arange(5000, dtype=np.int32) for name in example_cache.ARRAY_NAMES}
    example_cache._keep(Packed(**arrays, left_out={}), tmp_path / "cache")
    (renamed,) = [i for i, (call, path, _) in enumerate(disk.calls) if (call, path) == ("replace", tmp_path / "cache")]
    synced = {path.name: content for call, path, content in disk.calls[:renamed] if call == "fsync"}
    for name in example_cache.ARRAY_NAMES:
        assert synced[f"{name}.npy"] == (tmp_path / "cache" / f"{name}.npy").read_bytes()


def test_rows_of_the_ledger_and_of_a_search_are_synced_one_by_one(tmp_path: Path, disk: Disk) -> None:
    """What was sent to a cluster, and which trials there are, must outlive the node that notes it."""
    for count in (1, 2):
        append_row(tmp_path / "ledger.jsonl", {"sent": count})
        assert disk.calls[-1] == ("fsync", tmp_path / "ledger.jsonl", (tmp_path / "ledger.jsonl").read_bytes())
    (tmp_path / "journal").touch()
    Journal(tmp_path / "journal").append_logs([{"trial": 1}])
    assert disk.calls[-1] == ("fsync", tmp_path / "journal", b'{"trial":1}\n')


@pytest.mark.integration
def test_a_claim_of_a_process_whose_number_another_has_now_is_taken_over(tmp_path: Path) -> None:
    """Numbers are used again: a living process of this number says nothing of the one that made the claim."""
    path = tmp_path / "claims" / "it"
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        write_json(path, {"host": os.uname().nodename, "pid": other.pid, "born": "1"})
        assert Claim.holder(path) is None
        with Claim(path, "it") as mine:
            assert read_json(path) == mine.mine
            born = mine.mine["born"]
        write_json(path, {"host": os.uname().nodename, "pid": other.pid, "born": born})
        assert Claim.holder(path) is None, "another's start"
    finally:
        other.kill()
        other.wait()
    write_json(path, {"host": os.uname().nodename, "pid": os.getpid(), "born": born})
    with pytest.raises(Claimed), Claim(path, "it"):
        pass


@pytest.mark.parametrize("changed", ["time", "size"])
def test_a_changed_text_has_another_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str) -> None:
    """Its hash is remembered by path, size and modification time: an edit that keeps one of the latter is an edit."""
    monkeypatch.setenv("PDSTUDY_CACHE", str(tmp_path / "cache"))
    text = tmp_path / "a.txt"
    text.write_text("one")
    os.utime(text, ns=(10**18, 10**18))
    first = content_hash((str(text),))
    text.write_text("two" if changed == "time" else "longer")
    os.utime(text, ns=(10**18, 10**18 + (changed == "time")))  # by a nanosecond
    second = content_hash((str(text),))
    assert first != second
    assert second == content_hash((str(text),))
    monkeypatch.setenv("PDSTUDY_CACHE", str(tmp_path / "other"))
    files._remembered_sha256.cache_clear()
    assert second == content_hash((str(text),)), "as one that has never seen it computes it"


def test_a_hash_that_was_remembered_is_not_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PDSTUDY_CACHE", str(tmp_path / "cache"))
    text = tmp_path / "a.txt"
    text.write_text("one")
    first = content_hash((str(text),))
    files._remembered_sha256.cache_clear()
    monkeypatch.setattr(files, "file_sha256", lambda path: pytest.fail("computed again"))
    assert content_hash((str(text),)) == first


@pytest.mark.parametrize("torn", [b"", b"ab12", b"\xff\xfe" * 32])
def test_a_remembered_hash_that_is_none_is_computed_again(
    torn: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be another identity: everything of a study would be new, and made again."""
    monkeypatch.setenv("PDSTUDY_CACHE", str(tmp_path / "cache"))
    text = tmp_path / "a.txt"
    text.write_text("one")
    first = content_hash((str(text),))
    (memory,) = (tmp_path / "cache" / "content").iterdir()
    memory.write_bytes(torn)
    files._remembered_sha256.cache_clear()
    assert content_hash((str(text),)) == first
    assert len(memory.read_text()) == 64


def test_a_home_folder_that_nobody_knows_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In containers a user may have neither HOME nor an entry among the users."""
    monkeypatch.setenv("PDSTUDY_CACHE", str(tmp_path))
    monkeypatch.setattr(os.path, "expanduser", lambda text: text)
    assert files.cache_root() == tmp_path
    assert files.expand("~nobody-of-this-name/*.txt") == []


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"3", b'{"host": "here"}'])
def test_a_claim_that_says_nothing_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "claim"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"claim is damaged: .*where nobody makes this any more, delete it"):
        Claim.holder(path)


def test_the_hash_of_several_files_knows_neither_their_names_nor_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PDSTUDY_CACHE", str(tmp_path / "cache"))
    for name, texts in (("a", ("one", "two")), ("b", ("two", "one")), ("c", ("one", "one"))):
        (tmp_path / name).mkdir()
        for number, text in enumerate(texts):
            (tmp_path / name / f"{number}.txt").write_text(text)
    a, b, c = (content_hash([str(tmp_path / name)]) for name in "abc")
    assert a == b
    assert a != c
