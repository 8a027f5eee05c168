"""Planned cost of a study beside its measured cost, stage by stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pdstudy.analysis.data.study_record import Record, axis_column
from pdstudy.analysis.tables.table import Table, TableCell
from pdstudy.core.files import read_json
from pdstudy.core.run_files import whole_run_file

MAX_STAGES = 12
"""Most rows of students in the table of costs. Axes are dropped, the last first, until no more rows are left."""


def cost_table(workspace: Path, record: Record, runs: pd.DataFrame) -> Table:
    """Planned FLOPs and seconds of every stage against what it took; `runs` is what `load_runs` gives."""
    rate, source = _plan_rate(record)
    stages = _stages(workspace, record, runs)
    rows = [_cost_row(name, flops, flops / rate, seconds) for name, flops, seconds in stages]
    timed = [(flops, seconds) for _, flops, seconds in stages if np.isfinite(seconds)]
    flops, seconds = (float(sum(values)) for values in zip(*timed)) if timed else (float("nan"), float("nan"))
    if len(timed) < len(stages):
        rows.append(_cost_row("all that have run", flops, flops / rate, seconds))
        flops, seconds = sum(f for _, f, _ in stages), float("nan")
    rows.append(_cost_row("all", flops, flops / rate, seconds))
    caption = (
        f"Planned FLOPs and device-seconds (at {rate / 1e9:.3g} GFLOP/s per device, {source}) against measured "
        "seconds of training and evaluation; – where not all of a stage has run or is timed."
    )
    return Table(("stage", "planned FLOPs", "planned s", "actual s", "actual/planned"), tuple(rows), caption)


def _plan_rate(record: Record) -> tuple[float, str]:
    """FLOP/s of a device at which the study was planned before any of its runs was, and where the number is from: a
    rate measured from the runs themselves would be no plan."""
    planned = record.get("first_planned") or record
    if "machine" in record and "finished runs" in planned["rate_source"]:
        return record["machine"]["flops_per_second"], f"assumed for {record['machine']['name']}"
    return planned["rate"], planned["rate_source"]


def _stages(workspace: Path, record: Record, runs: pd.DataFrame) -> list[tuple[str, float, float]]:
    """Name, planned FLOPs and measured seconds (NaN: not known) of each stage."""
    stages = []
    cells = set(runs["run"])
    for teacher in (t for t in record["teachers"] if t["run"] not in cells):
        result = whole_run_file(workspace / "runs" / teacher["run"], "result.json")
        stages.append((teacher["name"], teacher["planned"]["flops"], _spent(result)))
    for store in record["stores"]:
        shards = (workspace / "stores" / store["key"]).glob("shard-*.json")
        took = [read_json(shard).get("seconds", np.nan) for shard in shards]
        stages.append(("logits", store["planned"]["flops"], sum(took) if took else np.nan))
    unique = runs.drop_duplicates("run")
    axes = [axis_column(a) for a in record["axes"]]
    while axes and unique.groupby(axes).ngroups > MAX_STAGES:
        axes.pop()
    for labels, part in unique.groupby(axes, sort=False) if axes else [(("students",), unique)]:
        spent = (part["seconds_train"] + part["seconds_evaluate"]).sum(min_count=len(part))
        planned = part["flops_planned"].sum()
        stages.append((" ".join(map(str, labels)) + f" ({_count(len(part))})", float(planned), float(spent)))
    if tuned := record.get("finetuned"):
        took = [_spent(whole_run_file(workspace / "runs" / t["run"], "result.json")) for t in tuned]
        stages.append((f"finetuning ({_count(len(tuned))})", sum(t["planned"]["flops"] for t in tuned), sum(took)))
    return stages


def _spent(result: dict[str, Any] | None) -> float:
    return float(result["seconds"]["train"] + result["seconds"]["evaluate"]) if result else float("nan")


def _cost_row(name: str, flops: float, planned: float, actual: float) -> tuple[TableCell | str, ...]:
    ratio = actual / planned if planned and actual else float("nan")

    def cell(value: float, text: str) -> TableCell:
        return TableCell(text if np.isfinite(value) else "–", value)

    return (
        name, cell(flops, f"{flops:.2e}"), cell(planned, _seconds(planned)), cell(actual, _seconds(actual)),
        cell(ratio, f"{ratio:.2f}"),
    )  # fmt: skip


def _seconds(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _count(runs: int) -> str:
    return f"{runs} run" if runs == 1 else f"{runs} runs"
