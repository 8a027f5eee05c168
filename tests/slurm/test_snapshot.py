"""The code that jobs run: copied whole, found again by its content, and not trusted by its name."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pdstudy.core.provenance import CODE_FILE
from pdstudy.slurm import snapshot
from pdstudy.slurm.snapshot import take_snapshot
from pdstudy.workspace.layout import Workspace

ROOT = Path(__file__).parents[2]


def call(folder: Path, code: str, *words: str) -> list[str]:
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"}
    return subprocess.run(
        [sys.executable, "-c", code, *words], env=environment, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()


@pytest.mark.integration
def test_a_snapshot_is_the_code_as_it_was(tmp_path: Path) -> None:
    folder = take_snapshot(Workspace(tmp_path))
    assert take_snapshot(Workspace(tmp_path)) == folder
    package, analysis, code = call(
        folder,
        "import pdstudy, pdstudy.analysis, pdstudy.core.provenance as p\n"
        "print(pdstudy.__file__, pdstudy.analysis.__file__, p.code(), sep='\\n')",
    )
    assert package.startswith(str(folder))
    assert analysis.startswith(str(folder))
    assert json.loads((folder / CODE_FILE).read_text()) == eval(code)


@pytest.mark.integration
def test_an_installed_package_is_copied_without_its_neighbours(tmp_path: Path) -> None:
    """In site-packages, where `pdstudy/analysis` is a folder like any other."""
    site = tmp_path / "site-packages"
    shutil.copytree(ROOT / "pdstudy", site / "pdstudy", ignore=shutil.ignore_patterns("__pycache__"))
    assert not (site / "pdstudy" / "analysis").is_symlink()
    (site / "neighbour").mkdir()
    (site / "neighbour" / "__init__.py").write_text("")
    (site / "pdstudy" / ".#lock.py").symlink_to("nobody@nowhere.1234")  # what an editor leaves beside an open file
    code = (
        "import sys; from pathlib import Path; from pdstudy.workspace.layout import Workspace; "
        "from pdstudy.slurm.snapshot import take_snapshot; print(take_snapshot(Workspace(Path(sys.argv[1]))))"
    )
    (made,) = call(site, code, str(tmp_path / "workspace"))
    assert sorted(path.name for path in Path(made).iterdir()) == [CODE_FILE, "pdstudy"]
    assert made.endswith(take_snapshot(Workspace(tmp_path)).name)


@pytest.mark.integration
def test_a_snapshot_that_was_changed_or_purged_is_put_right(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    folder = take_snapshot(workspace)
    changed, purged = folder / "pdstudy" / "slurm" / "job_main.py", folder / "pdstudy" / "core" / "claim.py"
    compiled = changed.parent / "__pycache__" / "job_main.cpython-311.pyc"
    whole = changed.read_bytes()
    changed.write_text("import os; os.system('id')\n")
    purged.unlink()
    added = folder / "torch.py"
    added.write_text("raise SystemExit\n")
    compiled.parent.mkdir()
    compiled.write_bytes(b"code")
    (folder / CODE_FILE).unlink()
    assert take_snapshot(workspace) == folder
    assert changed.read_bytes() == whole
    assert purged.exists()
    assert (folder / CODE_FILE).exists()
    assert not added.exists()
    assert not compiled.exists()


@pytest.mark.integration
def test_a_snapshot_of_another_user_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They may change it while one's own jobs wait."""
    theirs = take_snapshot(Workspace(tmp_path))
    assert theirs.stat().st_mode & 0o777 == 0o755
    assert (theirs / "pdstudy" / "py.typed").stat().st_mode & 0o777 == 0o644
    monkeypatch.setattr(snapshot.os, "getuid", lambda: theirs.stat().st_uid + 1)
    monkeypatch.setattr(snapshot.getpass, "getuser", lambda: "somebody")
    mine = take_snapshot(Workspace(tmp_path))
    assert mine.name == f"{theirs.name}-somebody"
    assert (mine / "pdstudy" / "__init__.py").exists()
