"""The text for sbatch: what a site's shell makes of setup lines, and paths that SLURM would read as something else."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest
from submitit.core.utils import DelayedSubmission

from pdstudy.config.placement import Execution, resolve
from pdstudy.core.errors import ConfigError
from pdstudy.slurm.arrays import Array
from pdstudy.slurm.commands import Request, preview, submit_study
from pdstudy.slurm.job import Job
from pdstudy.slurm.job_main import work
from pdstudy.slurm.outcomes import _infer_ending
from pdstudy.slurm.sbatch import Cluster, array_folder, finish_submission, render_sbatch
from pdstudy.slurm.submit import Refused
from pdstudy.workspace.layout import Workspace
from tests.slurm.small_slurm import Slurm, planned


def run_script(folder: Path, *setup: str) -> subprocess.CompletedProcess[str]:
    """Run what `sbatch` would be given, with an `srun` that only says that it was called."""
    job = Job("student/x", "student", resolve([Execution(setup=setup)], "student", 0))
    text = render_sbatch(Array("student", job.execution, ((job,),), frozenset()), "", "s", Workspace(folder), folder, 1)
    return subprocess.run(["bash", "-c", f"srun() {{ echo started; }}\n{text}"], capture_output=True, text=True)


@pytest.mark.integration
@pytest.mark.parametrize(
    ("setup", "line"),
    [
        (("export A=1", "exit 3"), "exit 3"),
        (("set -e", 'false  # it\'s "this" $HOME'), 'false  # it\'s "this" $HOME'),
        (("test -d /nowhere || exit 3", "export B=2"), "test -d /nowhere || exit 3"),
    ],
)
def test_a_setup_line_that_ends_the_job_is_named(tmp_path: Path, setup: tuple[str, ...], line: str) -> None:
    done = run_script(tmp_path, *setup)
    assert done.returncode != 0
    assert "started" not in done.stdout
    assert (
        done.stderr.splitlines()[-1] == f"a setup line ended the job with exit code {done.returncode} in line: {line}"
    )
    cause, error = _infer_ending("FAILED", started=False, text=done.stderr)
    assert cause == "exception"
    assert line in error


@pytest.mark.integration
def test_setup_lines_that_fail_and_go_on_are_theirs(tmp_path: Path) -> None:
    done = run_script(tmp_path, "false", "export A=1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "started\n", "")
    done = run_script(tmp_path, "trap 'echo cleaned' EXIT")
    assert done.stdout == "started\ncleaned\n"  # a trap of the user's own stays


@pytest.mark.integration
def test_the_workspace_may_have_blanks_in_its_path(tmp_path: Path) -> None:
    folder = tmp_path / "a b's"
    folder.mkdir()
    assert run_script(folder).stdout == "started\n"
    job = Job("student/x", "student", resolve((), "student", 0))
    array = Array("student", job.execution, ((job,),), frozenset())
    text = render_sbatch(array, "", "s", Workspace(folder), folder, 1)
    (output,) = (
        line.removeprefix("#SBATCH --output=")
        for line in text.splitlines()
        if "--output=" in line and "srun" not in line
    )
    assert shlex.split(output) == [str(folder / "slurm" / "arrays" / "ID" / "%j_0_log.out")]


@pytest.mark.integration
@pytest.mark.parametrize("name", ["100%", "a%jb", "a:b", "a\\b", "a\nb"])
def test_a_path_that_slurm_would_expand_is_refused(
    tmp_path: Path, slurm: Slurm, monkeypatch: pytest.MonkeyPatch, workspace: Workspace, name: str
) -> None:
    """Jobs would look for their pickles elsewhere, or import the code of another folder."""
    plan = planned(workspace)
    elsewhere = Workspace(tmp_path / name / "workspace")
    for call in (lambda: submit_study(plan, elsewhere, Request()), lambda: preview(plan(), elsewhere, Request())):
        with pytest.raises(ConfigError, match=r"^workspace: found .*; allowed for jobs: a path without") as refused:
            call()
        assert len(str(refused.value).splitlines()) == 1
    assert not slurm.sent


FULL = Execution(
    partition="gpu", account="abc", qos="long", constraint="a100", nodes=2, tasks_per_node=4, gpus=4, cpus=3,
    memory_gb=1.5, minutes=90, pack=2, warning_seconds=45, parallelism=5,
)  # fmt: skip


def array_of(count: int, execution: Execution = FULL, parallelism: int | None = 5) -> Array:
    made = resolve([execution], "student", 0)
    elements = tuple((Job(f"student/{i}", "student", made),) for i in range(count))
    return Array("student", made, elements, frozenset(), parallelism=parallelism)


def test_everything_that_an_execution_asks_for_is_in_the_text(tmp_path: Path) -> None:
    text = render_sbatch(array_of(7), "afterok:3", "study", Workspace(tmp_path), tmp_path / "code", 2)
    lines = text.splitlines()
    assert {
        "#SBATCH --partition=gpu", "#SBATCH --account=abc", "#SBATCH --qos=long", "#SBATCH --constraint=a100",
        "#SBATCH --nodes=2", "#SBATCH --ntasks-per-node=4", "#SBATCH --gpus-per-node=4", "#SBATCH --time=90",
        "#SBATCH --cpus-per-task=6",  # three for each of two runs
        "#SBATCH --mem=1536M", "#SBATCH --signal=USR2@45", "#SBATCH --array=0-6%5", "#SBATCH --dependency=afterok:3",
        "#SBATCH --kill-on-invalid-dep=yes", "#SBATCH --requeue", "#SBATCH --job-name=study-student",
        "#SBATCH --open-mode=append", "export OMP_NUM_THREADS=2 MKL_NUM_THREADS=2 OPENBLAS_NUM_THREADS=2",
    } <= set(lines)  # fmt: skip
    assert "#SBATCH --comment='pdstudy ID'" in lines
    assert f"export PYTHONPATH={tmp_path / 'code'}${{PYTHONPATH:+:$PYTHONPATH}} PYTHONSAFEPATH=1" in lines
    (srun,) = (line for line in lines if line.startswith("srun"))
    assert "--cpus-per-task=6 --kill-on-bad-exit=1" in srun
    assert "wckey" not in text
    plain = render_sbatch(array_of(1, Execution()), "", "study", Workspace(tmp_path), tmp_path, 4)
    assert "#SBATCH --cpus-per-task=4" in plain.splitlines()  # as many as it has threads
    assert not any(word in plain for word in ("--array", "--dependency", "--kill-on-invalid-dep", "--gpus", "--mem"))


@pytest.fixture
def sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an `sbatch` that notes its script and variables, and answers as the file `answer` says."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "srun").write_text("#!/bin/sh\n")
    (tools / "sbatch").write_text(
        f'#!/bin/sh\nfor last; do :; done\ncp "$last" {tools}/script\nenv > {tools}/variables\n. {tools}/answer\n'
    )
    for tool in ("srun", "sbatch"):
        (tools / tool).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    return tools


def make_cluster(tmp_path: Path) -> Cluster:
    return Cluster(Workspace(tmp_path / "ws"), "s", lambda job: {"unit": job.key}, code=tmp_path / "code", threads=1)


@pytest.mark.integration
def test_an_array_is_sent_with_a_pickle_per_element_and_a_line_of_tasks(tmp_path: Path, sbatch: Path) -> None:
    (sbatch / "answer").write_text("echo Submitted batch job 41\n")
    cluster = make_cluster(tmp_path)
    assert cluster.send("abc", array_of(3), "") == "41"
    folder = array_folder(Workspace(tmp_path / "ws"), "abc")
    assert sorted(path.name for path in folder.glob("*.pkl")) == [f"41_{i}_submitted.pkl" for i in range(3)]
    header, *elements = map(json.loads, (folder / "tasks.jsonl").read_text().splitlines())
    assert elements == [[{"unit": f"student/{i}"}] for i in range(3)]
    assert header == {
        "workspace": str(tmp_path / "ws"), "cwd": os.getcwd(), "warning_seconds": 45, "time_limits": 20,
    }  # fmt: skip
    sent = [DelayedSubmission.load(folder / f"41_{i}_submitted.pkl") for i in range(3)]
    assert [(s.function, s.args) for s in sent] == [(work, (str(folder / "tasks.jsonl"), i)) for i in range(3)]
    assert (sbatch / "script").read_text().startswith("#!/bin/bash")
    # As if the process had died after sbatch: the next submit makes the same.
    content = {path.name: path.read_bytes() for path in folder.glob("*.pkl")}
    for path in folder.glob("*.pkl"):
        path.unlink()
    finish_submission(Workspace(tmp_path / "ws"), "abc", "41", 3)
    again = [DelayedSubmission.load(folder / name) for name in sorted(content)]
    assert [(s.function, s.args) for s in again] == [(s.function, s.args) for s in sent]


@pytest.mark.integration
@pytest.mark.parametrize(
    ("complaint", "limit", "unanswered"),
    [
        ("sbatch: error: QOSMaxSubmitJobPerUserLimit", True, False),
        ("sbatch: error: invalid partition specified: nowhere", False, False),
        ("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation", True, True),
    ],
)
def test_a_refusal_leaves_no_files_and_an_unanswered_one_all(
    tmp_path: Path, sbatch: Path, complaint: str, limit: bool, unanswered: bool
) -> None:
    (sbatch / "answer").write_text(f"echo '{complaint}' >&2; exit 1\n")
    with pytest.raises(Refused) as refused:
        make_cluster(tmp_path).send("abc", array_of(3), "")
    assert (refused.value.limit, refused.value.unanswered) == (limit, unanswered)
    assert complaint.removeprefix("sbatch: error: ") in refused.value.reason
    assert array_folder(Workspace(tmp_path / "ws"), "abc").exists() is unanswered


@pytest.mark.integration
def test_jobs_sent_from_inside_a_job_have_nothing_of_it(
    tmp_path: Path, sbatch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (sbatch / "answer").write_text("echo Submitted batch job 41\n")
    inside = {"SLURM_JOB_ID": "7", "SLURM_MEM_PER_CPU": "100", "SRUN_DEBUG": "3", "SUBMITIT_X": "y"}
    for name, value in {**inside, "SLURM_CONF": "/etc/ours.conf"}.items():
        monkeypatch.setenv(name, value)
    make_cluster(tmp_path).send("abc", array_of(1), "")
    seen = dict(line.partition("=")[::2] for line in (sbatch / "variables").read_text().splitlines() if "=" in line)
    assert not inside.keys() & seen.keys()
    assert seen["SLURM_CONF"] == "/etc/ours.conf"
    assert os.environ["SLURM_JOB_ID"] == "7"
