"""The index of a folder of studies, which is its result: what each asked, what came out, whether the paper agrees."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pdstudy.analysis.compare.comparison import Comparison, Effect, Verdict
from pdstudy.analysis.data.study_record import Record, axis_column
from pdstudy.analysis.report.page import Page, Section, Text
from pdstudy.analysis.report.study_outputs import Outputs
from pdstudy.analysis.tables.builders import fixed, number
from pdstudy.analysis.tables.paper import paper_gain
from pdstudy.analysis.tables.table import Table, TableCell
from pdstudy.analysis.tables.verdicts import describe_effect
from pdstudy.core.run_state import TRAINED

SCORES = {"loss": "test loss (nats/token)", "accuracy": "test top-1 (points)", "tasks": "tasks (points)"}
"""Metrics of the index and their headings; one that no study has is left out."""

CAPTION = (
    "Each study against its baseline, on test text: how many arms are better, worse and within noise, with their "
    "differences and the ends of their outer intervals (all comparisons of a page on a metric counted). The paper's "
    "finding: its change of average accuracy in per cent for the arms that both have; agreement is of the direction, "
    "where ours is shown."
)


def build_index(title: str, studies: Sequence[Outputs], out: Path) -> Path:
    """Write `out`/index.html: a row per study of a folder, with a link to its page in `out`/STUDY/."""
    compared = [outputs.comparisons.by_metric("test") for outputs in studies]
    shown = {score: head for score, head in SCORES.items() if any(score in each for each in compared)}
    papers = [_paper_gains(o, each.get("loss")) for o, each in zip(studies, compared, strict=True)]
    with_paper = any(papers)
    rows: list[tuple[TableCell | str, ...]] = []
    for outputs, by_metric, gains in zip(studies, compared, papers, strict=True):
        runs = outputs.runs
        name = outputs.record["study"]
        row: list[TableCell | str] = [TableCell(name, link=f"{name}/index.html"), outputs.record["title"]]
        row += [shorten(by_metric[score]) if score in by_metric else "–" for score in shown]
        if with_paper:
            row += [_say_gains(gains), _say_agreement(gains, by_metric)]
        rows.append((*row, f"{runs['state'].isin(TRAINED).sum()} of {len(runs)}"))
    heads = ("study", "question", *shown.values(), *(("paper's finding", "agrees") if with_paper else ()), "runs")
    opening = Text(f"{len(studies)} studies; the runs that they share were made once.")
    table = Table(heads, tuple(rows), CAPTION if with_paper else CAPTION.partition(" The paper's")[0])
    return Page(title, (Section("Studies", (opening, table)),)).save(out / "index.html")


def shorten(comparison: Comparison) -> str:
    """A comparison in a cell: verdicts with their number, differences and the ends of their outer intervals."""
    if len(comparison.effects) == 1:
        return describe_effect(comparison.effects[0])
    parts = []
    for verdict in Verdict:
        part = [e for e in comparison.effects if e.verdict is verdict]
        if part:
            parts.append(f"{len(part)} {verdict.value}" + ("" if verdict is Verdict.SAME else f" {_say_range(part)}"))
    return "; ".join(parts)


def _say_range(effects: Sequence[Effect]) -> str:
    ends = [min(e.difference for e in effects), max(e.difference for e in effects)]
    low, high = (number(v, 2, signed=True) for v in ends)
    outer = [min(e.family_low for e in effects), max(e.family_high for e in effects)]
    text = low if low == high else f"{low} to {high}"
    return text if np.isnan(outer).any() else f"{text} [{', '.join(number(v, 2, signed=True) for v in outer)}]"


def _paper_gains(outputs: Outputs, comparison: Comparison | None) -> dict[tuple[object, ...], float]:
    """The paper's gain in per cent of each arm that has a row in the table that the study names, by place and arm."""
    found: dict[tuple[object, ...], float] = {}
    for output in outputs.record["outputs"]:
        if output["is"] in ("BesidePaper", "PaperTable") and comparison is not None:
            for effect in comparison.effects:
                gain = _paper_gain(outputs.record, output, comparison, effect)
                if np.isfinite(gain):
                    found.setdefault((*effect.stratum, effect.arm), gain)
    return found


def _paper_gain(record: Record, output: dict[str, Any], comparison: Comparison, effect: Effect) -> float:
    labels = dict(zip(comparison.within, map(str, effect.stratum), strict=True))
    labels |= dict(zip(map(axis_column, record["baseline"]), effect.arm.split("/"), strict=False))
    based = labels | {axis_column(axis): label for axis, label in record["baseline"].items()}
    axes = [axis_column(a) for a in ([output["axis"]] if output.get("axis") else record["axes"])]
    pairs = {str(a): str(b) for a, b in output["pairs"]}
    row, base = (" ".join(each[a] for a in axes if a in each) for each in (labels, based))
    return paper_gain(output["table"], pairs.get(row, row), pairs.get(base, base))


def _say_gains(gains: dict[tuple[object, ...], float]) -> str:
    if not gains:
        return "–"
    low, high = (fixed(v, 1, signed=True) for v in (min(gains.values()), max(gains.values())))
    return f"{low} %" if len(gains) == 1 else f"{low} to {high} % ({len(gains)} arms)"


def _say_agreement(gains: dict[tuple[object, ...], float], by_metric: dict[str, Comparison]) -> str:
    """How many verdicts of ours have the direction of the paper's, by metric."""
    said = []
    for score in ("loss", "accuracy"):
        effects = by_metric[score].effects if score in by_metric else ()
        same = opposite = 0
        for effect in effects:
            gain = gains.get((*effect.stratum, effect.arm), 0.0)
            ours = {Verdict.BETTER: 1, Verdict.WORSE: -1}.get(effect.verdict, 0)
            same, opposite = same + (ours * gain > 0), opposite + (ours * gain < 0)
        if gains and effects:
            open_ = len(gains) - same - opposite
            parts = [f"{n} {word}" for n, word in ((same, "agree"), (opposite, "disagree"), (open_, "undecided")) if n]
            said.append(f"by {'loss' if score == 'loss' else 'top-1'} {', '.join(parts)}")
    return "; ".join(said) or "–"
