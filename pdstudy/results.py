"""The results of a study in Python: its runs as a pandas table, its learning curves, its figures and tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from pdstudy.analysis.figures.plot import Plot
    from pdstudy.analysis.report.study_figures import StudyFigures


def results(study: str, scale: str | None = None, workspace: Path | str | None = None) -> pd.DataFrame:
    """One row per run of a study, whatever its state; `pdstudy.analysis.data.runs.load_runs` has the columns.

    Raises `ConfigError` where the study file has problems.
    """
    from pdstudy.analysis.data.runs import load_runs

    return load_runs(*_find(study, scale, workspace))


def curves(
    study: str, scale: str | None = None, workspace: Path | str | None = None, *, split: str = "validation"
) -> Plot:
    """Loss on held-out data against training tokens, one line per arm with the range over seeds; of runs under way too.

    In a notebook it shows itself; `.data` has its numbers. Raises `ConfigError` where the study file has problems and
    `DataError` where no run has been evaluated on the split yet.
    """
    from pdstudy.analysis.report.study_figures import draw_curves

    return draw_curves(*_find(study, scale, workspace), split)


def figures(study: str, scale: str | None = None, workspace: Path | str | None = None) -> StudyFigures:
    """The figures and tables of the study's outputs, by title, as its report has them; a notebook shows all of them.

    Raises `ConfigError` where the study file has problems.
    """
    from pdstudy.analysis.report.study_figures import draw_figures

    return draw_figures(*_find(study, scale, workspace))


def _find(study: str, scale: str | None, workspace: Path | str | None) -> tuple[Path, dict[str, Any]]:
    """The root of the workspace and the study's record as of now."""
    from pdstudy.plan.record import make_record
    from pdstudy.plan.study_plan import checked_plan
    from pdstudy.workspace.layout import Workspace

    where = Workspace.default() if workspace is None else Workspace.at(workspace)
    return where.root, make_record(checked_plan(study, scale, where))
