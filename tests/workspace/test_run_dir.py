"""Run directories: whose run they are."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pdstudy.config.run import LM
from pdstudy.core.errors import ConfigError
from pdstudy.core.files import read_json, write_json
from pdstudy.train.training_job import missing_model
from pdstudy.workspace.run_dir import RunDir, list_checkpoints
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


def test_copies_beside_checkpoints_are_none_and_steps_rise_beyond_eight_digits(tmp_path: Path) -> None:
    """A folder `step-00000010.bak` ended the run with a ValueError."""
    directory = RunDir(tmp_path / "run")
    for name in ("step-00000010", "step-100000000", "step-00000010.bak", "step-old", "step-12", ".step-00000030.1"):
        (directory.checkpoints / name).mkdir(parents=True)
    assert [path.name for path in list_checkpoints(directory.checkpoints)] == ["step-00000010", "step-100000000"]
    assert directory.saved == [10, 100_000_000]


def test_a_lost_model_of_a_finished_run_is_said_with_the_way_to_get_it_back(tmp_path: Path) -> None:
    """ "Run" said that it was not there, again and again."""
    directory, run = RunDir(tmp_path / "run"), make_run(objective=LM())
    directory.create(run)
    assert missing_model("teacher", directory.model) == f"its teacher {directory.path} is not finished"
    write_json(directory.path / "result.json", {"state": "done"})
    said = missing_model("teacher", directory.model)
    assert said is not None
    assert f"though its run has ended; delete {directory.path / 'result.json'} and run again" in said
    directory.model.mkdir()
    assert missing_model("teacher", directory.model) is None
