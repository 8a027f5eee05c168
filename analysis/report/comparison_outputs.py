"""Declared outputs of a study that compare arms with a baseline: differences, gains, verdicts, the paper's beside."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pandas as pd

from pdstudy.analysis.compare.comparison import Comparison
from pdstudy.analysis.compare.noise_floor import label_twins
from pdstudy.analysis.data.study_record import Record, axis_column
from pdstudy.analysis.data.task_answers import load_answers
from pdstudy.analysis.errors import AnalysisError
from pdstudy.analysis.figures.run_comparisons import effects, gain_and_kept, gain_by_size
from pdstudy.analysis.report.arm_comparison import ArmComparisons
from pdstudy.analysis.report.captions import name_diverged, parse_numbers
from pdstudy.analysis.report.controls import name_controls
from pdstudy.analysis.report.page import Block, Folded, Text
from pdstudy.analysis.tables.builders import comparison_table
from pdstudy.analysis.tables.noise import noise_table, seeds_table
from pdstudy.analysis.tables.pairwise import pairwise_table
from pdstudy.analysis.tables.paper import loss_beside_paper, paper_table, tasks_beside_paper
from pdstudy.analysis.tables.table import Table
from pdstudy.analysis.tables.verdicts import verdict_table
from pdstudy.core.run_files import whole_run_file
from pdstudy.core.run_state import TRAINED

MATRIX_FROM = 3
"""Arms compared with, beside the baseline, from which one matrix stands for a section each."""


class ComparisonOutputs:
    """How each output that compares arms is made of a study's runs (from `load_runs`) and their comparisons."""

    def __init__(self, workspace: Path, record: Record, runs: pd.DataFrame, comparisons: ArmComparisons) -> None:
        self.workspace = workspace
        self.record = record
        self.runs = runs
        self.trained = runs[runs["state"].isin(TRAINED)]
        self.axes: dict[str, list[str]] = dict(record["axes"])
        self.comparisons = comparisons

    def compare(self, output: dict[str, Any]) -> list[Block]:
        score = output.get("metric", "loss")
        comparison, left_out = self.comparisons.find(output["split"], score, output.get("against"))
        reference = output.get("against") or "the baseline"
        label = f"difference to {reference},\n{comparison.metric} ({self.comparisons.metrics[score].unit})"
        blocks: list[Block] = [
            effects(comparison, label=label, arms=self._name_arm_axes()),
            comparison_table(comparison),
        ]
        notes = [f"Left out: {left_out}."] if left_out else []
        notes += [controls] if (controls := name_controls(self.workspace, self.record, self.runs)) else []
        notes += [diverged] if (diverged := name_diverged(self.runs)) else []
        return [*blocks, *map(Text, notes)]

    def verdicts(self) -> list[Block]:
        """The verdicts of the page's comparisons on every metric: a table per arm that others are compared with."""
        blocks: list[Block] = []
        for split, against in self.comparisons.references:
            if against is not None and len(self.against(split)) >= MATRIX_FROM:
                continue  # the matrix has them
            try:
                blocks.append(self._verdict_table(split, against))
            except AnalysisError:
                continue  # its output says why
        return blocks

    def against(self, split: str) -> list[str]:
        """Arms, beside the baseline, that the page compares with."""
        return [a for s, a in self.comparisons.references if s == split and a is not None]

    def matrices(self, split: str) -> list[Block]:
        """Every arm beside the baseline and every arm compared with, a matrix per metric: by loss first, others
        folded."""
        names = {"/".join(self.record["baseline"].values()): None} | {a: a for a in self.against(split)}
        made: list[Block] = []
        for score in self.comparisons.measured(split):
            found = {}
            for name, against in names.items():
                with contextlib.suppress(AnalysisError):
                    found[name] = self.comparisons.find(split, score, against)[0]
            if found:
                made.append(pairwise_table(found, self.comparisons.metrics[score].unit))
        return made[:1] + ([Folded("By other metrics", tuple(made[1:]))] if made[1:] else [])

    def _verdict_table(self, split: str, against: str | None) -> Table:
        self.comparisons.find(split, "loss", against)
        return verdict_table(self._find_by_metric(split, against))

    def _find_by_metric(self, split: str, against: str | None) -> dict[str, Comparison]:
        """Heading to comparison."""
        found = self.comparisons.by_metric(split, against)
        return {f"{c.metric} ({self.comparisons.metrics[score].unit})": c for score, c in found.items()}

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
            verdicts = self._find_by_metric("test", None)
            blocks.append(
                loss_beside_paper(self.trained, axes, self.record["baseline"], output["table"], pairs, verdicts)
            )
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
        gains = gains.assign(**{column: parse_numbers(gains["arm"].rename(output["x"]))})
        label = f"gain in {output['split']} loss (nats/token)"
        masses = ", ".join(f"{a}: {m:.2f}" for a, m in zip(gains["arm"], gains["mass"], strict=True))
        caption = (
            f"Gain over the baseline against {output['x']}, 95 % intervals of each by itself, "
            f"{self._say_parts(output)}, and entries kept per token. Mean mass kept: {masses}."
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
        caption = (
            f"Gain over {reference} of the same student against its size, paired by seed, 95 % intervals of each by "
            f"itself, {self._say_parts(output)}."
        )
        named = "/".join(self.record["baseline"])
        return [gain_by_size(table, gain_label=label, arms=named, caption=caption)]

    def _say_parts(self, output: dict[str, Any]) -> str:
        """Where the uncertainty of a gain in loss comes from."""
        return self.comparisons.find(output["split"], "loss")[0].parts()

    def noise_floor(self, output: dict[str, Any]) -> list[Block]:
        split = output["split"]
        twins = label_twins(self.runs, self._configure_teachers())
        by_metric = {}
        for score in self.comparisons.measured(split):
            metric = self.comparisons.metrics[score]
            by_metric[f"{metric.name(split)} ({metric.unit})"] = self.comparisons.noise(split, score, twins)
        within = [a for a in self.axes if a not in self.record["baseline"]]
        compared = self.comparisons.find(split, "loss")[0].family
        loss = next(iter(by_metric.values()))
        return [noise_table(by_metric, within), seeds_table(loss, within, output["effects"], compared)]

    def _configure_teachers(self) -> dict[str, str]:
        """By run key: a trained teacher's configuration without its seed."""
        found = {}
        for key in {key for key in self.runs["teacher"] if isinstance(key, str)}:
            stored = whole_run_file(self.workspace / "runs" / key, "config.json")
            if stored:
                found[key] = json.dumps({k: v for k, v in stored["run"].items() if k != "seed"}, sort_keys=True)
        return found

    def gain_differences(self, output: dict[str, Any]) -> list[Block]:
        split, axis = output["split"], output["axis"]
        by_metric = {}
        for score in self.comparisons.measured(split):
            try:
                found = self.comparisons.gain_differences(split, score, axis, output["against"])
            except AnalysisError:
                if score == "loss":
                    raise
                continue
            by_metric[f"{found.metric} ({self.comparisons.metrics[score].unit})"] = found
        if not by_metric:
            raise AnalysisError(f"no run has been scored on {split} text yet")
        first = next(iter(by_metric.values()))
        label = f"difference of gains to the first {axis},\n{split} loss (nats/token)"
        return [effects(first, label=label, arms=axis), comparison_table(first), verdict_table(by_metric)]
