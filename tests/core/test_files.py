"""Atomic files, JSON lines cut short by a kill, claims and their takeover."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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
