"""A search on several GPUs, invented ones: as many trials at a time as there is room for, and their runs on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pdstudy.cli.progress import SearchLines
from pdstudy.config.placement import Execution
from pdstudy.launch.devices import Devices
from pdstudy.launch.local import RunOutcome
from pdstudy.search import local_driver
from pdstudy.search.local_driver import count_trials
from pdstudy.search.trial_plans import plan_trials
from pdstudy.workspace.layout import Workspace
from tests.search.synthetic import make_search


@pytest.mark.parametrize(
    ("devices", "workers", "trials"),
    [
        (Devices(), 3, 3),
        (Devices(("0", "1", "2")), 4, 3),
        (Devices(("0", "1", "2"), per_device=2), 7, 6),
        (Devices(("0", "1", "2"), per_device=2), 2, 2),
        (Devices(tuple("01234"), rules=(Execution(gpus=2),)), 6, 2),
        (Devices(("0",), rules=(Execution(gpus=2),)), 2, 1),
    ],
)
def test_there_are_as_many_trials_as_there_is_room_for(devices: Devices, workers: int, trials: int) -> None:
    assert count_trials(make_search(), workers, devices) == trials


def test_trials_are_runs_on_the_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search, workspace, devices = make_search(), Workspace(tmp_path), Devices(("0", "1"))
    given: dict[str, Any] = {}

    def drive(plan: object, workspace: Workspace, **options: Any) -> RunOutcome:
        given.update(options)
        given["runs"] = options["more"](RunOutcome()).runs_as("student")
        return RunOutcome()

    monkeypatch.setattr(local_driver, "drive", drive)
    shared = plan_trials(search, workspace, [])
    local_driver._carry_out(search, workspace, shared, 3, SearchLines(), devices)
    assert (given["devices"], given["workers"]) == (devices, 3)
    assert len(given["runs"]) == 2
