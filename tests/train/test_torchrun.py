"""One run of a study under torchrun, by the guide's own lines: it leaves what the worker leaves."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pdstudy.config.data import Slice
from pdstudy.config.evaluation import Heldout
from pdstudy.config.run import KD
from pdstudy.core.errors import ConfigError
from pdstudy.core.files import read_jsonl
from pdstudy.core.progress import no_progress
from pdstudy.launch.stages import perform
from pdstudy.launch.work_order import make_order
from pdstudy.plan.artifact import RunArtifact
from pdstudy.plan.builder import make_plan
from pdstudy.study.study_file import load_study
from pdstudy.train.__main__ import main
from pdstudy.train.training_job import TrainingJob, never
from pdstudy.workspace.layout import Workspace
from pdstudy.workspace.run_dir import RunDir
from tests.core.cli import call
from tests.core.guides import block
from tests.core.tiny import write_tiny

HELDOUT = 'Heldout(data=Slice(split="test", tokens=512))'


def guide_lines() -> list[str]:
    return block("pdstudy/slurm/README.md", "pdstudy.train").lines


def table(path: Path) -> tuple[list[list[str]], list[tuple[Any, ...]]]:
    """The columns of each row, and what tells the rows apart."""
    rows = list(read_jsonl(path))
    return [sorted(row) for row in rows], [(row["step"], row.get("eval"), row.get("final")) for row in rows]


@pytest.mark.slow
def test_the_lines_of_the_guide_leave_what_the_worker_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study_file = write_tiny(tmp_path, steps=6).rename(tmp_path / "my_study.py")
    study_file.write_text(
        study_file.read_text().replace(HELDOUT, HELDOUT + ', Probe(data=Slice(split="test", tokens=512))')
    )
    (tmp_path / "studies").mkdir()
    study_file = study_file.rename(tmp_path / "studies" / "my_study.py")
    workspace, by_worker = Workspace(tmp_path / "workspace"), Workspace(tmp_path / "by worker")
    study = load_study(str(study_file))
    refused = call(tmp_path, *guide_lines()[0].replace("'", "").split()[1:])
    assert refused.returncode == 2
    assert refused.stderr.startswith("pdstudy: loss=KD,seed=0: its corpus")
    assert len(refused.stderr.splitlines()) == 1

    def distils(artifact: RunArtifact) -> bool:
        return isinstance(artifact.run.objective, KD)

    plan = make_plan(study, workspace)
    for artifact in plan.artifacts:
        if artifact.kind != "student":
            assert perform(make_order(plan, artifact, workspace), no_progress, never) == "done"
    shutil.copytree(workspace.root, by_worker.root)
    plan = make_plan(study, by_worker)
    (artifact,) = (artifact for artifact in plan.runs if "loss=KD,seed=0" in artifact.cells)
    assert distils(artifact)
    assert perform(make_order(plan, artifact, by_worker), no_progress, never) == "done"
    theirs = RunDir(by_worker.root / "runs" / artifact.key)

    environment = {**os.environ, "PDSTUDY_WORKSPACE": str(workspace.root), "OMP_NUM_THREADS": "1"}
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])
    for line in guide_lines():
        done = subprocess.run(line, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    ours = RunDir(workspace.root / "runs" / artifact.key)
    assert table(ours.metrics_file) == table(theirs.metrics_file)
    assert table(ours.evals_file) == table(theirs.evals_file)
    assert any("gradient_angle" in row for row in read_jsonl(ours.evals_file))
    for mine, other in zip(read_jsonl(ours.evals_file), read_jsonl(theirs.evals_file), strict=True):
        assert mine["loss"] == pytest.approx(other["loss"], rel=1e-3)
    provenance = (ours.path / "provenance.json").read_text()
    assert '"ranks": 2' in provenance
    assert not list((workspace.root / "claims").glob("run-*"))

    # What comes to be wanted later is filled in the same way: an evaluation, a model on the way.
    job = TrainingJob.read(tmp_path / "job.json")
    late = Heldout(data=Slice(split="validation", tokens=256))
    dataclasses.replace(job, evaluations=(*job.evaluations, late), exports=(4,)).write(tmp_path / "late.json")
    assert main(tmp_path / "late.json") == 0
    result = ours.result()
    assert result is not None
    assert [row["slice"] for row in result["evals"]][-1] == [0, 256]
    assert ours.export(4).is_dir()
    assert not (ours.path / "again").exists()

    (tmp_path / "late.json").write_text('{"run": 1}')
    with pytest.raises(ConfigError, match="is no training job; `pdstudy job"):
        TrainingJob.read(tmp_path / "late.json")
    ambiguous = call(tmp_path, "job", "my_study", "*")
    assert "matches 5 runs" in ambiguous.stderr
