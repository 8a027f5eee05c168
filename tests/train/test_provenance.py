"""What is written about where a run was made."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pdstudy.core import provenance


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True)

    (tmp_path / "code.py").write_text("one = 1\n")
    git("init", "-q")
    git("add", "code.py")
    git("commit", "-q", "-m", "one")
    return tmp_path


@pytest.mark.integration
def test_changes_to_the_code_have_a_hash_of_their_own(checkout: Path) -> None:
    clean = provenance.code(checkout)
    assert len(clean["commit"]) == 40
    assert clean["dirty"] is None
    hashes = set()
    for text in ("one = 2\n", "one = 3\n", "one = 2\n"):
        (checkout / "code.py").write_text(text)
        dirty = provenance.code(checkout)
        assert dirty["commit"] == clean["commit"]
        hashes.add(dirty["dirty"])
    assert len(hashes) == 2


@pytest.mark.integration
def test_it_works_where_there_is_no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = {"commit": None, "dirty": None}
    assert provenance.code(tmp_path) == nothing
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.code(Path(__file__).parent) == nothing


@pytest.mark.integration
def test_versions_and_machine_are_there() -> None:
    found = provenance.collect(threads=1)
    assert found["packages"]["torch"].startswith("2.")
    assert found["threads"] == 1
    assert found["host"]
    assert found["processor"]
