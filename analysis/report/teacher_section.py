"""The teachers of a study: what each is and has read, and how good it is on the text of its students."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from pdstudy.analysis.data.runs import teacher_outcomes
from pdstudy.analysis.data.study_record import Record
from pdstudy.analysis.tables.builders import fixed
from pdstudy.analysis.tables.table import Table, TableCell
from pdstudy.core.run_state import TRAINED

CAPTION = (
    "Teachers on the text that students are scored on: losses in nats per token, top-1 in per cent. Text seen: the "
    "share of the students' training text that lies in the teacher's own slice."
)


def teacher_table(workspace: Path, record: Record) -> Table | None:
    """All teachers of a study; None without one."""
    outcomes, names = teacher_outcomes(workspace, record), _names(record)
    rows = [_row(names[key], found, _share_seen(record, key)) for key, found in outcomes.items()]
    if not rows:
        return None
    heads = ("teacher", "state", "parameters", "non-embedding", "tokens read", "text seen",
             *(f"{split} {score}" for split in _splits(outcomes) for score in ("loss", "top-1")))  # fmt: skip
    return Table(heads, tuple(tuple(row[head] for head in heads) for row in rows), CAPTION)


def teacher_warnings(workspace: Path, record: Record, runs: pd.DataFrame) -> list[str]:
    """A sentence for each teacher that is no better than a run of the study; `runs` is the table of `load_runs`."""
    outcomes, names = teacher_outcomes(workspace, record), _names(record)
    found = (_warn(names[key], each, runs, split) for key, each in outcomes.items() for split in _splits(outcomes)[-1:])
    return [text for text in found if text]


def _names(record: Record) -> dict[str, str]:
    """The name of each teacher, with its run or its folder."""
    trained = {t["run"]: f"{t['name'][:1].upper()}{t['name'][1:]}, run {t['run']}" for t in record["teachers"]}
    return trained | {each["key"]: f"{each['name']}, folder {each['path']}" for each in record.get("models", ())}


def _splits(outcomes: dict[str, dict[str, Any]]) -> list[str]:
    """Splits on which a teacher was scored, test last."""
    return [
        split
        for split in ("validation", "test")
        if any(each[f"{split}_loss"] is not None for each in outcomes.values())
    ]


def _row(name: str, found: dict[str, Any], seen: float | None) -> dict[str, str | TableCell]:
    row: dict[str, str | TableCell] = {"teacher": name, "state": found["state"].replace("evaluate", "not evaluated")}
    for head, column in (("parameters", "total"), ("non-embedding", "non_embedding"), ("tokens read", "tokens")):
        number = found[column]
        row[head] = "not known" if number is None else TableCell(f"{number:,}", number)
    for split in ("validation", "test"):
        for head, column, scale, places in (("loss", "loss", 1, 4), ("top-1", "accuracy", 100, 2)):
            number = found[f"{split}_{column}"]
            row[f"{split} {head}"] = "–" if number is None else TableCell(fixed(scale * number, places), scale * number)
    row["text seen"] = "not known" if seen is None else TableCell(f"{seen:.0%}", seen)
    return row


def _share_seen(record: Record, key: str) -> float | None:
    """The largest share of a student's text that a teacher has in its own slice."""
    shares = [
        cell["seen"] / cell["planned"]["text"] for cell in record["cells"]
        if key in (cell["teacher"], cell.get("teacher_losses")) and cell.get("seen") is not None
    ]  # fmt: skip
    return max(shares, default=None)


def _warn(name: str, found: dict[str, Any], runs: pd.DataFrame, split: str) -> str:
    """A sentence where a run of the study is as good as the teacher on a split."""
    own, column = found[f"{split}_loss"], f"{split}_loss"
    trained = runs[runs["state"].isin(TRAINED)].dropna(subset=[column]) if len(runs) else runs
    if own is None or not len(trained):
        return ""
    better = trained[trained[column] <= own]
    if not len(better):
        return ""
    best = better.loc[better[column].idxmin()]
    return (
        f"Warning: {name} has a {split} loss of {own:.4f}, which {len(better)} of {len(trained)} runs reach or pass; "
        f"the best is {best['cell']}, {best[column]:.4f}. A gain from this teacher is not that of a better model."
    )
