"""Tables of laws fitted to a study's own runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from pdstudy.analysis.laws.base import Array
from pdstudy.analysis.scaling.compute_optimal import OptimalPath
from pdstudy.analysis.scaling.crossover import BestTeacher, Estimate
from pdstudy.analysis.scaling.isoflop import IsoFlopFrontier
from pdstudy.analysis.scaling.rate_transfer import RateTransfer
from pdstudy.analysis.tables.builders import fixed, number
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


def isoflop_table(found: IsoFlopFrontier, profiles: pd.DataFrame) -> Table:
    """One row per budget: sizes, how many of their losses were measured there, the best size and tokens or why not."""
    measured = profiles.groupby("C")["measured"].sum()
    rows: list[tuple[TableCell | str, ...]] = []
    for m in found.minima:
        near = measured.iloc[int(np.argmin(np.abs(np.log(measured.index.to_numpy() / m.budget))))]
        rows.append(
            (
                TableCell(number(m.budget, 3), m.budget),
                TableCell(str(m.sizes), m.sizes),
                TableCell(str(int(near)), int(near)),
                *(TableCell("\N{EN DASH}" if m.refused else si(v), v) for v in (m.n, m.d)),
                TableCell(fixed(m.loss, 4), m.loss),
                TableCell(fixed(m.spread, 3), m.spread),
                m.refused,
            )
        )
    columns = ("C (FLOPs)", "sizes", "measured", "N*", "D*", "L*", "s.d. of ln N*", "refused")
    return Table(columns, tuple(rows), "Best size of each budget, where it is interior.")


def exponents_table(path: OptimalPath, published: Sequence[tuple[str, float, str]]) -> Table:
    """Exponents of N* and D* by each method with 95 % intervals, and published ones of N*."""
    rows: list[tuple[TableCell | str, ...]] = []
    for e in path.exponents:
        values = (TableCell(fixed(v, 3), v) for v in (e.value, e.low, e.high))
        rows.append((f"{e.quantity} by {e.method}", *values, "these runs"))
    nan = float("nan")
    for name, value, how in published:
        rows.append(
            (name, TableCell(fixed(value, 3), value), TableCell("\N{EN DASH}", nan), TableCell("\N{EN DASH}", nan), how)
        )
    caption = (
        "Exponents against compute with 95 % intervals; published ones are of N*. FLOPs here count the head, a large "
        "part of small models, so that the exponents of N* and D* sum to more than 1."
    )
    return Table(("exponent", "value", "low", "high", "from"), tuple(rows), caption)


def rates_table(found: RateTransfer, line: str) -> Table:
    """Best rates by line and width and their drift in steps of root two."""
    rows: list[tuple[TableCell | str, ...]] = []
    for row in found.frame.to_dict("records"):
        rows.append(
            (
                str(row["line"]),
                TableCell(f"{row['width']:g}", row["width"]),
                *(TableCell(number(row[c], 3), row[c]) for c in ("rate", "low", "high")),
                TableCell(fixed(row["loss"], 4), row["loss"]),
                *(TableCell(fixed(row[c], 1, signed=True), row[c]) for c in ("drift", "drift_low", "drift_high")),
                str(row["note"]),
            )
        )
    columns = (line, "width", "best rate", "low", "high", "loss", "drift", "drift low", "drift high", "note")
    source = "95 % by the scatter of seeds" if found.by_seeds else "the neighbouring rates of the grid"
    return Table(
        columns, tuple(rows), f"Best rates, and drift from the smallest width in steps of root 2; low, high: {source}."
    )


def teacher_table_of(best: Mapping[tuple[float, float], BestTeacher]) -> Table:
    """The best teacher's loss of each student (size, tokens), or at which end of the teachers the lowest loss is."""
    rows: list[tuple[TableCell | str, ...]] = []
    for (n, d), found in best.items():
        e = found.teacher_loss
        rows.append(
            (
                TableCell(si(n), n),
                TableCell(si(d), d),
                *(TableCell(fixed(v, 3), v) for v in (e.value, e.low, e.high)),
                TableCell(fixed(found.student_loss, 4), found.student_loss),
                "interior" if found.interior else "at an end: no U within these teachers",
                TableCell(fixed(100 * found.share, 0), found.share),
            )
        )
    columns = ("N", "D", "best teacher loss", "low", "high", "student loss", "where", "interior in resamples (%)")
    return Table(columns, tuple(rows), "Teacher loss at which each student is best, among those of the teachers tried.")


def crossover_table(
    crossed: Mapping[tuple[float, float], Estimate], per_token: Callable[[Array], Array], most: float
) -> Table:
    """Tokens and FLOPs of the student at which distilling and training are equal, by size and teacher loss."""
    rows: list[tuple[TableCell | str, ...]] = []
    for (n, t), e in crossed.items():
        where = "trained is better throughout" if e.value == 0 else "distilled is better throughout"
        if 0 < e.value < np.inf:
            where = "within the runs" if e.value <= most else "beyond the runs"
        flops = e.value * float(per_token(np.array([n]))[0])
        rows.append(
            (
                TableCell(si(n), n),
                TableCell(fixed(t, 4), t),
                *(TableCell(si(v) if 0 < v < np.inf else number(v, 1), v)
                  for v in (e.value, e.low, e.high)),
                TableCell(number(flops, 3), flops),
                where,
            )
        )  # fmt: skip
    columns = ("N", "teacher loss", "crossover tokens", "low", "high", "student FLOPs", "where")
    caption = "Tokens up to which a student is better distilled, teacher not charged, with 95 % intervals."
    return Table(columns, tuple(rows), caption)


def spending_table(spent: pd.DataFrame) -> Table:
    """The lowest loss of each size, budget and scenario, and its gain over training alone (frame of `spend`)."""
    rows: list[tuple[TableCell | str, ...]] = []
    for row in spent.to_dict("records"):
        low, high = row["gain_low"], row["gain_high"]
        verdict = "distil" if low > 0 else "train" if high < 0 else "not known" if np.isfinite(row["gain"]) else ""
        rows.append(
            (
                TableCell(si(row["N"]), row["N"]),
                TableCell(number(row["budget"], 3), row["budget"]),
                str(row["scenario"]),
                *(TableCell(fixed(row[c], 4), row[c]) for c in ("loss", "low", "high")),
                *(TableCell(fixed(row[c], 4, signed=True), row[c]) for c in ("gain", "gain_low", "gain_high")),
                verdict,
                *(
                    TableCell("\N{EN DASH}" if np.isnan(row[c]) else si(row[c]), row[c])
                    for c in ("D", "teacher_N", "teacher_D")
                ),
                TableCell(fixed(row["LT"], 3), row["LT"]),
            )
        )
    columns = ("N", "budget (FLOPs)", "scenario", "loss", "low", "high", "gain", "gain low", "gain high", "better",
               "student D", "teacher N", "teacher D", "teacher loss")  # fmt: skip
    caption = "Lowest loss by budget and by what of the teacher is paid; gain: loss trained minus loss distilled, 95 %."
    return Table(columns, tuple(rows), caption)
