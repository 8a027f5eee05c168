"""A search's record as a table: a row per trial, a column per dimension, weights of a simplex as shares."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from pdstudy.analysis.data.study_record import Record


@dataclass(frozen=True)
class Dimension:
    """A column of `Searched.trials` that was searched: a number on a plain or logarithmic axis, a weight of a simplex,
    or a choice."""

    column: str
    label: str
    kind: str
    """number, log, weight or choice."""
    levels: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 1.0


@dataclass(frozen=True)
class SimplexWeights:
    """Columns of weights that sum to 1."""

    terms: tuple[str, ...]
    columns: tuple[str, ...]


class Searched:
    """The record of a search (`pdstudy.search.search_record`), read."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.simplexes = [
            SimplexWeights(tuple(s["terms"]), tuple(f"{s['name']}/{term}" for term in s["terms"]))
            for s in record["simplexes"]
        ]
        weights = [
            Dimension(column, f"weight of {term}", "weight")
            for s in self.simplexes
            for term, column in zip(s.terms, s.columns)
        ]
        fields = [
            Dimension(f["name"], f"{f['label']} ({f['within']})" if f["within"] else f["label"], f["kind"],
                      tuple(f.get("levels", ())), f.get("low", 0.0), f.get("high", 1.0))
            for f in record["fields"]
        ]  # fmt: skip
        self.dimensions = [*weights, *fields]

    @cached_property
    def trials(self) -> pd.DataFrame:
        """Columns `number`, `state` (complete, pruned, failed, running, reused), `within` (it keeps the constraints),
        `value` (and `value2` of a second objective; NaN where a trial was not trained in full), `rung TOKENS` of each
        rung, every dimension's, `trained` (runs), `flops`, `full_flops`
        (of its own runs, had all been trained to the end), `seconds`."""
        rows = []
        for trial in self.record["trials"]:
            values = trial["values"] or [np.nan] * len(self.record["objectives"])
            row: dict[str, Any] = {"number": trial["number"], "state": trial["state"], "reason": trial["reason"]}
            row["within"] = trial["within"]
            row |= {("value", "value2")[i]: value for i, value in enumerate(values)}
            row |= {f"rung {tokens}": trial["rungs"].get(str(tokens), np.nan) for tokens in self.rungs}
            row |= {f"{name}/{term}": w for name, each in trial["weights"].items() for term, w in each.items()}
            names = {d.column for d in self.dimensions}
            row |= {name: value for name, value in trial["params"].items() if name in names and name not in row}
            rows.append(row | {name: trial[name] for name in ("trained", "flops", "full_flops", "seconds")})
        rungs = [f"rung {tokens}" for tokens in self.rungs]
        always = ["number", "state", "reason", "within", "value", *rungs, "trained", "flops", "full_flops", "seconds"]
        return pd.DataFrame(rows) if rows else pd.DataFrame(columns=always)

    @property
    def rungs(self) -> list[int]:
        """Tokens of the rungs below the whole length."""
        return list(self.record["lengths"])[:-1]

    @property
    def scored(self) -> pd.DataFrame:
        """The trials that were trained in full and keep the constraints."""
        done = self.trials.dropna(subset=["value"])
        return done[done["within"].astype(bool)]

    def ranked(self, numbers: bool = False) -> list[Dimension]:
        """Dimensions that trials have, the most important first; only numbers on request."""
        shares = self.record["importances"]
        there = [d for d in self.dimensions if d.column in self.trials and (d.kind != "choice" or not numbers)]
        return sorted(there, key=lambda d: -shares.get(d.column, 0.0))

    @property
    def objective(self) -> str:
        return str(self.record["objectives"][0])
