"""The runs of a study as a pandas table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def results(study: str, scale: str | None = None, workspace: Path | str | None = None) -> pd.DataFrame:
    """One row per run of a study, whatever its state; `pdstudy.analysis.data.runs.load_runs` has the columns.

    Raises `ConfigError` where the study file has problems.
    """
    from pdstudy.analysis.data.runs import load_runs
    from pdstudy.plan.record import make_record
    from pdstudy.plan.study_plan import checked_plan
    from pdstudy.workspace.layout import Workspace

    where = Workspace.default() if workspace is None else Workspace(Path(workspace).resolve())
    return load_runs(where.root, make_record(checked_plan(study, scale, where)))
