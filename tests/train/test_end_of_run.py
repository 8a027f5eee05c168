"""The end of a run, from its last checkpoint on: killed at any act on its files, or out of room, it is made whole."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from pdstudy.config.evaluation import Heldout
from pdstudy.config.run import Run
from pdstudy.core.errors import ConfigError
from pdstudy.core.files import file_sha256
from pdstudy.corpus import TokenCorpus, open_corpus
from pdstudy.train import trainer
from pdstudy.workspace.run_dir import RunDir
from tests.cli.test_bad_disk import mounted
from tests.train import ranks
from tests.train.one_run import train_run
from tests.train.test_survival import assert_same, ends

ACTS = frozenset({"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod"})
"""Events of Python's audit hooks (PEP 578) that change a folder; "open" is told apart by its flags."""

EXPORTS = (12, 24)


def end_killed(run: Run, path: Path, corpus: Path, evaluations: tuple[Heldout, ...], act: int, count: Path) -> None:
    """Go on with a run, killed right before the so-many-th act on its files (1-based); note how many there were."""
    seen = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        writes = event in ACTS or (event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR))
        if writes and str(arguments[0]).startswith(str(path)):
            seen += 1
            if seen == act:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    train_run(run, RunDir(path), corpus=open_corpus(corpus), evaluations=evaluations, exports=EXPORTS)
    count.write_text(str(seen))


@pytest.fixture(scope="module")
def almost(
    small_run: Run, corpus: TokenCorpus, heldout: tuple[Heldout, ...], tmp_path_factory: pytest.TempPathFactory
) -> RunDir:
    """A run of which the last step is not trained yet."""
    directory = RunDir(tmp_path_factory.mktemp("almost") / "run")
    options: Any = {"corpus": corpus, "evaluations": heldout, "exports": EXPORTS}
    assert train_run(small_run, directory, until=23, **options) == "stopped"
    return directory


@pytest.fixture(scope="module")
def undisturbed(almost: RunDir, small_run: Run, corpus: TokenCorpus, heldout: tuple[Heldout, ...]) -> RunDir:
    directory = RunDir(almost.path.with_name("undisturbed"))
    shutil.copytree(almost.path, directory.path)
    train_run(small_run, directory, corpus=corpus, evaluations=heldout, exports=EXPORTS)
    return directory


def files(directory: RunDir) -> set[str]:
    return {str(path.relative_to(directory.path)) for path in directory.path.rglob("*")}


def exported(folder: Path) -> dict[str, str]:
    """Digests of a model's files but its card, which names the run."""
    return {path.name: file_sha256(path) for path in folder.iterdir() if path.name != "README.md"}


def assert_whole(directory: RunDir, undisturbed: RunDir) -> None:
    """The rows, models and files of an undisturbed run; of others at most half-written ones, which nobody reads."""
    assert_same(ends(directory), ends(undisturbed))
    assert exported(directory.model) == exported(undisturbed.model)
    assert exported(directory.export(24)) == exported(undisturbed.export(24))
    assert files(undisturbed) <= files(directory)
    assert all(Path(name).name.startswith(".") for name in files(directory) - files(undisturbed))


@pytest.mark.slow
def test_a_run_killed_at_any_act_of_its_end_is_made_whole(
    almost: RunDir, undisturbed: RunDir, small_run: Run, corpus: TokenCorpus, heldout: tuple[Heldout, ...],
    tmp_path: Path,
) -> None:  # fmt: skip
    """Resumption, evaluations, exports, checkpoint, result: a dozen of the acts on files, evenly spread."""
    count = tmp_path / "count"
    shutil.copytree(almost.path, tmp_path / "counted")
    ranks.run(1, end_killed, small_run, tmp_path / "counted", corpus.directory, heldout, 0, count)
    acts = int(count.read_text())
    assert acts > 100
    for act in range(1, acts + 1, acts // 12):
        directory = RunDir(tmp_path / f"killed-{act}")
        shutil.copytree(almost.path, directory.path)
        (process,) = ranks.start(1, end_killed, small_run, directory.path, corpus.directory, heldout, act, count)
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
        assert train_run(small_run, directory, corpus=corpus, evaluations=heldout, exports=EXPORTS) == "done"
        assert_whole(directory, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("room", [0, 60_000], ids=["no room", "room for half a model"])
def test_a_disk_that_is_full_at_the_export_loses_nothing(
    room: int, almost: RunDir, undisturbed: RunDir, small_run: Run, corpus: TokenCorpus,
    heldout: tuple[Heldout, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    directory = RunDir(tmp_path / "disk" / "run")
    options: Any = {"corpus": corpus, "evaluations": heldout, "exports": EXPORTS}
    with mounted(tmp_path / "disk", "size=8m"):
        shutil.copytree(almost.path, directory.path)
        ballast = tmp_path / "disk" / "ballast"

        def into_a_full_disk(*arguments: Any, **more: Any) -> None:
            stat = os.statvfs(ballast.parent)
            ballast.write_bytes(bytes(max(0, stat.f_bavail * stat.f_frsize - room)))
            real(*arguments, **more)

        real = trainer.export
        monkeypatch.setattr(trainer, "export", into_a_full_disk)
        with pytest.raises(ConfigError, match=r"cannot be written: .*No space left on device"):
            train_run(small_run, directory, **options)
        assert directory.result() is None
        assert not directory.model.exists()
        ballast.unlink()
        monkeypatch.undo()
        assert train_run(small_run, directory, **options) == "done"
        assert_whole(directory, undisturbed)
