"""A user's table of runs from a file: CSV, TSV, semicolons or JSON lines, and conditions on its rows.

Quantities are float64 from here on: a product such as 6 N D of integers would overflow. Labels stay the text of the
file, so that an arm called 0.001 or None keeps its name.
"""

from __future__ import annotations

import ast
import io
import json
import re
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from pdstudy.analysis.data.points import column, find_column, list_columns
from pdstudy.analysis.errors import DataError

MISSING = frozenset(("", "NA", "N/A", "NaN", "nan", "null", "None"))
"""Texts that stand for a missing number; in a column of labels they are labels."""

FUNCTIONS = ("exp", "log", "log10", "sqrt", "abs")
"""Functions that may stand in an expression of columns."""

_SUFFIX = {"k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "G": 1e9, "T": 1e12}


def read_table(path: Path | str, labels: Collection[str] = ()) -> pd.DataFrame:
    """The table in a file, its index the file's own line numbers.

    A column all of whose values are numbers, also as 300M or 1.5B, is float64; decimal commas are read where the file
    separates by semicolons or tabs. `labels` names columns that stay text.

    Raises:
        DataError: no table, or no rows. OSError: the file can't be read.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no text in UTF-8: {error}") from None
    if path.suffix in (".jsonl", ".ndjson") or text.lstrip().startswith("{"):
        raw, comma = _read_json_lines(path, text), False
    else:
        first = text.partition("\n")[0]
        separator = max(",;\t", key=first.count)
        comma = separator != ","
        try:
            # The header is a row like others: pandas would rename a second column of a name, and of rows that are
            # longer than the header make the first field an index.
            raw = pd.read_csv(
                io.StringIO(text), sep=separator, dtype=str, keep_default_na=False, skip_blank_lines=False, header=None
            )
        except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
            raise DataError(f"{path} is no table of one header line and separators: {str(error).strip()}") from None
        raw.index = pd.RangeIndex(1, len(raw) + 1)
        raw, raw.columns = raw.iloc[1:], raw.iloc[0]
        raw = raw[(raw != "").any(axis=1)]
    if not len(raw):
        raise DataError(f"{path} has a header and no rows")
    raw.columns = [str(c).strip() or f"column {number}" for number, c in enumerate(raw.columns, 1)]
    if len(twice := raw.columns[raw.columns.duplicated()]):
        raise DataError(f"{path} has more than one column {twice[0]!r}; rename all but one")
    return pd.DataFrame(
        {c: _texts(raw[c]) if c in labels else _numbers_or_texts(raw[c], comma) for c in raw.columns}, index=raw.index
    )


def select_rows(table: pd.DataFrame, expression: str) -> pd.DataFrame:
    """The rows for which a condition holds. Raises `DataError` as `evaluate`, or where no row is left."""
    kept = table[evaluate(table, expression)]
    if not len(kept):
        raise DataError(f"no row satisfies {expression!r}; the table has {len(table)}")
    return kept


def evaluate(table: pd.DataFrame, expression: str) -> np.ndarray:
    """Whether a condition holds, row by row. Only columns, numbers, comparisons and `FUNCTIONS`.

    Raises:
        DataError: another thing in it, an unknown column, or no truth value per row.
    """
    found = _evaluate(table, expression)
    mask = np.asarray(found)
    if mask.dtype != bool or mask.shape != (len(table),):
        raise DataError(f"{expression!r} gives no yes or no per row; write a comparison such as 'loss < 3.4'")
    return mask


def derive(table: pd.DataFrame, rule: str) -> pd.DataFrame:
    """The table with one more column, by a rule such as `D = C / (6 * N)`; exp, log, log10 and sqrt may stand in it.

    Raises:
        DataError: no NAME=EXPRESSION, a column that is there already, or no number per row.
    """
    name, equal, expression = (part.strip() for part in rule.partition("="))
    if not equal or not name.isidentifier() or expression.startswith("="):
        raise DataError(f"--derive {rule!r}: write NAME=EXPRESSION, for example 'D=C/(6*N)'")
    if name in table.columns:
        raise DataError(f"--derive {rule!r}: the table has a column {name!r}; choose another name")
    found = np.asarray(_evaluate(table, expression))
    if found.shape not in ((len(table),), ()) or found.dtype.kind not in "if":
        raise DataError(f"--derive {rule!r} gives no number per row")
    return table.assign(**{name: found.astype(np.float64)})


def keep_lowest(table: pd.DataFrame, lowest: str, groups: Sequence[str]) -> pd.DataFrame:
    """The row with the lowest value of a column in each group of equal values: the best run of a sweep.

    Raises:
        DataError: no such column.
    """
    values = column(table, lowest, "--lowest")
    for name in groups:
        find_column(table, name, "--per")
    order = table.assign(**{"": values}).groupby(list(groups), sort=False)[""].idxmin()
    return table.loc[sorted(order)]


def _evaluate(table: pd.DataFrame, expression: str) -> object:
    """An expression of columns. pandas would resolve `@name`, attributes and their calls; no column needs those."""
    plain = re.sub(r"`[^`]*`", "name", expression)
    try:
        nodes = list(ast.walk(ast.parse(plain.strip(), mode="eval")))
    except SyntaxError:  # pandas says below what is wrong
        nodes = []
    calls = [n for n in nodes if isinstance(n, ast.Call)]
    if (
        "@" in expression
        or "__" in expression
        or any(
            isinstance(n, (ast.Attribute, ast.Subscript, ast.Lambda, ast.NamedExpr, ast.ListComp, ast.GeneratorExp))
            for n in nodes
        )
        or any(not isinstance(c.func, ast.Name) or c.func.id not in FUNCTIONS for c in calls)
    ):
        raise DataError(
            f"{expression!r}: only columns, numbers, texts, comparisons, and/or/not and {', '.join(FUNCTIONS)} may "
            "stand in an expression"
        )
    try:
        return table.eval(expression, engine="python")
    except Exception as error:  # pandas raises many kinds here, all of them about the user's text
        names = list_columns([str(c) for c in table.columns])
        spaced = next((c for c in table.columns if not str(c).isidentifier()), None)
        hint = "" if spaced is None else f"; write a name such as {spaced!r} in backticks: `{spaced}` > 1"
        raise DataError(f"{expression!r} can't be evaluated ({error}); columns: {names}{hint}") from None


def parse_number(text: str, *, decimal_comma: bool = False) -> float:
    """A number as people write it: 3.2, 1e9, 300M, 1.5B; NaN for a missing one. Raises `ValueError` for other text."""
    text = text.strip()
    if text in MISSING:
        return float("nan")
    if decimal_comma and text.count(",") == 1 and "." not in text:
        text = text.replace(",", ".")
    factor = _SUFFIX.get(text[-1], 1.0)
    body = text[:-1].rstrip() if factor != 1.0 else text
    if not re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?inf", body):
        raise ValueError(f"{text!r} is no number")
    return float(body) * factor


def _read_json_lines(path: Path, text: str) -> pd.DataFrame:
    rows: dict[int, dict[str, object]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError as error:
                raise DataError(f"{path}:{number} is no JSON: {error}; write one object per line") from None
            if not isinstance(row, dict):
                raise DataError(f'{path}:{number} is no JSON object; write one per line: {{"N": 1e9, ...}}')
            rows[number] = row
    return pd.DataFrame.from_dict(rows, orient="index")


def _texts(values: pd.Series) -> pd.Series:
    return pd.Series([v if isinstance(v, str) else str(v) for v in values], index=values.index, dtype=object)


def _numbers_or_texts(values: pd.Series, decimal_comma: bool) -> pd.Series:
    try:
        found = [
            parse_number(v, decimal_comma=decimal_comma) if isinstance(v, str) else float("nan" if v is None else v)
            for v in values
        ]
    except (ValueError, TypeError):
        kept = [None if isinstance(v, str) and v.strip() in MISSING else v for v in values]
        return pd.Series(kept, index=values.index, dtype=object)
    return pd.Series(found, index=values.index, dtype=np.float64)
