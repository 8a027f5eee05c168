"""Two runs side by side: fields that differ, results, and how runs are named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pdstudy import Heldout, Slice, axis
from pdstudy.cli.main import main
from pdstudy.core.errors import ConfigError
from pdstudy.core.files import write_json
from pdstudy.plan.artifact import RunArtifact
from pdstudy.plan.builder import make_plan
from pdstudy.plan.compare_runs import compared_results, differing_fields, planned_run, stored_run
from pdstudy.workspace.layout import Workspace
from tests.core.tiny import leave_finished
from tests.study.test_study import make_study

TEST = Heldout(data=Slice(split="test", tokens=4096))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def students(workspace: Workspace) -> list[RunArtifact]:
    """Two that differ in their rate, the first of which is finished."""
    grid = axis("lr", [1e-3, 2e-3], field="optimiser.lr")
    study = make_study(grid=grid, seeds=(0,), baseline={}, evaluations=(TEST,))
    leave_finished(workspace, study.cells[0].run, evaluations=(TEST,))
    return [run for run in make_plan(study, workspace).runs if run.role == "student"]


def test_fields_and_results_of_a_finished_run_and_one_to_come(workspace: Workspace) -> None:
    first, second = (planned_run(run, workspace) for run in students(workspace))
    assert differing_fields(first, second) == [("optimiser.lr", 1e-3, 2e-3)]
    found = {name: values for name, *values in compared_results(first, second)}
    assert found["state"] == ["done", "new"]
    assert found["test loss"] == [3.0, None]
    assert found["student FLOPs"] == [8e9, None]


def test_runs_are_found_by_folder_key_and_beginning(workspace: Workspace) -> None:
    done = students(workspace)[0]
    folder = done.directory(workspace).path
    for name in (str(folder), done.key, done.key[:5]):
        assert stored_run(name, workspace).folder == folder
    assert differing_fields(stored_run(done.key, workspace), planned_run(done, workspace)) == []
    with pytest.raises(ConfigError, match="run: found 'zz', and no run begins so"):
        stored_run("zz", workspace)
    for name in ("*", str(workspace.root / "absent")):  # no pattern, and no folder
        with pytest.raises(ConfigError, match="no run begins so"):
            stored_run(name, workspace)
    other = folder.with_name(done.key[:4] + "0")
    other.mkdir()
    write_json(other / "config.json", json.loads((folder / "config.json").read_text()))
    with pytest.raises(ConfigError, match=f"2 runs, .*{done.key}.*, begin so"):
        stored_run(done.key[:4], workspace)


def test_values_stand_side_by_side(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    done, _ = students(workspace)
    other = workspace.root / "runs" / "ffff"
    other.mkdir()
    stored = done.directory(workspace).path
    for name in ("config.json", "result.json", "status.json"):
        content = json.loads((stored / name).read_text())
        if name == "config.json":
            content["hashed"]["seed"] = 7
        if name == "result.json":
            content["evals"][0]["loss"] = 2.75
        write_json(other / name, content)
    with pytest.raises(SystemExit) as ended:
        main(["diff", done.key, "ffff", "--workspace", str(workspace.root)])
    assert ended.value.code == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[:2] == [["field", done.key, "ffff"], ["seed", "0", "7"]]
    assert ["test", "loss", "3", "2.75", "-0.25"] in lines


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_shell_completes_commands_and_options(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["completion", shell])
    assert ended.value.code == 0
    script = capsys.readouterr().out
    assert all(word in script for word in ("mirror", "analyse", "--explain", "tensorboard", "pdstudy"))
    assert ("_shtab_compgen_files" if shell == "bash" else "_files") in script
