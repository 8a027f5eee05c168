"""Sentences about what a comparison's runs share."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from pdstudy.analysis.report.controls import name_controls
from tests.analysis.made_workspace import two_arms


def test_studies_that_share_the_baselines_runs_are_named(tmp_path: Path) -> None:
    record = two_arms(tmp_path)
    runs = pd.DataFrame({"cell": [c["name"] for c in record["cells"]]})
    assert name_controls(tmp_path, record, runs) == ""
    (tmp_path / "studies").mkdir()
    lm = [c for c in record["cells"] if c["labels"]["loss"] == "LM"]
    kd = [c for c in record["cells"] if c["labels"]["loss"] == "KD"]
    others = {
        "made": record,
        "s2": {"study": "s2", "baseline": {"p": "1"}, "cells": [{"labels": {"p": "1"}, "run": lm[0]["run"]}]},
        "s3": {"study": "s3", "baseline": {"p": "1"}, "cells": [{"labels": {"p": "2"}, "run": lm[0]["run"]}]},
        "s4": {"study": "s4", "baseline": {"p": "1"}, "cells": [{"labels": {"p": "1"}, "run": kd[0]["run"]}]},
        "s5": {"study": "s5", "baseline": {}, "cells": [{"labels": {}, "run": lm[0]["run"]}]},
    }
    for name, other in others.items():
        (tmp_path / "studies" / f"{name}.json").write_text(json.dumps(other))
    (tmp_path / "studies" / "torn.json").write_text("{")
    said = name_controls(tmp_path, record, runs)
    assert said.startswith("Runs of the baseline are also that of s2: what they owe to chance")


def test_rates_and_losses_without_a_gradient_are_named(tmp_path: Path) -> None:
    record = two_arms(tmp_path)
    runs = pd.DataFrame({
        "cell": ["loss=LM,seed=0", "loss=LM,seed=1", "loss=MSE,seed=0"],
        "config.optimiser.lr": [0.004, 0.004, 0.004],
        "config.objective.loss.is": [None, None, "MSE"],
        "config.objective.truncation.k": [None, None, 100],
    })  # fmt: skip
    said = name_controls(tmp_path, record, runs)
    assert "Learning rate 0.004 in every arm, whichever would be best for each." in said
    assert "Squared errors have no gradient outside the kept ids" in said
    runs.loc[2, "config.optimiser.lr"] = 0.008
    runs["config.objective.truncation.k"] = None
    assert name_controls(tmp_path, record, runs) == "Learning rates: 0.004 (loss=LM), 0.008 (loss=MSE)."
