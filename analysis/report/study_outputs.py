"""Declared outputs of a study as figures and tables, or the reason why there are none."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pdstudy.analysis.data.runs import load_evaluations, load_runs
from pdstudy.analysis.data.sequence_scores import load_sequences
from pdstudy.analysis.data.study_record import Record, axis_column, axis_title
from pdstudy.analysis.errors import AnalysisError
from pdstudy.analysis.figures.fits import loss_and_law
from pdstudy.analysis.figures.grids import line_grid
from pdstudy.analysis.figures.plot import Plot
from pdstudy.analysis.fit.bootstrap import Bootstrap, bootstrap
from pdstudy.analysis.fit.fit_result import Fit
from pdstudy.analysis.fit.lack_of_fit import lack_of_fit
from pdstudy.analysis.fit.size_fit import size_fit
from pdstudy.analysis.report.arm_comparison import ArmComparisons
from pdstudy.analysis.report.captions import name_diverged, noted, parse_numbers, tau_convention
from pdstudy.analysis.report.comparison_outputs import MATRIX_FROM, ComparisonOutputs
from pdstudy.analysis.report.compute_outputs import ComputeOutputs
from pdstudy.analysis.report.distilled_outputs import DistilledOutputs
from pdstudy.analysis.report.fit_details import fit_details
from pdstudy.analysis.report.law_outputs import LawOutputs
from pdstudy.analysis.report.page import Block, Folded, Text
from pdstudy.analysis.tables.planned_and_spent import cost_table
from pdstudy.analysis.tables.table import Table, TableCell
from pdstudy.core.errors import ConfigError
from pdstudy.core.run_state import TRAINED

BOOTSTRAPS = 1000
"""Resamples behind the band of a size law."""


NO_REPLICATES = "its fit to the sizes' means cannot be tested, which takes more sizes than parameters and several runs"
"""Said of a law for which `lack_of_fit` has no test."""


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
        self.compared = ComparisonOutputs(workspace, record, self.runs, self.comparisons)
        self.laws = LawOutputs(record, self.runs)
        self.compute = ComputeOutputs(self.laws)
        self.distilled = DistilledOutputs(self.laws)

    @property
    def trained(self) -> pd.DataFrame:
        """Runs that trained to their end; one may lack an evaluation, which is then missing in its columns."""
        return self.runs[self.runs["state"].isin(TRAINED)]

    @property
    def diverged(self) -> str:
        """Runs that diverged, as a sentence; empty where none did."""
        return name_diverged(self.runs)

    def sections(self) -> list[tuple[str, list[Block]]]:
        """Titles and blocks of all outputs, in the order of the study file; comparisons with many arms are one
        matrix."""
        shown: list[tuple[str, list[Block]]] = []
        in_matrix: set[str] = set()
        for output, title in zip(self.record["outputs"], name_apart(self.record["outputs"]), strict=True):
            split = output.get("split", "test")
            many = len(self.compared.against(split)) >= MATRIX_FROM
            if output["is"] == "Compare" and output.get("against") is not None and many:
                if split not in in_matrix:
                    shown.append(("Pairwise differences", self.compared.matrices(split)))
                in_matrix.add(split)
            else:
                shown.append((title, self.blocks(output)))
        return shown

    def blocks(self, output: dict[str, Any]) -> list[Block]:
        """An output's figures and tables, or the reason why there are none."""
        makers: dict[str, Callable[[dict[str, Any]], list[Block]]] = {
            "Curves": self.curves,
            "SizeLaw": self.size_law,
            "Compare": self.compared.compare,
            "Sweep": self.sweep,
            "LossByTokens": self.loss_by_tokens,
            "BesidePaper": self.compared.beside_paper,
            "PaperTable": self.compared.beside_paper,
            "GainAndKept": self.compared.gain_and_kept,
            "GainBySize": self.compared.gain_by_size,
            "GainDifferences": self.compared.gain_differences,
            "NoiseFloor": self.compared.noise_floor,
            "JointLaw": self.laws.joint_law,
            "HoldOut": self.laws.hold_out,
            "IsoFlop": self.compute.isoflop,
            "ComputeOptimal": self.compute.compute_optimal,
            "TransferCheck": self.compute.transfer_check,
            "DistillationLaw": self.distilled.distillation_law,
            "DistilOrTrain": self.distilled.distil_or_train,
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
        rows = rows.assign(**{column: parse_numbers(rows[column])})
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
        rejected = []
        for name, part in rows.groupby(lines, sort=False):
            data = part[[output["size"], metric]].rename(columns={output["size"]: "N", metric: "loss"})
            try:
                fits[str(name)], reason = size_fit(data)
                test = lack_of_fit(fits[str(name)])
                said = test.describe() if test else NO_REPLICATES
                if test and test.rejected:
                    rejected.append(str(name))
                    notes.append(Text(f"{name}: {reason}; {said}. No band is drawn, and nothing beyond the data."))
                    continue
                notes.append(Text(f"{name}: {reason}; {said}."))
                bands[str(name)] = bootstrap(fits[str(name)], n=BOOTSTRAPS, seed=0, residual=True)
            except AnalysisError as error:
                notes.append(Text(f"{name}: {error}."))
        if not fits:
            return [Text("No law was fitted."), *notes]
        label = f"student parameters ({output['size'].replace('_', '-')})"
        y_label = f"{output['split']} loss (nats/token)"
        plot = loss_and_law(fits, bands, x="N", x_label=label, y_label=y_label, rejected=rejected)
        details = [block for name, f in fits.items() for block in fit_details(name, f, bands.get(name))]
        return [plot, *notes, Folded("Details of the fits", tuple(details))]


def name_apart(outputs: Sequence[dict[str, Any]]) -> list[str]:
    """Titles of outputs; those of one kind and title have what they differ in after it: "Held-out runs: w192, 16M"."""
    titles = []
    for output in outputs:
        alike = [o for o in outputs if (o["is"], o["title"]) == (output["is"], output["title"])]
        differing = [v for k, v in output.items() if any(o.get(k) != v for o in alike)]
        told = [str(each) for value in differing for each in _leaves(value)]
        titles.append(": ".join(filter(None, [output["title"], ", ".join(told)])))
    return titles


def _leaves(value: Any) -> list[Any]:
    """Labels of a selection, the title of a law, or the value itself."""
    if not isinstance(value, dict):
        return [value]
    return [value["title"]] if "title" in value else list(value.values())


def _tabulate_best(data: pd.DataFrame, x: str, panel: str | None, lines: str) -> Table:
    """The lowest mean of each line, and whether the sweep brackets it."""
    rows: list[tuple[TableCell | str, ...]] = []
    for (level, arm), part in data.groupby(["panel", "arm"], sort=False, dropna=False):
        part = part.sort_values(x).reset_index(drop=True)
        at = int(part["mean"].to_numpy().argmin())
        edge = "at the edge of the sweep" if at in (0, len(part) - 1) else "bracketed"
        best, mean = float(part[x][at]), float(part["mean"][at])
        spread = float(part["high"][at] - part["low"][at])
        ranged = TableCell(f"{spread:.3f}", spread) if spread > 0 else "–"
        shown = (TableCell(f"{best:g}", best), TableCell(f"{mean:.3f}", mean), ranged)
        rows.append((*([] if panel is None else [str(level)]), str(arm), *shown, edge))
    heads = (
        *([] if panel is None else [panel]),
        axis_title(lines),
        f"best {x}",
        "loss",
        "range over seeds",
        "lowest is",
    )
    return Table(heads, tuple(rows), "Lowest mean of each line.")
