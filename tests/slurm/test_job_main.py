"""A job's side without a cluster: slices of a capture, fences, inputs."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pdstudy.config.downstream import OFFLINE_SUITE, Downstream
from pdstudy.config.placement import Execution
from pdstudy.core.errors import ConfigError
from pdstudy.launch.stages import perform
from pdstudy.launch.work_order import TasksJob
from pdstudy.plan.builder import make_plan
from pdstudy.plan.plan import Plan
from pdstudy.slurm.attempt import FENCED, Attempt, read_attempts
from pdstudy.slurm.job import Job, make_job_order, make_jobs
from pdstudy.slurm.job_main import FAILED, ArrayElement, _make_part
from pdstudy.study.study_file import load_study
from pdstudy.train.stop_signals import StopSignals
from pdstudy.train.training_job import TrainingJob
from pdstudy.workspace.layout import Workspace
from tests.slurm.lab import Lab, write_texts


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    lab = Lab(folder, write_texts(folder), None).write(seeds=(0,))
    return lab.folder / "grid.py"


def planned(study: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, slice_tokens: int) -> Plan:
    """The study's plan, with shards so short that its small capture has several."""
    from pdstudy.distill.teacher import capture
    from pdstudy.slurm import job

    monkeypatch.setattr(capture, "SHARD_TOKENS", slice_tokens)
    monkeypatch.setattr(job, "SLICE_TOKENS", slice_tokens)
    return make_plan(load_study(str(study)), workspace)


def make(plan: Plan, jobs: list[Job], workspace: Workspace, *stages: str) -> None:
    items = {i.key: i for i in plan.artifacts}
    for job in jobs:
        if job.stage in stages:
            perform(make_job_order(plan, job, items[job.artifact], workspace), lambda what, share: None, lambda: False)


def shards(workspace: Workspace) -> dict[str, str]:
    found = sorted(workspace.root.glob("stores/*/*/shard-*.safetensors"))
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in found}


@pytest.mark.integration
def test_shards_of_slices_are_those_of_one_capture(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pdstudy.distill.teacher import capture
    from pdstudy.slurm import job as module

    assert module.SLICE_TOKENS == capture.SHARD_TOKENS
    whole, sliced = Workspace(tmp_path / "whole"), Workspace(tmp_path / "sliced")
    plan = planned(study, whole, monkeypatch, 1024)
    jobs = make_jobs(plan, (), whole)
    assert [job.stage for job in jobs] == ["corpus", "teacher", "logits", "student", "student"]
    make(plan, jobs, whole, "corpus", "teacher", "logits")

    plan = planned(study, sliced, monkeypatch, 1024)
    jobs = make_jobs(plan, [Execution(stage="logits", slices=3)], sliced)
    parts = [job for job in jobs if job.stage == "logits"]
    assert [job.sequences for job in parts] == [(0, 32), (32, 96), (96, 160)]
    assert set(jobs[-1].needs) >= {job.key for job in parts}
    make(plan, jobs, sliced, "corpus", "teacher")
    make(plan, parts[::-1], sliced, "logits")
    assert len(shards(sliced)) == 5
    assert shards(sliced) == shards(whole)
    assert all(i.done for i in make_plan(load_study(str(study)), sliced).artifacts if i.kind == "logits")

    # With one slice gone, that slice alone is asked for.
    for path in sliced.root.glob("stores/*/*/shard-0000000032-*"):
        path.unlink()
    plan = planned(study, sliced, monkeypatch, 1024)
    left = [job for job in make_jobs(plan, [Execution(stage="logits", slices=3)], sliced) if job.stage == "logits"]
    assert [job.done for job in left] == [True, False, True]


def test_a_unit_says_which_input_it_lacks(study: Path, tmp_path: Path) -> None:
    """SLURM starts what depends on a job that it has forgotten, so the task looks for itself."""
    workspace = Workspace(tmp_path / "workspace")
    plan = make_plan(load_study(str(study)), workspace)
    jobs = make_jobs(plan, (), workspace)
    items = {i.key: i for i in plan.artifacts}

    def lacking(number: int) -> str:
        order = make_job_order(plan, jobs[number], items[jobs[number].artifact], workspace)
        return str(order.work.missing_input())

    assert lacking(0) == "None"
    assert "its corpus" in lacking(1)
    make(plan, jobs, workspace, "corpus")
    assert lacking(1) == "None"
    assert "its teacher" in lacking(2)
    assert lacking(3) == "None"  # the LM student
    assert "its logits" in lacking(4)
    job = make_job_order(plan, jobs[3], items[jobs[3].artifact], workspace).work
    assert isinstance(job, TrainingJob)
    started = dataclasses.replace(job, start=workspace.run(job.run).model)
    assert "the model that it starts from" in str(started.missing_input())
    assert "its model" in str(TasksJob(Downstream(tasks=OFFLINE_SUITE), tmp_path / "nowhere", tmp_path).missing_input())


ATTEMPT = """
import os, sys
from pathlib import Path
from pdstudy.train.training_job import TrainingJob
from pdstudy.workspace.layout import Workspace
from pdstudy.slurm.attempt import Attempt
with Attempt(Workspace(Path(sys.argv[1])), "student/x", Path(sys.argv[1]) / "claims" / "student-x", None) as attempt:
    attempt.guard()
    print("mine", flush=True)
    sys.stdin.readline()
    attempt.guard()
    print("still mine")
"""


def attempt(workspace: Path, job: str, restart: int) -> subprocess.Popen[str]:
    environment = {**os.environ, "SLURM_JOB_ID": job, "SLURM_RESTART_COUNT": str(restart)}
    process = subprocess.Popen([sys.executable, "-c", ATTEMPT, str(workspace)], env=environment, text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "mine\n"
    return process


@pytest.mark.integration
def test_the_older_of_two_attempts_ends_at_its_guard(tmp_path: Path) -> None:
    old = attempt(tmp_path, "7", 0)
    new = attempt(tmp_path, "7", 1)
    told, _ = old.communicate("\n")
    assert (old.returncode, told) == (FENCED, "")
    told, _ = new.communicate("\n")
    assert (new.returncode, told) == (0, "still mine\n")
    assert [row["event"] for row in read_attempts(Workspace(tmp_path), "student/x")] == ["start", "start", "fenced"]
    assert not (tmp_path / "claims" / "student-x").exists()


def test_an_older_attempt_that_comes_to_its_end_leaves_the_claim_of_the_newer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is no training publishes whole files only, and so may end without having been told."""
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    path = tmp_path / "claims" / "corpus-x"
    with Attempt(Workspace(tmp_path), "corpus/x", path, None):
        newer = Attempt(Workspace(tmp_path), "corpus/x", path, None).__enter__()
    assert newer.is_newest()


def test_a_start_without_its_inputs_says_so_and_makes_nothing(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    workspace = Workspace(tmp_path / "workspace")
    plan = make_plan(load_study(str(study)), workspace)
    job, items = make_jobs(plan, (), workspace)[1], {i.key: i for i in plan.artifacts}
    told = {"unit": job.key, "task": make_job_order(plan, job, items[job.artifact], workspace).to_json()}
    assigned = ArrayElement({"workspace": str(workspace.root), "warning_seconds": 60}, [told])
    assert _make_part(assigned, 0, StopSignals()) == 1
    (end,) = (r for r in read_attempts(workspace, job.key) if r["event"] == "end")
    assert end["cause"] == "dependency"
    assert "its corpus" in end["error"]
    assert not workspace.claim("teacher", plan.artifacts[1].key).exists()


def test_a_local_run_keeps_its_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pdstudy.core.claim import Claim, Claimed

    monkeypatch.setenv("SLURM_JOB_ID", "7")
    path = tmp_path / "claims" / "student-x"
    with Claim(path, "student x"), pytest.raises(Claimed, match="in the hands of process"):
        Attempt(Workspace(tmp_path), "student/x", path, None).__enter__()
    ends = [r["cause"] for r in read_attempts(Workspace(tmp_path), "student/x") if r["event"] == "end"]
    assert ends == ["claimed"]


@pytest.mark.integration
def test_a_log_is_followed_from_before_it_exists(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    modules = "import sys; from pathlib import Path; from pdstudy.cli.status_commands import follow"
    script = f"{modules}; follow(Path(sys.argv[1]), 0)"
    process = subprocess.Popen([sys.executable, "-c", script, str(log)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        for line in ("one\n", "two\n"):
            with log.open("a") as file:
                file.write(line)
            assert process.stdout.readline() == line
    finally:
        process.kill()
        process.communicate()


@pytest.mark.integration
def test_commands_import_nothing_heavy() -> None:
    commands = "pdstudy.cli.main, pdstudy.cli.status_commands, pdstudy.cli.slurm_tables"
    modules = f"{commands}, pdstudy.slurm.commands, pdstudy.slurm.gc"
    script = (
        f"import sys, {modules}; "
        "print([m for m in ('torch', 'transformers', 'numpy', 'pandas', 'submitit') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "[]\n"


@pytest.mark.parametrize("full", [False, True])
def test_a_mistake_in_words_is_one_line_of_the_log_and_of_the_status(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], full: bool
) -> None:
    """A full disk, for one, which may take no row of the attempt either."""
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    workspace = Workspace(tmp_path / "workspace")
    plan = make_plan(load_study(str(study)), workspace)
    job, artifact = make_jobs(plan, (), workspace)[0], plan.artifacts[0]
    order = make_job_order(plan, job, artifact, workspace)
    words = "checkpoint step-00000010 cannot be written to checkpoints: OSError: [Errno 28] No space left on device"

    def perform(*_: object) -> str:
        raise ConfigError(words)

    def end(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pdstudy.slurm.job_main.perform_claimed", perform)
    if full:
        monkeypatch.setattr(Attempt, "end", end)
    element = ArrayElement(
        {"workspace": str(workspace.root), "warning_seconds": 60}, [{"unit": job.key, "task": order.to_json()}]
    )
    assert _make_part(element, 0, StopSignals()) == FAILED
    assert capsys.readouterr().err == f"{words}\n"
    assert not workspace.claim("corpus", artifact.key).exists()
    errors = [row["error"] for row in read_attempts(workspace, job.key) if row["event"] == "end"]
    assert errors == ([] if full else [words])


@pytest.mark.parametrize(("number", "code"), [(1, FAILED), (3, 0)])
def test_what_needs_a_diverged_teacher_does_not_start_and_a_diverged_student_is_a_result(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    """SLURM starts what depends on a job by its exit code."""
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    workspace = Workspace(tmp_path / "workspace")
    plan = make_plan(load_study(str(study)), workspace)
    job, artifact = make_jobs(plan, (), workspace)[number], plan.artifacts[number]
    order = make_job_order(plan, job, artifact, workspace)
    monkeypatch.setattr(type(order.work), "missing_input", lambda self: None)
    monkeypatch.setattr("pdstudy.slurm.job_main.perform_claimed", lambda *_: "diverged")
    header = {"workspace": str(workspace.root), "warning_seconds": 60}
    assert _make_part(ArrayElement(header, [{"unit": job.key, "task": order.to_json()}]), 0, StopSignals()) == code
    assert [row["cause"] for row in read_attempts(workspace, job.key) if row["event"] == "end"] == ["diverged"]


def test_slices_of_a_capture_share_its_flops(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace(tmp_path / "workspace")
    monkeypatch.setattr("pdstudy.slurm.job.SLICE_TOKENS", 1024)
    plan = make_plan(load_study(str(study)), workspace)
    (capture,) = (a for a in plan.artifacts if a.kind == "logits")
    slices = [j for j in make_jobs(plan, [Execution(stage="logits", slices=3)], workspace) if j.stage == "logits"]
    assert [job.sequences for job in slices] == [(0, 32), (32, 96), (96, 160)]
    assert [job.flops for job in slices] == pytest.approx([capture.flops * share for share in (0.2, 0.4, 0.4)])
