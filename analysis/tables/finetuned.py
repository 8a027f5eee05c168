"""The report's table of finetuning: held-out losses of the evaluated models before and after it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from pdstudy.analysis.data.runs import outcome
from pdstudy.analysis.data.study_record import Record, axis_column, axis_title
from pdstudy.analysis.tables.builders import fixed
from pdstudy.analysis.tables.table import Table, TableCell
from pdstudy.core.run_state import TRAINED

LOSSES = {"responses_loss": "responses", "test_loss": "test"}
"""Columns that are compared before and after finetuning, and their names in a heading (nats per token)."""


def load_finetuned(workspace: Path, record: Record) -> pd.DataFrame:
    """One row per finished run of the study whose last model was finetuned: `cell` (its name), axis labels, `seed`, and
    for each of `LOSSES` (nats per token, NaN where the study does not evaluate it) NAME_before and NAME_after."""
    rows = []
    for cell in record["cells"]:
        tuned = (each["key"].split("/")[0] for each in cell.get("downstream", ()) if each["final"])
        for model in dict.fromkeys(key for key in tuned if key != cell["run"]):
            before, after = (outcome(workspace / "runs" / key, record) for key in (cell["run"], model))
            if before["state"] in TRAINED and after["state"] in TRAINED:
                labels = {axis_column(axis): label for axis, label in cell["labels"].items()}
                row = {"cell": cell["name"], **labels, "seed": cell["seed"]}
                for name in LOSSES:
                    row |= {f"{name}_before": before[name], f"{name}_after": after[name]}
                rows.append(row)
    losses = [f"{name}_{when}" for name in LOSSES for when in ("before", "after")]
    axes = [axis_column(axis) for axis in record["axes"]]
    return pd.DataFrame(rows, columns=["cell", *axes, "seed", *losses]).astype(dict.fromkeys(losses, float))


def finetuning_table(workspace: Path, record: Record) -> Table | None:
    """A row per arm, means over seeds; None where no finetuned model is done."""
    frame = load_finetuned(workspace, record)
    shown = [name for name in LOSSES if frame[f"{name}_after"].notna().any()]
    if not shown:
        return None
    axes = [axis_column(axis) for axis in record["axes"]]
    rows: list[tuple[TableCell | str, ...]] = []
    for labels, part in frame.groupby(axes, sort=False) if axes else [(("model",), frame)]:
        cells = [_mean(part[f"{name}_{when}"]) for name in shown for when in ("before", "after")]
        rows.append((" ".join(map(str, labels)), TableCell(str(len(part)), len(part)), *cells))
    heads = [f"{LOSSES[name]}, {when}" for name in shown for when in ("before", "after")]
    caption = (
        "Held-out loss before and after finetuning, nats per token; mean over seeds ± standard deviation. Responses: "
        "those of examples that no run has learned, without their prompts."
    )
    return Table((" ".join(map(axis_title, axes)) or "model", "seeds", *heads), tuple(rows), caption, "tab:finetuning")


def _mean(values: pd.Series) -> TableCell:
    spread = f" ± {fixed(values.std(), 3)}" if len(values) > 1 else ""
    return TableCell(fixed(values.mean(), 3) + spread, values.mean())
