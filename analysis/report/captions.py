"""Sentences for captions of a study's own figures and tables, and labels of axes as numbers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd

from pdstudy.analysis.errors import AnalysisError
from pdstudy.analysis.figures.plot import Plot
from pdstudy.analysis.report.page import Block
from pdstudy.analysis.tables.table import Table


def tau_convention(runs: pd.DataFrame) -> str:
    """The convention of a static temperature other than 1 in these runs (from `load_runs`); empty where there is none.
    Adaptive rules are their arms' names."""
    at = "config.objective.temperature"
    if f"{at}.is" not in runs:
        return ""
    static = runs[runs[f"{at}.is"] == "Temperature"]
    said = []
    for both, part in static[static[f"{at}.tau"] != 1].groupby(f"{at}.both", sort=False) if len(static) else ():
        whose = "of teacher and student are" if both else "of the teacher alone are"
        times = {True: ", the loss multiplied by tau squared", False: ""}
        said += [f"logits {whose} divided by it{times[bool(s)]}" for s in part[f"{at}.squared"].unique()]
    return f"Temperature (tau): {'; or '.join(said)}." if said else ""


def name_diverged(runs: pd.DataFrame) -> str:
    """Runs that diverged, as a sentence; empty where none did."""
    cells = runs.loc[runs["state"] == "diverged", "cell"]
    return f"Diverged, and so in no mean and no comparison: {', '.join(cells)}." if len(cells) else ""


def noted(block: Block, note: str) -> Block:
    """Our figures and tables with one sentence more in their caption; the paper's own stay as they are."""
    if note and (isinstance(block, Plot) or (isinstance(block, Table) and not block.label.startswith("tab:paper"))):
        return dataclasses.replace(block, caption=f"{block.caption} {note}")
    return block


def parse_numbers(labels: pd.Series) -> pd.Series:
    """The labels of an axis as numbers. Raises `AnalysisError` where one is none."""
    found = pd.to_numeric(labels, errors="coerce")
    if not np.isfinite(found).all():
        wrong = ", ".join(map(repr, labels[~np.isfinite(found)].unique()[:5]))
        raise AnalysisError(f"a sweep is over an axis whose labels are numbers; {labels.name} has {wrong}")
    return found.astype(float)
