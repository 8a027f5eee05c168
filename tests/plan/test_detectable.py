"""The smallest difference that a study can show, from finished runs of its size or the user's figure."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from pdstudy import axis
from pdstudy.core.power import smallest_effect
from pdstudy.plan.detectable import detectable
from pdstudy.study.collection import Collection
from pdstudy.workspace.layout import Workspace
from tests.core.tiny import leave_finished
from tests.study.test_study import make_study


def test_finished_runs_of_the_size_tell_it_whatever_study_they_are_of(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    study = make_study(seeds=(0, 1, 2, 3))
    losses = {"LM": [4.0, 4.1, 4.2, 4.0], "KD": [3.9, 4.05, 4.0, 3.95]}
    for cell in study.cells:
        leave_finished(workspace, cell.run, evaluations=study.evaluations)
        path = workspace.run(cell.run).path / "result.json"
        result = json.loads(path.read_text())
        result["evals"][-1]["loss"] = losses[cell.labels["loss"]][cell.seed]
        path.write_text(json.dumps(result))
    other = make_study(name="other", seeds=(7, 8, 9))
    (found,) = detectable(other, workspace)
    sd = float(np.std(np.subtract(losses["KD"], losses["LM"]), ddof=1))
    assert found.sd == pytest.approx(sd)
    assert found.effect == pytest.approx(smallest_effect(sd, 3))
    assert (found.seeds, found.comparisons) == (3, 1)
    assert "of 8 finished runs here" in str(found)


def test_without_runs_it_is_not_known_and_the_users_figure_serves(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    (none,) = detectable(make_study(), workspace)
    assert none.effect is None
    assert str(none).endswith("give --sd")
    (found,) = detectable(make_study(seeds=(0, 1, 2)), workspace, sd=0.01)
    assert found.effect == pytest.approx(0.0326, abs=1e-4)
    assert "0.033 nats per token of test loss with a chance of 80% at 5%; standard" in str(found)
    (one,) = detectable(make_study(seeds=(0,)), workspace, sd=0.01)
    assert one.effect == math.inf
    assert "one seed tells no difference from noise" in str(one)
    assert detectable(make_study(baseline={}), workspace) == []


def test_of_a_folder_the_study_that_compares_most_counts(tmp_path: Path) -> None:
    many = axis("lr", {str(i): i * 1e-3 for i in range(1, 6)}, field="optimiser.lr")
    studies = (make_study(name="few"), make_study(name="many", grid=many, baseline={"lr": "1"}))
    (found,) = detectable(Collection.of("all", studies), Workspace(tmp_path), sd=0.01)
    assert found.comparisons == 4
    assert "over 4 comparisons" in str(found)
