"""One run, started in every way: in process, as a command, under torchrun."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from pdstudy.config.evaluation import Heldout
from pdstudy.config.placement import Placement
from pdstudy.config.run import Run
from pdstudy.core.files import read_jsonl
from pdstudy.corpus import TokenCorpus
from pdstudy.train.__main__ import main
from pdstudy.workspace.run_dir import RunDir
from tests.train import ranks
from tests.train.one_run import job_of, train_run


@pytest.fixture
def inside(small_run: Run, corpus: TokenCorpus, heldout: tuple[Heldout, ...], tmp_path: Path) -> RunDir:
    """Six steps in process."""
    directory = RunDir(tmp_path / "inside")
    train_run(dataclasses.replace(small_run, steps=6), directory, corpus=corpus, store=None, evaluations=heldout)
    return directory


@pytest.mark.integration
def test_the_same_run_by_its_job(
    small_run: Run, corpus: TokenCorpus, heldout: tuple[Heldout, ...], inside: RunDir, tmp_path: Path
) -> None:
    file, directory = tmp_path / "job.json", RunDir(tmp_path / "assigned")
    run = dataclasses.replace(small_run, steps=6)
    job_of(run, directory, corpus, evaluations=heldout).write(file)
    assert main(file) == 0
    expected, same = (load_file(d.model / "model.safetensors") for d in (inside, directory))
    assert all(same[name].equal(value) for name, value in expected.items())


@pytest.mark.slow
def test_the_same_run_under_torchrun(
    small_run: Run, corpus: TokenCorpus, heldout: tuple[Heldout, ...], inside: RunDir, tmp_path: Path
) -> None:
    file, directory = tmp_path / "job.json", RunDir(tmp_path / "two")
    run = dataclasses.replace(small_run, steps=6)
    job_of(run, directory, corpus, evaluations=heldout).write(file)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*torchrun, "-m", "pdstudy.train", str(file)], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert [row["step"] for row in read_jsonl(directory.metrics_file)] == [1, 2, 3, 4, 5, 6]
    expected, near = (load_file(d.model / "model.safetensors") for d in (inside, directory))
    for name, value in expected.items():
        assert (near[name] - value).norm() < 1e-4 * value.norm()


def test_a_wrong_job_is_one_line(
    small_run: Run, corpus: TokenCorpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "job.json"
    job_of(small_run, RunDir(tmp_path / "run"), corpus, placement=Placement(micro_batch_tokens=8)).write(file)
    assert main(file) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("pdstudy: placement.micro_batch_tokens: found 8")
    assert main(tmp_path / "none.json") == 2


def assigned(file: Path) -> None:
    raise SystemExit(main(file))


@pytest.mark.integration
@pytest.mark.parametrize("size", [1, 2])
def test_bfloat16_trains_float32_weights(
    size: int, small_run: Run, corpus: TokenCorpus, heldout: tuple[Heldout, ...], tmp_path: Path
) -> None:
    full, mixed = RunDir(tmp_path / "full"), RunDir(tmp_path / "mixed")
    train_run(small_run, full, corpus=corpus, store=None, evaluations=heldout)
    run, file = dataclasses.replace(small_run, precision="bfloat16"), tmp_path / "job.json"
    job_of(run, mixed, corpus, evaluations=heldout).write(file)
    ranks.run(size, assigned, file)
    assert {str(value.dtype) for value in load_file(mixed.model / "model.safetensors").values()} == {"torch.float32"}
    for ours, theirs in zip(mixed.result()["evals"], full.result()["evals"], strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=0.03)
        assert ours["loss"] != theirs["loss"]
