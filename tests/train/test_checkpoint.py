"""Checkpoints on disk: which are kept, and what damage and a full disk do."""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pdstudy.config.evaluation import Heldout
from pdstudy.config.optimizer import AdamW
from pdstudy.config.placement import Placement
from pdstudy.config.run import Run
from pdstudy.core.errors import ConfigError
from pdstudy.core.files import read_jsonl
from pdstudy.corpus import TokenCorpus
from pdstudy.models.build_model import build_model
from pdstudy.models.distributed import Ranks
from pdstudy.train.checkpoint import Checkpoints, step_of
from pdstudy.train.starting_point import starting_point
from pdstudy.train.weight_update import adamw
from pdstudy.workspace.run_dir import RunDir, list_checkpoints
from tests.train.one_run import train_run

ALONE = Ranks(torch.device("cpu"))
OFTEN = Placement(save_minutes=1e-9)


@pytest.fixture
def checkpoints(small_run: Run, tmp_path: Path) -> Checkpoints:
    model = build_model(small_run.student, seed=0)
    return Checkpoints(tmp_path / "checkpoints", model, adamw(model, AdamW(lr=1e-3)), ALONE, lasting=(20,))


def steps(folder: Path) -> list[int]:
    return [step_of(path) for path in list_checkpoints(folder)]


@pytest.mark.integration
def test_the_two_newest_and_the_lasting_are_kept(checkpoints: Checkpoints, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    seen = []
    for step in range(10, 60, 10):
        checkpoints.save(step, {"step": step})
        seen.append(steps(folder))
    assert seen == [[10], [10, 20], [20, 30], [20, 30, 40], [20, 40, 50]]
    checkpoints.settle()
    assert steps(folder) == [20, 50]
    assert {path.name[0] for path in folder.iterdir()} == {"s"}


def test_a_checkpoint_in_the_background_holds_the_state_at_its_call(checkpoints: Checkpoints, tmp_path: Path) -> None:
    model = checkpoints._model
    checkpoints.save(1, {"step": 1}, background=True)
    expected = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    checkpoints.finish()
    assert checkpoints.load(tmp_path / "checkpoints" / "step-00000001") == {"step": 1}
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("background", [False, True])
def test_a_process_that_another_has_replaced_publishes_no_checkpoint(
    checkpoints: Checkpoints, tmp_path: Path, background: bool
) -> None:
    """The guard does not return to it. What the other one has published under the same name stays."""
    folder = tmp_path / "checkpoints"
    checkpoints.save(10, {"step": 10})
    theirs = folder / "step-00000020"
    theirs.mkdir()
    (theirs / "trainer.json").write_text("theirs")

    def replaced() -> None:
        assert list(folder.glob(".step-00000020.*")), "it is called before the checkpoint has its name"
        raise SystemExit(76)

    checkpoints._guard = replaced
    if background:
        checkpoints.save(20, {"step": 20}, background=True)
    with pytest.raises(SystemExit):
        checkpoints.finish() if background else checkpoints.save(20, {"step": 20})
    assert steps(folder) == [10, 20]
    assert (theirs / "trainer.json").read_text() == "theirs"


def stop_after(count: int):
    calls = iter(range(1, 10**6))
    return lambda: next(calls) >= count


@pytest.mark.integration
def test_saves_follow_the_clock_and_a_finished_run_keeps_one(
    small_run: Run, corpus: TokenCorpus, tmp_path: Path
) -> None:
    often, rarely = RunDir(tmp_path / "often"), RunDir(tmp_path / "rarely")
    for directory, placement in ((often, OFTEN), (rarely, Placement())):
        train_run(
            small_run, directory, corpus=corpus, store=None, evaluations=(), placement=placement,
            should_stop=stop_after(9),
        )  # fmt: skip
    assert steps(often.checkpoints) == [8, 9]
    assert steps(rarely.checkpoints) == [9]
    train_run(small_run, often, corpus=corpus, store=None, evaluations=(), placement=OFTEN)
    assert steps(often.checkpoints) == [24]


@pytest.fixture(scope="module")
def stopped_once(small_run: Run, corpus: TokenCorpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stopped") / "run"
    for count in (5, 4):
        train_run(small_run, RunDir(path), corpus=corpus, store=None, evaluations=(), should_stop=stop_after(count))
    assert steps(RunDir(path).checkpoints) == [5, 9]
    return path


@pytest.fixture
def stopped(stopped_once: Path, tmp_path: Path) -> RunDir:
    """A run with checkpoints of steps 5 and 9."""
    return RunDir(Path(shutil.copytree(stopped_once, tmp_path / "run")))


@pytest.mark.integration
@pytest.mark.parametrize(
    "damage", ["truncated", "no metadata", "no tensors", "no numbers", "half numbers", "a byte", "a number"]
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_serves(
    damage: str, small_run: Run, corpus: TokenCorpus, stopped: RunDir
) -> None:
    directory = stopped
    newest = list_checkpoints(directory.checkpoints)[-1]
    (tensors,) = newest.glob("*.distcp")
    if damage == "truncated":
        tensors.write_bytes(tensors.read_bytes()[:1000])
    elif damage == "half numbers":
        (newest / "trainer.json").write_text('{"step": ')
    elif damage == "a byte":
        data = bytearray(tensors.read_bytes())
        data[len(data) // 2] ^= 4
        tensors.write_bytes(data)
    elif damage == "a number":
        numbers = newest / "trainer.json"
        numbers.write_text(
            numbers.read_text().replace('"grad_norm": 0', '"grad_norm": 1').replace('"train": ', '"train": 1')
        )
    else:
        {"no metadata": newest / ".metadata", "no tensors": tensors, "no numbers": newest / "trainer.json"}[
            damage
        ].unlink()
    rows = directory.metrics_file.read_text()
    with pytest.raises(ConfigError, match=r"step-00000009 is damaged.*delete it"):
        train_run(small_run, directory, corpus=corpus, store=None, evaluations=())
    assert directory.metrics_file.read_text() == rows
    shutil.rmtree(newest)
    assert train_run(small_run, directory, corpus=corpus, store=None, evaluations=()) == "done"
    assert [row["step"] for row in read_jsonl(directory.metrics_file)] == list(range(1, 25))


@pytest.mark.integration
def test_a_half_written_checkpoint_is_not_taken_for_whole(small_run: Run, corpus: TokenCorpus, stopped: RunDir) -> None:
    directory = stopped
    five, nine = list_checkpoints(directory.checkpoints)
    nine.rename(nine.with_name(f".{nine.name}"))
    seen: list[int] = []
    train_run(
        small_run, directory, corpus=corpus, store=None, evaluations=(),
        progress=lambda what, share: seen.append(round(share * 24)),
    )  # fmt: skip
    assert seen[0] == step_of(five)
    assert steps(directory.checkpoints) == [24]


FULL = r"No space left on device"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2500k", "tmpfs", str(disk)], capture_output=True)
    if made.returncode:
        pytest.skip("mounting a tmpfs needs root")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.integration
@pytest.mark.parametrize("placement", [OFTEN, Placement()], ids=["background", "at the end"])
def test_a_full_disk_loses_nothing(
    placement: Placement, small_run: Run, corpus: TokenCorpus, small_disk: Path, tmp_path: Path
) -> None:
    directory, undisturbed = RunDir(small_disk / "run"), RunDir(tmp_path / "undisturbed")
    common = {"corpus": corpus, "store": None, "evaluations": ()}
    train_run(small_run, directory, **common, should_stop=stop_after(6))
    filler = small_disk / "filler"
    filler.write_bytes(b"0" * (shutil.disk_usage(small_disk).free - 100_000))
    with pytest.raises(
        ConfigError, match=rf"cannot be written.*{FULL}; the newest whole one is step-00000006. Make room"
    ):
        train_run(small_run, directory, **common, placement=placement)
    assert steps(directory.checkpoints) == [6]
    assert not list(directory.checkpoints.glob(".step-*"))
    size = sum(file.stat().st_size for file in list_checkpoints(directory.checkpoints)[0].rglob("*"))
    filler.write_bytes(b"0" * (shutil.disk_usage(small_disk).free + filler.stat().st_size - size - 80_000))
    with pytest.raises(ConfigError, match="make room and run again"):  # the last checkpoint fits, the export does not
        train_run(small_run, directory, **common)
    assert steps(directory.checkpoints)[-1] == 24
    assert not directory.model.exists()
    assert directory.result() is None
    filler.unlink()
    assert train_run(small_run, directory, **common) == "done"
    train_run(small_run, undisturbed, **common)
    losses = [[row["loss"] for row in read_jsonl(d.metrics_file)] for d in (directory, undisturbed)]
    assert losses[0] == losses[1]


@pytest.mark.integration
def test_rows_are_on_disk_before_the_checkpoint_that_they_belong_to(
    small_run: Run, corpus: TokenCorpus, heldout: tuple[Heldout, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, events = RunDir(tmp_path / "run"), []
    fsync, replace = os.fsync, os.replace

    def noting_fsync(handle: int) -> None:
        events.append(os.path.basename(os.readlink(f"/proc/self/fd/{handle}")))
        fsync(handle)

    def noting_replace(source: Path, target: Path) -> None:
        events.append(os.path.basename(target))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(os, "replace", noting_replace)
    train_run(small_run, directory, corpus=corpus, evaluations=heldout, placement=OFTEN, should_stop=stop_after(9))
    for step in (2, 9):
        published = events.index(f"step-{step:08d}")
        assert {"metrics.jsonl", "evals.jsonl"} - set(events[:published]) == (set() if step == 9 else {"evals.jsonl"})
        assert events[:published].count("metrics.jsonl") >= step  # once for each checkpoint up to here


@pytest.fixture(scope="module")
def evaluated_once(
    small_run: Run, corpus: TokenCorpus, heldout: tuple[Heldout, ...], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("evaluated") / "run"
    for count in (9, 9):
        train_run(small_run, RunDir(path), corpus=corpus, evaluations=heldout, should_stop=stop_after(count))
    assert steps(RunDir(path).checkpoints) == [9, 18]
    return path


def cut(path: Path, step: int) -> None:
    """Lose the rows after a step, as a crash of the machine may."""
    lines = [line for line in path.read_text().splitlines(True) if json.loads(line)["step"] <= step]
    path.write_text("".join(lines))


@pytest.mark.integration
@pytest.mark.parametrize("file", ["metrics.jsonl", "evals.jsonl"])
def test_a_checkpoint_that_outlived_its_rows_gives_way_to_an_older_one(
    file: str, small_run: Run, corpus: TokenCorpus, heldout: tuple[Heldout, ...], evaluated_once: Path, tmp_path: Path
) -> None:
    directory = RunDir(Path(shutil.copytree(evaluated_once, tmp_path / "run")))
    whole = RunDir(Path(shutil.copytree(evaluated_once, tmp_path / "whole")))
    cut(directory.path / file, 10)
    for each in (directory, whole):
        assert train_run(small_run, each, corpus=corpus, evaluations=heldout) == "done"
    for name in ("metrics_file", "evals_file"):
        ours, theirs = ([(r["step"], r["loss"]) for r in read_jsonl(getattr(d, name))] for d in (directory, whole))
        assert ours == theirs


@pytest.mark.integration
def test_a_run_that_lost_the_rows_of_all_its_checkpoints_says_so(
    small_run: Run, corpus: TokenCorpus, heldout: tuple[Heldout, ...], evaluated_once: Path, tmp_path: Path
) -> None:
    directory = RunDir(Path(shutil.copytree(evaluated_once, tmp_path / "run")))
    cut(directory.metrics_file, 6)
    with pytest.raises(ConfigError, match=r"metrics\.jsonl has 6 rows up to step 9, of 9 when.*restore the file"):
        train_run(small_run, directory, corpus=corpus, evaluations=heldout)
    assert len(list(read_jsonl(directory.metrics_file))) == 6
    assert steps(directory.checkpoints) == [9, 18]


@pytest.mark.integration
def test_a_relative_that_lost_its_rows_is_not_begun_from(
    small_run: Run, corpus: TokenCorpus, evaluated_once: Path, tmp_path: Path
) -> None:
    relative = RunDir(Path(shutil.copytree(evaluated_once, tmp_path / "relative")))
    assert starting_point(small_run, [relative])[1].name == "step-00000018"
    cut(relative.metrics_file, 10)
    assert starting_point(small_run, [relative])[1].name == "step-00000009"
    cut(relative.metrics_file, 3)
    assert starting_point(small_run, [relative]) is None


@pytest.mark.integration
@pytest.mark.parametrize("options", [{"placement": OFTEN}, {"exports": tuple(range(2, 24))}], ids=["saves", "exports"])
def test_saves_and_exports_leave_nothing_for_the_collector(
    options: dict[str, Any], small_run: Run, corpus: TokenCorpus, tmp_path: Path
) -> None:
    """It is off in the training loop; a model that is left there keeps its weights."""
    counts: list[int] = []

    def stop() -> bool:
        counts.append(len(gc.get_objects()))
        return False

    assert train_run(small_run, RunDir(tmp_path / "run"), corpus=corpus, should_stop=stop, **options) == "done"
    quarter = len(counts) // 4
    early, late = max(counts[quarter : 2 * quarter]), max(counts[-quarter:])
    assert late < 1.4 * early


@pytest.mark.integration
def test_time_between_saves_is_in_minutes(
    small_run: Run, corpus: TokenCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps of 25 seconds: with a save a minute, those after 75 and 150; and the step that the run stops at."""
    directory, step = RunDir(tmp_path / "run"), 0
    monkeypatch.setattr("pdstudy.train.trainer.time", SimpleNamespace(monotonic=lambda: 25.0 * step))

    def stop() -> bool:
        nonlocal step
        step += 1
        return step == 8

    train_run(
        small_run, directory, corpus=corpus, evaluations=(), placement=Placement(save_minutes=1), should_stop=stop
    )
    assert steps(directory.checkpoints) == [6, 8]
