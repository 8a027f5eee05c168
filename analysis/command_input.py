"""The table, law and numbers that a command line names."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import pandas as pd

from pdstudy.analysis.data.points import column
from pdstudy.analysis.data.table_file import derive, keep_lowest, parse_number, read_table, select_rows
from pdstudy.analysis.errors import AnalysisError
from pdstudy.analysis.fit.joint_fit import AUTO
from pdstudy.analysis.laws import ALL, Law, parse_law, power_law
from pdstudy.analysis.laws.law_text import EXAMPLE

LAWS = {law.name: law for law in ALL}
"""Laws by their names on the command line."""


def read_command_table(args: argparse.Namespace, labels: Sequence[str] = ()) -> pd.DataFrame:
    """The file with units, derived columns, the rows that satisfy the condition, and the best run of each group."""
    table = read_table(args.data, labels)
    quantities = {"N": getattr(args, "n", None), "D": getattr(args, "d", None)}
    for name, factor in read_values(args.units, "--units").items():
        chosen = quantities.get(name) or name
        table[chosen] = factor * column(table, chosen, "--units")
    for text in args.derive:
        table = derive(table, text)
    if args.where:
        table = select_rows(table, args.where)
    if bool(args.lowest) != bool(args.per):
        raise AnalysisError("--lowest COL and --per COL,COL go together: the row of lowest COL of each group is kept")
    return keep_lowest(table, args.lowest, args.per.split(",")) if args.lowest else table


def read_values(texts: Sequence[str], option: str) -> dict[str, float]:
    """NAME=NUMBER pairs, separated by commas."""
    found = {}
    for part in (p for text in texts for p in text.split(",")):
        name, _, value = part.partition("=")
        try:
            found[name.strip()] = parse_number(value or "no value")
        except ValueError:
            raise AnalysisError(f"{option} {part!r}: write NAME=NUMBER, for example N=7e9") from None
    return found


def read_columns(args: argparse.Namespace) -> dict[str, str]:
    """The columns of the law's quantities: those of --n, --d and --col."""
    columns = {k: v for k, v in (("N", args.n), ("D", args.d)) if v}
    for text in args.col:
        name, equal, value = text.partition("=")
        if not equal or not value:
            raise AnalysisError(f"--col {text!r}: write NAME=COL, for example --col U=unique_tokens")
        columns[name] = value
    return columns


def read_law(text: str, columns: dict[str, str], *, predicted: Sequence[str] = ()) -> Law:
    """The law of a name or of a formula. `predicted` names quantities that the command itself makes.

    Raises:
        AnalysisError: no such law, or a quantity of it has no column.
    """
    if "^" in text or "+" in text:
        law: Law = parse_law(text)
        columns |= {c: columns.get(c, c) for c in law.columns}
    elif text in LAWS:
        law = LAWS[text]
    else:
        raise AnalysisError(
            f"--law {text!r}: it must be {AUTO}, a formula such as '{EXAMPLE}', or one of {', '.join(LAWS)}"
        )
    if text in ("power", "power-floor") and len(columns) == 1:  # a law of one quantity takes whichever is given
        law = power_law(next(iter(columns)), floor="E" in law.names)
    missing = [c for c in law.columns if c not in columns and c not in predicted]
    if missing:
        options = {"N": "--n COL", "D": "--d COL"}
        raise AnalysisError(f"{law.name} needs {', '.join(options.get(c, f'--col {c}=COL') for c in missing)}")
    return law
