"""Run directories: whose run they are."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pdstudy.config.run import LM
from pdstudy.core.errors import ConfigError
from pdstudy.core.files import read_json, write_json
from pdstudy.workspace.run_dir import RunDir
from tests.core.test_normal import make_run


def test_a_folder_that_holds_another_run_is_refused(tmp_path: Path) -> None:
    """It was copied there, or its configuration was edited: its checkpoints would be gone on from."""
    directory, run = RunDir(tmp_path / "run"), make_run(objective=LM())
    directory.create(run)
    before = (directory.path / "config.json").read_bytes()
    directory.create(run)
    other = dataclasses.replace(run, optimiser=dataclasses.replace(run.optimiser, lr=0.5))
    with pytest.raises(ConfigError, match="holds another run than its name says; move it away"):
        directory.create(other)
    assert (directory.path / "config.json").read_bytes() == before
    elsewhere = RunDir(tmp_path / "other")
    elsewhere.create(other)
    edited = read_json(directory.path / "config.json") | {"hashed": read_json(elsewhere.path / "config.json")["hashed"]}
    write_json(directory.path / "config.json", edited)
    with pytest.raises(ConfigError, match="holds another run"):
        directory.create(run)


def test_a_process_whose_run_another_has_taken_over_writes_nothing(tmp_path: Path) -> None:
    ours = RunDir(tmp_path / "run")
    ours.create(make_run(objective=LM()))
    ours.set_status("running", step=1)
    ours.append_metrics({"step": 1})
    ours.append_eval({"step": 1})
    before = {path.name: path.read_bytes() for path in ours.path.iterdir()}

    def replaced() -> None:
        raise SystemExit(76)

    replaced_one = dataclasses.replace(ours, guard=replaced)
    for write in (
        lambda: replaced_one.set_status("done", step=2),
        lambda: replaced_one.append_metrics({"step": 2}),
        lambda: replaced_one.append_eval({"step": 2}),
    ):
        with pytest.raises(SystemExit):
            write()
    assert {path.name: path.read_bytes() for path in ours.path.iterdir()} == before
