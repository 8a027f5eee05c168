"""A study's report: from its record and run directories to figures, tables and one page. Works on partial data.

Each output that a study declares is rendered by the function here that its class names; what the data cannot carry is
said in words in its place. Equal results give equal files.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.bootstrap import Bootstrap, bootstrap
from analysis.compare import Comparison, compare
from analysis.errors import AnalysisError
from analysis.figures.fits import loss_and_law
from analysis.figures.grids import line_grid
from analysis.figures.runs import effects
from analysis.fit import DELTA, Fit, fit
from analysis.laws import power_law
from analysis.load import Record, axis_column, final_evaluations, load_evaluations, load_runs, read_json, summary
from analysis.page import Block, Listing, Page, Section, Text
from analysis.plot import Plot
from analysis.style import si
from analysis.table import Cell, Table

BOOTSTRAPS = 1000
MAX_STAGES = 12
"""Rows of students in the table of costs; axes are left out, the last first, until there are no more."""


class Report:
    """The tables of one study and how each of its outputs is made of them."""

    def __init__(self, workspace: Path, record: Record) -> None:
        self.workspace = workspace
        self.record = record
        self.runs = load_runs(workspace, record)
        self.evaluations = load_evaluations(workspace, record)
        self.axes: dict[str, list[str]] = dict(record["axes"])

    @property
    def done(self) -> pd.DataFrame:
        return self.runs[self.runs["state"] == "done"]

    def blocks(self, output: dict[str, Any]) -> list[Block]:
        """An output's figures and tables, or the reason why there are none."""
        makers: dict[str, Callable[[dict[str, Any]], list[Block]]] = {
            "Curves": self.curves,
            "SizeLaw": self.size_law,
            "Compare": self.compare,
            "Sweep": self.sweep,
            "Cost": self.cost,
        }
        try:
            return makers[output["is"]](output)
        except AnalysisError as error:
            return [Text(f"Not shown: {error}")]

    def curves(self, output: dict[str, Any]) -> list[Block]:
        rows = self.evaluations
        rows = rows[rows["split"] == output["split"]] if len(rows) else rows
        if not len(rows):
            return [Text(f"Not shown: no run has been evaluated on the {output['split']} split yet.")]
        lines = axis_column(output["lines"])
        panel = axis_column(output["panels"]) if output["panels"] else None
        self._check_distinct(rows, lines, panel)
        return [
            line_grid(
                rows,
                x="tokens",
                y="nats_per_token",
                arm=lines,
                panel=panel,
                x_label="training tokens",
                y_label=f"{output['split']} loss (nats/token)",
                logarithmic=False,
                caption=f"{output['split'].capitalize()} loss on data against training tokens.",
            )
        ]

    def sweep(self, output: dict[str, Any]) -> list[Block]:
        column, metric = axis_column(output["x"]), f"{output['split']}_loss"
        rows = self.done.dropna(subset=[metric])
        if not len(rows):
            return [Text("Not shown: no run is done yet.")]
        lines = axis_column(output["lines"])
        panel = axis_column(output["panels"]) if output["panels"] else None
        self._check_distinct(rows, lines, panel, column)
        rows = rows.assign(**{column: _numbers(rows[column])})
        plot = line_grid(
            rows,
            x=column,
            y=metric,
            arm=lines,
            panel=panel,
            x_label=output["x"],
            y_label=f"{output['split']} loss (nats/token)",
            logarithmic=bool((rows[column] > 0).all()),
            caption=f"Final {output['split']} loss against {output['x']}; a ring marks the lowest mean.",
            best=True,
        )
        return [plot, _best_levels(plot.data, column, panel, lines)]

    def _check_distinct(self, rows: pd.DataFrame, *columns: str | None) -> None:
        """Raises `AnalysisError` where runs of one seed would fall on one point: what they differ in would be mixed."""
        named = [c for c in columns if c is not None]
        cells = rows.drop_duplicates("cell")
        twice = cells[cells.duplicated([*named, "seed"], keep=False)]
        if len(twice):
            mixed = [a for a in self.axes if axis_column(a) not in named and twice[axis_column(a)].nunique() > 1]
            raise AnalysisError(
                f"runs that differ in {' and '.join(mixed)} would be mixed; let lines or panels name every axis that "
                "tells runs of one seed apart"
            )

    def size_law(self, output: dict[str, Any]) -> list[Block]:
        metric, lines = f"{output['split']}_loss", axis_column(output["lines"])
        rows = self.done.dropna(subset=[metric])
        self._check_distinct(rows, lines, output["size"])
        fits: dict[str, Fit] = {}
        bands: dict[str, Bootstrap] = {}
        notes: list[Block] = []
        for name, part in rows.groupby(lines, sort=False):
            data = part[[output["size"], metric]].rename(columns={output["size"]: "N", metric: "loss"})
            try:
                fits[str(name)], reason = _size_fit(data)
                notes.append(Text(f"{name}: {reason}"))
                bands[str(name)] = bootstrap(fits[str(name)], n=BOOTSTRAPS, seed=0, residual=True)
            except AnalysisError as error:
                notes.append(Text(f"{name}: {error}."))
        if not fits:
            return [Text("No law was fitted."), *notes]
        label = f"student parameters ({output['size'].replace('_', '-')})"
        plot = loss_and_law(fits, bands, x="N", x_label=label, y_label=f"{output['split']} loss (nats/token)")
        return [plot, *notes, *(Listing(f"{name}\n{found.summary()}") for name, found in fits.items())]

    def compare(self, output: dict[str, Any]) -> list[Block]:
        comparison, left_out = self.comparison(output["split"])
        label = f"difference of {output['split']} loss to the baseline (nats/token)"
        blocks: list[Block] = [effects(comparison, label=label), comparison.table()]
        notes = [f"Left out: {left_out}."] if left_out else []
        notes += [diverged] if (diverged := _diverged_line(self)) else []
        return [*blocks, *map(Text, notes)]

    def comparison(self, split: str) -> tuple[Comparison, str]:
        """All arms against the study's baseline, matched on every axis that the baseline does not name."""
        baseline = self.record["baseline"]
        if not baseline:
            raise AnalysisError("the study names no baseline")
        within = [axis_column(a) for a in self.axes if a not in baseline]
        named = [axis_column(a) for a in baseline]
        metric = f"{split} loss"
        rows = self.runs.rename(columns={f"{split}_loss": metric})
        rows = rows.assign(arm=rows[named].agg("/".join, axis=1))
        reference = "/".join(baseline.values())
        kept, missing = [], []
        for stratum, every in rows.groupby(within, sort=False) if within else [((), rows)]:
            part = every[(every["state"] == "done") & every[metric].notna()]
            seeds = set(part.loc[part["arm"] == reference, "seed"])
            fits = part[(part["arm"] == reference) | part["seed"].isin(seeds)]
            if fits["arm"].nunique() > 1:
                kept.append(fits)
            else:
                missing.append(" ".join(map(str, stratum)) or "all")
        if not kept:
            raise AnalysisError("no arm shares a finished seed with its baseline yet")
        table = pd.concat(kept)
        # Strata keep the order of the study, not of the alphabet.
        order = {c: pd.CategoricalDtype(list(dict.fromkeys(self.runs[c])), ordered=True) for c in within}
        table = table.astype(order)
        for c in within:
            table[c] = table[c].cat.remove_unused_categories()
        comparison = compare(table[[*within, "arm", "seed", metric]], metric=metric, baseline=reference, within=within)
        return comparison, ", ".join(missing)

    def cost(self, output: dict[str, Any]) -> list[Block]:
        rate = (self.record.get("first_planned") or self.record)["rate"]
        source = (self.record.get("first_planned") or self.record)["rate_source"]
        stages = self._stages()
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
        return [Table(("stage", "planned FLOPs", "planned s", "actual s", "actual/planned"), tuple(rows), caption)]

    def _stages(self) -> list[tuple[str, float, float]]:
        """Name, planned FLOPs and measured seconds (NaN: not known) of each stage."""
        stages = []
        for teacher in self.record["teachers"]:
            result = read_json(self.workspace / "runs" / teacher["run"] / "result.json")
            stages.append((teacher["name"], teacher["planned"]["flops"], _spent(result)))
        for store in self.record["stores"]:
            shards = (self.workspace / "stores" / store["key"]).glob("shard-*.json")
            took = [read_json(shard).get("seconds", np.nan) for shard in shards]
            stages.append(("logits", store["planned"]["flops"], sum(took) if took else np.nan))
        unique = self.runs.drop_duplicates("run")
        axes = [axis_column(a) for a in self.axes]
        while axes and unique.groupby(axes).ngroups > MAX_STAGES:
            axes.pop()
        for labels, part in unique.groupby(axes, sort=False) if axes else [(("students",), unique)]:
            spent = (part["seconds_train"] + part["seconds_evaluate"]).sum(min_count=len(part))
            planned = part["flops_planned"].sum()
            stages.append((" ".join(map(str, labels)) + f" ({len(part)} runs)", float(planned), float(spent)))
        return stages


def build(workspace: Path, record: Record, out: Path) -> str:
    """Write `out`/index.html with figures/, tables/ and data/. Returns the result table as text."""
    report = Report(workspace, record)
    texts = (record["about"], _runs_line(report), _diverged_line(report), *_teacher_lines(report))
    opening = [Text(t) for t in texts if t]
    sections = [Section("Question", tuple(opening))]
    for number, output in enumerate(record["outputs"], 1):
        blocks = report.blocks(output)
        for i, block in enumerate(blocks):
            stem = f"{number}-{_slug(output['title'])}" + (f"-{i}" if i else "")
            if isinstance(block, Plot):
                block.save(out / "figures" / stem)
            elif isinstance(block, Table):
                block.save(out / "tables" / stem)
        sections.append(Section(output["title"], tuple(blocks)))
    table = summary(report.runs)
    sections.append(Section("All arms", (_table_of(table),)))
    (out / "data").mkdir(parents=True, exist_ok=True)
    report.runs.to_csv(out / "data" / "runs.csv", index=False, lineterminator="\n")
    report.evaluations.to_csv(out / "data" / "evaluations.csv", index=False, lineterminator="\n")
    page = Page(record["title"], tuple(sections), _banner(report.runs), _provenance(report))
    page.save(out / "index.html")
    for section in sections:
        for block in section.blocks:
            if isinstance(block, Plot):
                block.close()
    return table.to_string(index=False)


def _size_fit(data: pd.DataFrame) -> tuple[Fit, str]:
    """A power law of size: with a floor where the data identify one, else without. Raises what the fit raises."""
    span = f"{data['N'].nunique()} sizes from {si(data['N'].min())} to {si(data['N'].max())}, {len(data)} runs"
    # Seeds of one size scatter by more than the usual threshold of 1e-3 at small scale, which would make the fit one
    # of medians; three times their spread keeps it a least-squares fit that a run gone wrong cannot bend.
    spread = np.log(data["loss"]).groupby(data["N"]).std().pow(2).mean() ** 0.5
    delta = max(DELTA, 3 * float(np.nan_to_num(spread)))
    floor = fit(data, power_law("N"), columns={"N": "N"}, delta=delta)
    if floor.ok and not floor.at_bound and floor.condition < 1e4 and floor.parameters["E"] > 0.05 * data["loss"].min():
        return floor, f"power law with a floor over {span}"
    return fit(data, power_law("N", floor=False), columns={"N": "N"}, delta=delta), (
        f"power law without a floor over {span}; a floor is not identified by so short a range, and so the law is no "
        "ground for extrapolation"
    )


def _numbers(labels: pd.Series) -> pd.Series:
    """The labels of an axis as numbers. Raises `AnalysisError` where one is none."""
    found = pd.to_numeric(labels, errors="coerce")
    if not np.isfinite(found).all():
        wrong = ", ".join(map(repr, labels[~np.isfinite(found)].unique()[:5]))
        raise AnalysisError(f"a sweep is over an axis whose labels are numbers; {labels.name} has {wrong}")
    return found.astype(float)


def _best_levels(data: pd.DataFrame, x: str, panel: str | None, lines: str) -> Table:
    """The lowest mean of each line, and whether the sweep brackets it."""
    rows: list[tuple[Cell | str, ...]] = []
    for (level, arm), part in data.groupby(["panel", "arm"], sort=False, dropna=False):
        part = part.sort_values(x).reset_index(drop=True)
        at = int(part["mean"].to_numpy().argmin())
        edge = "at the edge of the sweep" if at in (0, len(part) - 1) else "bracketed"
        best, mean = float(part[x][at]), float(part["mean"][at])
        spread = float(part["high"][at] - part["low"][at])
        shown = (Cell(f"{best:g}", best), Cell(f"{mean:.3f}", mean), Cell(f"{spread:.3f}", spread))
        rows.append((*([] if panel is None else [str(level)]), str(arm), *shown, edge))
    heads = (*([] if panel is None else [panel]), lines, f"best {x}", "loss", "range over seeds", "")
    return Table(heads, tuple(rows), "Lowest mean of each line.")


def _spent(result: dict[str, Any] | None) -> float:
    return float(result["seconds"]["train"] + result["seconds"]["evaluate"]) if result else float("nan")


def _cost_row(name: str, flops: float, planned: float, actual: float) -> tuple[Cell | str, ...]:
    ratio = actual / planned if planned and actual else float("nan")

    def cell(value: float, text: str) -> Cell:
        return Cell(text if np.isfinite(value) else "–", value)

    return (
        name, cell(flops, f"{flops:.2e}"), cell(planned, _seconds(planned)), cell(actual, _seconds(actual)),
        cell(ratio, f"{ratio:.2f}"),
    )  # fmt: skip


def _seconds(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _table_of(frame: pd.DataFrame) -> Table:
    rows = tuple(tuple(str(v) for v in row) for row in frame.itertuples(index=False))
    return Table(tuple(map(str, frame.columns)), rows, "Mean over seeds ± standard deviation; loss in nats per token.")


def _runs_line(report: Report) -> str:
    runs = report.runs.drop_duplicates("run")  # several cells may be one run
    counts = ", ".join(f"{n} {state}" for state, n in runs["state"].value_counts().items())
    cells = f" for {len(report.runs)} cells" if len(runs) < len(report.runs) else ""
    return f"{len(runs)} runs{cells}, {report.runs['seed'].nunique()} seeds: {counts}."


def _diverged_line(report: Report) -> str:
    cells = report.runs.loc[report.runs["state"] == "diverged", "cell"]
    return f"Diverged, and so in no mean and no comparison: {', '.join(cells)}." if len(cells) else ""


def _teacher_lines(report: Report) -> list[str]:
    """One line per teacher that was trained here: its size and losses, which bound what students can learn from it."""
    lines = []
    wanted = {e["eval"] for e in report.record["evaluations"]}
    for teacher in report.record["teachers"]:
        result = read_json(report.workspace / "runs" / teacher["run"] / "result.json") or {}
        losses = ", ".join(f"{e['split']} loss {e['loss']:.3f}" for e in final_evaluations(result, wanted))
        lines.append(f"{teacher['name'].capitalize()}: {losses or 'not finished'} (nats per token).")
    return lines


def _banner(runs: pd.DataFrame) -> str:
    missing = runs[~runs["state"].isin(["done", "diverged"])]
    if not len(missing):
        return ""
    shown = ", ".join(f"{c} ({s})" for c, s in zip(missing["cell"][:5], missing["state"][:5]))
    more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
    return f"Partial results: {len(missing)} of {len(runs)} runs are not done: {shown}{more}."


def _provenance(report: Report) -> dict[str, str]:
    """Where the numbers come from: the newest run's date, and every version, commit and machine that occurs."""
    notes: dict[str, set[str]] = {}
    for key in sorted(set(report.runs["run"])):
        stored = read_json(report.workspace / "runs" / key / "provenance.json") or {}
        for name in ("commit", "dirty", "packages", "python", "processor", "device", "ranks", "threads", "attention"):
            if stored.get(name) is not None:
                value = stored[name]
                if isinstance(value, dict):
                    value = ", ".join(f"{k} {v}" for k, v in sorted(value.items()))
                notes.setdefault(name, set()).add(str(value))
    results = [read_json(report.workspace / "runs" / k / "result.json") for k in set(report.runs["run"])]
    newest = max((r["finished"] for r in results if r), default=None)
    lines = {"study": report.record["study"], "runs used": f"{len(report.done)} of {len(report.runs)}"}
    if newest is not None:
        lines["newest run"] = f"{datetime.datetime.fromtimestamp(newest, datetime.UTC):%Y-%m-%d %H:%M} UTC"
    lines["corpus"] = ", ".join(f"{c['name']} ({c['key']})" for c in report.record["corpora"])
    return lines | {name: "; ".join(sorted(values)) for name, values in notes.items()}


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
