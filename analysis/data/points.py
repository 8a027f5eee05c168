"""A table of runs as the points of a fit; data that can't be fitted are refused with the way to mend them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from pdstudy.analysis.data.dependence import suspect_checkpoints
from pdstudy.analysis.errors import DataError
from pdstudy.analysis.laws.base import Array, Index, Law

CONVENTION = "n_convention"
"""Column that states how N was counted ('non-embedding', 'total', 'total with head', ...); one value per table."""

COLUMNS_NAMED = 12
"""Columns of a table that a message names; a table of runs has some ninety."""

DUPLICATES = ("refuse", "drop", "keep")
"""Ways to treat equal rows: refuse the table, drop the copies, or keep them as runs of their own."""


@dataclass(frozen=True)
class Points:
    """Runs as arrays: `x` by column name, losses, weights (mean 1), clusters and the table's row labels."""

    x: Mapping[str, Array]
    loss: Array
    weights: Array
    clusters: tuple[object, ...]
    rows: tuple[object, ...]
    convention: str = ""
    warnings: tuple[str, ...] = ()
    """Sentences about the table that belong beside every result."""

    def __len__(self) -> int:
        return len(self.loss)

    @property
    def log_loss(self) -> Array:
        """ln of the loss."""
        return np.log(self.loss)

    def take(self, index: Index) -> Points:
        """These points, by position."""
        return replace(
            self,
            x={c: v[index] for c, v in self.x.items()},
            loss=self.loss[index],
            weights=self.weights[index],
            clusters=tuple(self.clusters[i] for i in index),
            rows=tuple(self.rows[i] for i in index),
        )


def column(table: pd.DataFrame, name: str, meaning: str) -> Array:
    """A column as finite float64 numbers.

    Raises:
        DataError: no such column (with those there are and the nearest name), texts, NaN or infinities in it.
    """
    find_column(table, name, meaning)
    try:
        values = pd.to_numeric(table[name]).to_numpy(dtype=np.float64)
    except (ValueError, TypeError):
        wrong = pd.to_numeric(table[name].astype(object), errors="coerce").isna() & table[name].notna()
        at = np.flatnonzero(wrong.to_numpy())
        text = table[name].iloc[at[0]] if len(at) else table[name].iloc[0]
        raise DataError(
            f"column {name!r} for {meaning} holds {text!r} in {name_rows(table, at)}, which is no number; write "
            "1.5e9 or 1.5B, with a decimal point and without separators of thousands"
        ) from None
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise DataError(
            f"column {name!r} for {meaning} is NaN or infinite in {name_rows(table, bad)}; "
            "remove these rows and say why (a diverged run is a result, not a point of a fit)"
        )
    return values


def find_column(table: pd.DataFrame, name: str, meaning: str) -> None:
    """Check that there is a column. Raises `DataError` with those there are and the nearest name."""
    if name not in table.columns:
        known = [str(c) for c in table.columns]
        near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise DataError(f"no column {name!r} for {meaning}{hint}; the table has {list_columns(known)}")


def list_columns(names: Sequence[str]) -> str:
    """Names of columns for a message: the first ones, and how many there are beside them."""
    more = f" and {len(names) - COLUMNS_NAMED} more" if len(names) > COLUMNS_NAMED else ""
    return ", ".join(names[:COLUMNS_NAMED]) + more


def positive(table: pd.DataFrame, name: str, meaning: str) -> Array:
    """A column of positive numbers.

    Raises:
        DataError: as `column`, or a value that isn't above zero.
    """
    values = column(table, name, meaning)
    bad = np.flatnonzero(values <= 0)
    if len(bad):
        raise DataError(
            f"column {name!r} for {meaning} is {values[bad[0]]:g} in {name_rows(table, bad)}; laws here are fitted to "
            "logarithms, so every value must be above zero"
        )
    return values


def points(
    table: pd.DataFrame,
    law: Law,
    *,
    loss: str = "loss",
    columns: Mapping[str, str] | None = None,
    weights: str | None = None,
    cluster: str | None = None,
    duplicates: str = "refuse",
) -> Points:
    """The points of a fit from a table.

    Args:
        table: one row per run (or per checkpoint, then give `cluster`).
        loss: column with the loss, in nats per token or whatever one convention the table has.
        columns: which column of the table holds each of the law's columns; those not named are taken by the law's name.
        weights: column with non-negative weights. cluster: column whose equal values belong together (run, seed).
        duplicates: one of `DUPLICATES`.

    Raises:
        DataError: anything that would make the fit a number without meaning.
    """
    if duplicates not in DUPLICATES:
        raise DataError(f"duplicates is {duplicates!r}; it must be one of {', '.join(DUPLICATES)}")
    columns = dict(columns or {})
    for name in columns:
        if name not in law.columns:
            raise DataError(f"{law.name} has no column {name!r}; it needs {', '.join(law.columns)}")
    if not len(table):
        raise DataError("the table has no rows")
    chosen = {c: columns.get(c, c) for c in law.columns}
    _check_distinct([*chosen.values(), loss])
    table, warnings = _treat_duplicates(table, duplicates)
    x = {c: positive(table, name, f"{c} of {law.name}") for c, name in chosen.items()}
    losses = positive(table, loss, "the loss")
    share = np.ones(len(table))
    if weights is not None:
        share = column(table, weights, "weights")
        if share.min() < 0 or share.sum() <= 0:
            raise DataError(f"column {weights!r}: weights must not be negative, and some must be positive")
        used = share > 0
        if not used.all():
            # A run without weight is no run: it must not count towards degrees of freedom or resamples.
            warnings += (f"{int((~used).sum())} rows of weight 0 in {weights!r} were left out",)
            table, losses, share = table[used], losses[used], share[used]
            x = {c: v[used] for c, v in x.items()}
        share = share * (len(share) / share.sum())
    if cluster is not None:
        find_column(table, cluster, "clusters")
    else:
        warnings += suspect_checkpoints(table.drop(columns=[*chosen.values(), loss]), x, losses)
    clusters = tuple(table[cluster]) if cluster is not None else tuple(range(len(table)))
    return Points(x, losses, share, clusters, tuple(table.index), _find_convention(table), warnings)


def name_rows(table: pd.DataFrame, index: Index) -> str:
    """The rows at these positions by their labels in the table, for a message."""
    names = ", ".join(str(table.index[i]) for i in index[:5])
    more = f" and {len(index) - 5} more" if len(index) > 5 else ""
    return f"row{'s' if len(index) > 1 else ''} {names}{more}"


def _check_distinct(names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"column {name!r} is used for two different quantities; name another for one of them")


def _treat_duplicates(table: pd.DataFrame, duplicates: str) -> tuple[pd.DataFrame, tuple[str, ...]]:
    # Whole rows: different runs may well share a size and a rounded loss.
    index = np.flatnonzero(table.duplicated(keep=False).to_numpy())
    if not len(index):
        return table, ()
    if duplicates == "refuse":
        raise DataError(
            f"{name_rows(table, index)} are copies of each other: runs counted twice make intervals too narrow; choose "
            "duplicates='drop' (--duplicates drop) to count each once, or 'keep' where they are runs of their own"
        )
    if duplicates == "keep":
        return table, (f"{name_rows(table, index)} are equal and kept as runs of their own",)
    kept = table.drop_duplicates()
    return kept, (f"{len(table) - len(kept)} rows that are copies of others were dropped ({name_rows(table, index)})",)


def _find_convention(table: pd.DataFrame) -> str:
    if CONVENTION not in table.columns:
        return ""
    found = table[CONVENTION].fillna("").astype(str).value_counts()
    if len(found) > 1:
        counts = ", ".join(f"{name!r} in {count} rows" for name, count in found.items())
        raise DataError(f"column {CONVENTION!r} mixes {counts}; convert N to one convention before fitting")
    return str(found.index[0])
