"""Every run of a study with its state and its loss, and links to its configuration and log where they are."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from pdstudy.analysis.tables.builders import fixed
from pdstudy.analysis.tables.table import Table, TableCell


def list_runs(workspace: Path, runs: pd.DataFrame, out: Path) -> Table:
    """A row per combination of arm and seed; `runs` is the table of `load_runs`, `out` the folder of the page, from
    which links lead into the workspace. A page made from its data has none: the configurations are in the data."""
    rows: list[tuple[TableCell | str, ...]] = []
    for _, row in runs.iterrows():
        folder = workspace / "runs" / str(row["run"])
        near = quote(os.path.relpath(folder, out)) if (folder / "log.txt").exists() else ""
        loss = row["test_loss"]
        rows.append(
            (
                str(row["cell"]),
                str(row["state"]).replace("evaluate", "not evaluated"),
                TableCell(fixed(loss, 4), loss),
                TableCell(str(row["run"]), link=f"{near}/config.json" if near else ""),
                TableCell("log" if near else "–", link=f"{near}/log.txt" if near else ""),
            )
        )
    caption = "Every run; its test loss in nats per token, and the key of its configuration."
    return Table(("run", "state", "test loss", "configuration", "log"), tuple(rows), caption)
