"""Declared outputs of a study as figures and tables, or the reason why there are none."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pdstudy.analysis.data.runs import load_evaluations, load_runs
from pdstudy.analysis.data.sequence_scores import load_sequences
from pdstudy.analysis.data.study_record import Record, axis_column
from pdstudy.analysis.data.task_answers import load_answers
from pdstudy.analysis.errors import AnalysisError
from pdstudy.analysis.figures.fits import loss_and_law
from pdstudy.analysis.figures.grids import line_grid
from pdstudy.analysis.figures.plot import Plot
from pdstudy.analysis.figures.run_comparisons import effects, gain_and_kept, gain_by_size
from pdstudy.analysis.fit.bootstrap import Bootstrap, bootstrap
from pdstudy.analysis.fit.fit_result import Fit
from pdstudy.analysis.fit.size_fit import size_fit
from pdstudy.analysis.report.arm_comparison import METRICS, ArmComparisons
from pdstudy.analysis.report.captions import noted, tau_convention
from pdstudy.analysis.report.page import Block, Listing, Text
from pdstudy.analysis.summary import summary
from pdstudy.analysis.tables.builders import comparison_table
from pdstudy.analysis.tables.paper import loss_beside_paper, paper_table, tasks_beside_paper
from pdstudy.analysis.tables.planned_and_spent import cost_table
from pdstudy.analysis.tables.table import Table, TableCell
from pdstudy.analysis.tables.verdicts import verdict_table
from pdstudy.core.errors import ConfigError
from pdstudy.core.run_state import TRAINED

BOOTSTRAPS = 1000
"""Resamples behind the band of a size law."""


class Outputs:
    """The tables of one study and how each of its outputs is made of them."""

    def __init__(self, workspace: Path, record: Record) -> None:
        self.workspace = workspace
        self.record = record
        self.runs = load_runs(workspace, record)
        self.evaluations = load_evaluations(workspace, record)
        self.axes: dict[str, list[str]] = dict(record["axes"])
        sequences = functools.cache(lambda split: load_sequences(workspace, record, split))
        self.comparisons = ArmComparisons(self.runs, record, sequences)

    @property
    def trained(self) -> pd.DataFrame:
        """Runs that trained to their end; one may lack an evaluation, which is then missing in its columns."""
        return self.runs[self.runs["state"].isin(TRAINED)]

    @property
    def diverged(self) -> str:
        """Runs that diverged, as a sentence; empty where none did."""
        cells = self.runs.loc[self.runs["state"] == "diverged", "cell"]
        return f"Diverged, and so in no mean and no comparison: {', '.join(cells)}." if len(cells) else ""

    def blocks(self, output: dict[str, Any]) -> list[Block]:
        """An output's figures and tables, or the reason why there are none."""
        makers: dict[str, Callable[[dict[str, Any]], list[Block]]] = {
            "Curves": self.curves,
            "SizeLaw": self.size_law,
            "Compare": self.compare,
            "Sweep": self.sweep,
            "LossByTokens": self.loss_by_tokens,
            "BesidePaper": self.beside_paper,
            "PaperTable": self.beside_paper,
            "GainAndKept": self.gain_and_kept,
            "GainBySize": self.gain_by_size,
            "Cost": lambda _: [cost_table(self.workspace, self.record, self.runs)],
        }
        try:
            made = makers[output["is"]](output)
        except (AnalysisError, ConfigError) as error:  # the latter for a damaged file
            return [Text(f"Not shown: {error}")]
        note = "" if output["is"] == "Cost" else tau_convention(self.runs)
        return [noted(block, note) for block in made]

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
                arm_label=output["lines"],
                logarithmic=False,
                caption=f"{output['split'].capitalize()} loss on data against training tokens.",
            )
        ]

    def sweep(self, output: dict[str, Any]) -> list[Block]:
        column = axis_column(output["x"])
        caption = f"Final {output['split']} loss against {output['x']}; a ring marks the lowest mean."
        plot = self._draw_final_losses(output, column, output["x"], caption, best=True)
        if plot is None:
            return [Text("Not shown: no run is done yet.")]
        panel = axis_column(output["panels"]) if output["panels"] else None
        return [plot, _tabulate_best(plot.data, column, panel, axis_column(output["lines"]))]

    def loss_by_tokens(self, output: dict[str, Any]) -> list[Block]:
        caption = f"Final {output['split']} loss of runs of so many tokens, each with a decay of its own."
        plot = self._draw_final_losses(output, "tokens", "training tokens", caption)
        return [Text("Not shown: no run is done yet.") if plot is None else plot]

    def _draw_final_losses(
        self, output: dict[str, Any], column: str, x_label: str, caption: str, *, best: bool = False
    ) -> Plot | None:
        """Losses of finished runs against a column of numbers; None where no run is finished."""
        metric = f"{output['split']}_loss"
        rows = self.trained.dropna(subset=[metric])
        if not len(rows):
            return None
        lines = axis_column(output["lines"])
        panel = axis_column(output["panels"]) if output["panels"] else None
        self._check_distinct(rows, lines, panel, column)
        rows = rows.assign(**{column: _parse_numbers(rows[column])})
        return line_grid(
            rows,
            x=column,
            y=metric,
            arm=lines,
            panel=panel,
            x_label=x_label,
            y_label=f"{output['split']} loss (nats/token)",
            arm_label=output["lines"],
            logarithmic=bool((rows[column] > 0).all()),
            caption=caption,
            best=best,
        )

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
        rows = self.trained.dropna(subset=[metric])
        self._check_distinct(rows, lines, output["size"])
        fits: dict[str, Fit] = {}
        bands: dict[str, Bootstrap] = {}
        notes: list[Block] = []
        for name, part in rows.groupby(lines, sort=False):
            data = part[[output["size"], metric]].rename(columns={output["size"]: "N", metric: "loss"})
            try:
                fits[str(name)], reason = size_fit(data)
                notes.append(Text(f"{name}: {reason}"))
                bands[str(name)] = bootstrap(fits[str(name)], n=BOOTSTRAPS, seed=0, residual=True)
            except AnalysisError as error:
                notes.append(Text(f"{name}: {error}."))
        if not fits:
            return [Text("No law was fitted."), *notes]
        label = f"student parameters ({output['size'].replace('_', '-')})"
        plot = loss_and_law(fits, bands, x="N", x_label=label, y_label=f"{output['split']} loss (nats/token)")
        return [plot, *notes, *(Listing(f"{name}\n{summary(found)}") for name, found in fits.items())]

    def compare(self, output: dict[str, Any]) -> list[Block]:
        score = output.get("metric", "loss")
        comparison, left_out = self.comparisons.find(output["split"], score, output.get("against"))
        reference = output.get("against") or "the baseline"
        label = f"difference to {reference},\n{comparison.metric} ({METRICS[score].unit})"
        blocks: list[Block] = [
            effects(comparison, label=label, arms=self._name_arm_axes()),
            comparison_table(comparison),
        ]
        notes = [f"Left out: {left_out}."] if left_out else []
        notes += [self.diverged] if self.diverged else []
        return [*blocks, *map(Text, notes)]

    def verdicts(self) -> list[Block]:
        """What the page's comparisons come to on every metric: a table per arm that others are compared with."""
        blocks: list[Block] = []
        for split, against in self.comparisons.references:
            try:
                blocks.append(self._verdict_table(split, against))
            except AnalysisError:
                continue  # its output says why
        return blocks

    def _verdict_table(self, split: str, against: str | None) -> Table:
        self.comparisons.find(split, "loss", against)
        by_metric = self.comparisons.by_metric(split, against)
        named = {f"{c.metric} ({METRICS[score].unit})": c for score, c in by_metric.items()}
        return verdict_table(named)

    def _name_arm_axes(self) -> str:
        """Axes that the names of a comparison's arms are made of: those they are matched on, then the baseline's."""
        baseline = self.record["baseline"]
        return ", ".join([*(a for a in self.axes if a not in baseline), *baseline])

    def beside_paper(self, output: dict[str, Any]) -> list[Block]:
        """Ours beside a table of the paper, by loss and by tasks, and that table. A study that shows the paper's table
        alone (`PaperTable`) has ours beside it where one of its arms has a row."""
        named = output.get("axis")
        axes, pairs = [named] if named else list(self.axes), {str(a): str(b) for a, b in output["pairs"]}
        blocks: list[Block] = []
        try:
            blocks.append(loss_beside_paper(self.trained, axes, self.record["baseline"], output["table"], pairs))
        except AnalysisError as error:
            blocks += [Text(f"Not shown: {error}.")] if named else []
        return [*blocks, *self._tasks_beside_paper(output), paper_table(output["table"])]

    def _tasks_beside_paper(self, output: dict[str, Any]) -> list[Block]:
        """Downstream accuracies beside a table of the paper; empty for a study without downstream tasks."""
        if not self.record.get("downstream"):
            return []
        answers = load_answers(self.workspace, self.record, suite=0)
        baseline = {axis_column(a): label for a, label in self.record["baseline"].items()}
        axes = [axis_column(a) for a in self.axes]
        try:
            return [tasks_beside_paper(answers, axes, baseline, output["table"], dict(output["pairs"]))]
        except AnalysisError as error:
            return [Text(f"Not shown: {error}.")]

    def gain_and_kept(self, output: dict[str, Any]) -> list[Block]:
        column = axis_column(output["x"])
        kept = self.trained.groupby(column, sort=False)[["kept_entries", "kept_mass"]].mean()
        gains = self.comparisons.gains(output["split"])
        gains = gains.assign(kept=gains["arm"].map(kept["kept_entries"]), mass=gains["arm"].map(kept["kept_mass"]))
        gains = gains.assign(**{column: _parse_numbers(gains["arm"].rename(output["x"]))})
        label = f"gain in {output['split']} loss (nats/token)"
        masses = ", ".join(f"{a}: {m:.2f}" for a, m in zip(gains["arm"], gains["mass"], strict=True))
        caption = (
            f"Gain over the baseline against {output['x']}, 95 % intervals, and entries kept per token. "
            f"Mean mass kept: {masses}."
        )
        wide = gains[column].max() > 10 * gains[column].min()
        figure = gain_and_kept(
            gains, x=column, x_label=output["x"], gain_label=label, logarithmic=bool(wide), caption=caption
        )
        return [figure, self._verdict_table(output["split"], None)]

    def gain_by_size(self, output: dict[str, Any]) -> list[Block]:
        gains = self.comparisons.gains(output["split"])
        others = [a for a in self.axes if a not in self.record["baseline"]]
        if len(others) != 1:
            named = ", ".join(others) or "none"
            raise AnalysisError(f"it needs one axis beside the baseline's, the student's size; found {named}")
        within = axis_column(others[0])
        sizes = self.runs.groupby(within)["non_embedding"].first()
        table = gains.assign(student=gains[within].map(sizes).astype(float), teacher=gains["arm"])
        label = f"gain in {output['split']} loss (nats/token)"
        reference = "/".join(self.record["baseline"].values())
        caption = f"Gain over {reference} of the same student against its size, 95 % intervals, paired by seed."
        named = "/".join(self.record["baseline"])
        return [gain_by_size(table, gain_label=label, arms=named, caption=caption)]


def _parse_numbers(labels: pd.Series) -> pd.Series:
    """The labels of an axis as numbers. Raises `AnalysisError` where one is none."""
    found = pd.to_numeric(labels, errors="coerce")
    if not np.isfinite(found).all():
        wrong = ", ".join(map(repr, labels[~np.isfinite(found)].unique()[:5]))
        raise AnalysisError(f"a sweep is over an axis whose labels are numbers; {labels.name} has {wrong}")
    return found.astype(float)


def _tabulate_best(data: pd.DataFrame, x: str, panel: str | None, lines: str) -> Table:
    """The lowest mean of each line, and whether the sweep brackets it."""
    rows: list[tuple[TableCell | str, ...]] = []
    for (level, arm), part in data.groupby(["panel", "arm"], sort=False, dropna=False):
        part = part.sort_values(x).reset_index(drop=True)
        at = int(part["mean"].to_numpy().argmin())
        edge = "at the edge of the sweep" if at in (0, len(part) - 1) else "bracketed"
        best, mean = float(part[x][at]), float(part["mean"][at])
        spread = float(part["high"][at] - part["low"][at])
        shown = (TableCell(f"{best:g}", best), TableCell(f"{mean:.3f}", mean), TableCell(f"{spread:.3f}", spread))
        rows.append((*([] if panel is None else [str(level)]), str(arm), *shown, edge))
    heads = (*([] if panel is None else [panel]), lines, f"best {x}", "loss", "range over seeds", "")
    return Table(heads, tuple(rows), "Lowest mean of each line.")
