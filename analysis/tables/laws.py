"""Tables of laws fitted to a study's own runs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from pdstudy.analysis.laws.base import Array
from pdstudy.analysis.tables.builders import fixed
from pdstudy.analysis.tables.table import Table, TableCell
from pdstudy.core.format import si


def hold_out_table(table: pd.DataFrame, others: Mapping[str, Array]) -> Table:
    """One row per held-out run: its place, prediction with 95 % interval, what was measured and the error.

    `table` has `cell`, the law's columns, `predicted`, `low`, `high` and `loss` (NaN where the run is not done);
    `others` are the predictions of laws that fit as well.
    """
    places = [c for c in ("N", "D", "LT", "LM") if c in table]
    columns = ("run", *places, "predicted", "low", "high", "measured", "error (%)", "inside", *others)
    rows: list[tuple[TableCell | str, ...]] = []
    for i, row in enumerate(table.to_dict("records")):
        done = np.isfinite(row["loss"])
        error = 100 * (row["predicted"] / row["loss"] - 1)
        within = "yes" if row["low"] <= row["loss"] <= row["high"] else "no"
        rows.append(
            (
                str(row["cell"]),
                *(TableCell(si(row[c]) if row[c] >= 1000 else fixed(row[c], 4), row[c]) for c in places),
                *(TableCell(fixed(row[c], 4), row[c]) for c in ("predicted", "low", "high", "loss")),
                TableCell(fixed(error, 2, signed=True), error),
                within if done and np.isfinite(row["low"]) else "not known",
                *(TableCell(fixed(values[i], 4), float(values[i])) for values in others.values()),
            )
        )
    caption = "Held-out runs: predictions with 95 % intervals of one run, and their relative error where measured."
    return Table(columns, tuple(rows), caption + (" To the right: laws that fit as well." if others else ""))
