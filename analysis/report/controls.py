"""Sentences about what a comparison's runs share: its baseline's runs, their rates, losses that truncation cuts."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from pdstudy.analysis.data.study_record import Record
from pdstudy.core.errors import ConfigError
from pdstudy.core.files import read_json


def name_controls(workspace: Path, record: Record, runs: pd.DataFrame) -> str:
    """The sentences that hold of a study's comparisons; `runs` is the table of `load_runs`."""
    found = (_name_shared_baseline(workspace, record), _name_rates(runs), _name_cut_losses(runs))
    return " ".join(sentence for sentence in found if sentence)


def _name_shared_baseline(workspace: Path, record: Record) -> str:
    """Which other studies of the workspace have the same runs for their baseline."""
    ours = _baseline_runs(record)
    others = []
    for path in sorted((workspace / "studies").glob("*.json")):
        try:
            other = read_json(path)
        except ConfigError:  # damage is said of the study that has it
            continue
        if other["study"] != record["study"] and ours & _baseline_runs(other):
            others.append(str(other["study"]))
    if not others:
        return ""
    return f"Runs of the baseline are also that of {', '.join(others)}: what they owe to chance is in all of them."


def _baseline_runs(record: Record) -> set[str]:
    wanted = dict(record.get("baseline", {})).items()
    return {cell["run"] for cell in record.get("cells", ()) if wanted and wanted <= dict(cell["labels"]).items()}


def _name_rates(runs: pd.DataFrame) -> str:
    """The learning rates of the arms: a comparison at one rate is one of arms that may each want another."""
    column = "config.optimiser.lr"
    if column not in runs or runs[column].isna().all():
        return ""
    by_rate = runs.dropna(subset=[column]).groupby(column, sort=True)["cell"]
    if len(by_rate) == 1:
        return f"Learning rate {next(iter(by_rate.groups)):.3g} in every arm, whichever would be best for each."
    said = []
    for rate, cells in by_rate:
        arms = dict.fromkeys(cell.rpartition("seed=")[0].rstrip(",") for cell in cells)
        shown = "; ".join([*arms][:4]) + (f"; {len(arms) - 4} more" if len(arms) > 4 else "")
        said.append(f"{rate:.3g} ({shown})")
    return f"Learning rates: {', '.join(said)}."


def _name_cut_losses(runs: pd.DataFrame) -> str:
    """Arms whose loss says nothing of ids outside the kept ones."""
    loss, k = "config.objective.loss.is", "config.objective.truncation.k"
    if loss not in runs or k not in runs:
        return ""
    cut = runs[(runs[loss] == "MSE") & runs[k].notna()]
    if not len(cut):
        return ""
    return (
        "Squared errors have no gradient outside the kept ids (cross-entropies push those down by the softmax's sum): "
        "how MSE does here is also how it does on ids cut."
    )
