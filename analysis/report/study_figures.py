"""The figures and tables of a study for a notebook, where they show themselves."""

from __future__ import annotations

import html
from pathlib import Path

from pdstudy.analysis.data.runs import load_evaluations
from pdstudy.analysis.data.study_record import Record
from pdstudy.analysis.errors import DataError
from pdstudy.analysis.figures.plot import Plot
from pdstudy.analysis.figures.run_comparisons import learning_curves
from pdstudy.analysis.report.page import Block
from pdstudy.analysis.report.study_outputs import Outputs
from pdstudy.analysis.tables.table import Table


class StudyFigures(dict[str, list[Block]]):
    """Figures, tables and remarks by the title of their output, in the order of the study file."""

    def _repr_html_(self) -> str:
        parts = []
        for title, blocks in self.items():
            parts.append(f"<h3>{html.escape(title)}</h3>")
            for block in blocks:
                shown = isinstance(block, (Plot, Table))
                parts.append(block._repr_html_() if shown else f"<p>{html.escape(block.text)}</p>")  # type: ignore[union-attr]
        return "\n".join(parts)


def draw_figures(workspace: Path, record: Record) -> StudyFigures:
    """Every declared output of a study, or the sentence that says why it can't be shown."""
    outputs = Outputs(workspace, record)
    return StudyFigures({output["title"]: outputs.blocks(output) for output in record["outputs"]})


def draw_curves(workspace: Path, record: Record, split: str) -> Plot:
    """Held-out loss against tokens of every arm.

    Raises:
        DataError: no evaluation on this split.
    """
    rows = load_evaluations(workspace, record)
    known = sorted(set(rows["split"])) if len(rows) else []
    if split not in known:
        found = ", ".join(known) or "none"
        raise DataError(f"no run of {record['study']} has been evaluated on {split!r}; evaluated are: {found}")
    columns = list(rows.columns)
    axes = columns[columns.index("cell") + 1 : columns.index("seed")]
    rows = rows[rows["split"] == split]
    arm = rows[axes].agg(", ".join, axis=1) if axes else record["study"]
    return learning_curves(rows.assign(arm=arm), y="nats_per_token", y_label=f"{split} loss (nats per token)")
