"""The text for sbatch: what a site's shell makes of setup lines, and paths that SLURM would read as something else."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from pdstudy.config.placement import Execution, resolve
from pdstudy.core.errors import ConfigError
from pdstudy.slurm.arrays import Array
from pdstudy.slurm.commands import Request, preview, submit_study
from pdstudy.slurm.job import Job
from pdstudy.slurm.outcomes import _infer_ending
from pdstudy.slurm.sbatch import render_sbatch
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
