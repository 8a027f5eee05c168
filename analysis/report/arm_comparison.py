"""A study's arms against its baseline, matched on every axis that the baseline does not name."""

from __future__ import annotations

import pandas as pd

from pdstudy.analysis.compare.comparison import Comparison
from pdstudy.analysis.compare.seeds import compare
from pdstudy.analysis.data.study_record import Record, axis_column
from pdstudy.analysis.errors import AnalysisError
from pdstudy.core.run_state import TRAINED


def compare_arms(
    runs: pd.DataFrame, record: Record, split: str, score: str = "loss", against: str | None = None
) -> tuple[Comparison, str]:
    """All arms against the baseline or the arm `against`, and the strata left out for want of a shared seed, as text.

    `runs` is the table of `load_runs`; `score` one of its columns after the split's name.

    Raises:
        AnalysisError: the study names no baseline, or no arm shares a finished seed with it yet.
    """
    baseline = record["baseline"]
    if not baseline:
        raise AnalysisError("the study names no baseline")
    within = [axis_column(a) for a in record["axes"] if a not in baseline]
    named = [axis_column(a) for a in baseline]
    metric = f"recalibrated {split} loss" if score == "recalibrated" else f"{split} {score}"
    rows = runs.rename(columns={f"{split}_{score}": metric})
    rows = rows.assign(arm=rows[named].agg("/".join, axis=1))
    reference = against or "/".join(baseline.values())
    kept, missing = [], []
    for stratum, every in rows.groupby(within, sort=False) if within else [((), rows)]:
        part = every[every["state"].isin(TRAINED) & every[metric].notna()]
        seeds = set(part.loc[part["arm"] == reference, "seed"])
        fits = part[(part["arm"] == reference) | part["seed"].isin(seeds)]
        if fits["arm"].nunique() > 1:
            kept.append(fits)
        else:
            missing.append(" ".join(map(str, stratum)) or "all")
    if not kept:
        raise AnalysisError("no arm shares a finished seed with its baseline yet")
    table = pd.concat(kept)
    comparison = compare(table[[*within, "arm", "seed", metric]], metric=metric, baseline=reference, within=within,
                         lower_is_better=score != "accuracy")  # fmt: skip
    return comparison, ", ".join(missing)


def arm_gains(runs: pd.DataFrame, record: Record, split: str) -> pd.DataFrame:
    """One row per arm of each stratum: `difference`, `low`, `high` as gains (baseline minus arm)."""
    frame = compare_arms(runs, record, split)[0].to_frame()
    turned = {"difference": -frame["difference"], "low": -frame["high"], "high": -frame["low"]}
    return frame.assign(**turned)
