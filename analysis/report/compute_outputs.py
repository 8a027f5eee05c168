"""Declared outputs on compute: profiles at equal compute, the compute-optimal path, transfer of the best rate."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from pdstudy.analysis.data.law_runs import check_told_apart, law_runs
from pdstudy.analysis.data.study_record import axis_column
from pdstudy.analysis.errors import AnalysisError
from pdstudy.analysis.figures.compute_optimal_curves import optimal_path, rates_by_width
from pdstudy.analysis.figures.isoflop_curves import isoflop_curves
from pdstudy.analysis.report.captions import parse_numbers
from pdstudy.analysis.report.law_outputs import LawOutputs
from pdstudy.analysis.report.page import Block, Folded, Listing, Text
from pdstudy.analysis.scaling.compute_optimal import PUBLISHED, compute_optimal
from pdstudy.analysis.scaling.isoflop import isoflop
from pdstudy.analysis.scaling.isoflop_profiles import at_budgets
from pdstudy.analysis.scaling.rate_transfer import best_rates
from pdstudy.analysis.summary import summary
from pdstudy.analysis.tables.laws import exponents_table, isoflop_table, rates_table
from pdstudy.core.run_state import TRAINED


class ComputeOutputs:
    """How each output on compute is made of a study's runs and laws."""

    def __init__(self, laws: LawOutputs) -> None:
        self.laws = laws

    def isoflop(self, output: dict[str, Any]) -> list[Block]:
        rows = law_runs(self.laws.runs, output, output["where"])
        done = rows.dropna(subset=["loss"])
        check_told_apart(done, self.laws.runs, self.laws.axes, ["N", "D"])
        try:
            profiles = at_budgets(done, output["budgets"])
            found = isoflop(profiles, tokens="D")
        except AnalysisError as error:
            raise AnalysisError(f"{len(done)} of {len(rows)} runs are done: {error}") from None
        between = int((~profiles["measured"]).sum())
        note = (
            f"{between} of {len(profiles)} losses lie between two runs of their size; FLOPs are those of the runs' own "
            "networks with their heads."
        )
        return [
            isoflop_curves(found),
            isoflop_table(found, profiles),
            Text(note),
            Folded("The minima in numbers", (Listing(summary(found)),)),
        ]

    def compute_optimal(self, output: dict[str, Any]) -> list[Block]:
        law = output["law"]
        found = self.laws.joint(law)
        # Profiles are of all runs: those held out are kept from the law alone.
        rows = law_runs(self.laws.runs, law, law["where"]).dropna(subset=["loss"])
        path = compute_optimal(found, rows, output["budgets"])
        notes = [f"Exponents from profiles are not shown: {path.lacking}."] if path.lacking else []
        return [
            optimal_path(path, PUBLISHED),
            exponents_table(path, PUBLISHED),
            *map(Text, [*notes, *map(_as_sentence, path.allocation.warnings)]),
            Folded("The allocation in numbers", (Listing(summary(path.allocation)),)),
        ]

    def transfer_check(self, output: dict[str, Any]) -> list[Block]:
        runs, metric = self.laws.runs, f"{output['split']}_loss"
        done = runs[runs["state"].isin(TRAINED)].dropna(subset=[metric]).drop_duplicates("run")
        if not len(done):
            raise AnalysisError("no run is done yet")
        rate, width = axis_column(output["rate"]), axis_column(output["width"])
        lines = axis_column(output["lines"]) if output["lines"] else None
        check_told_apart(done, runs, self.laws.axes, [c for c in (rate, width, lines) if c])
        table = pd.DataFrame(
            {
                "line": done[lines] if lines else "all runs",
                "width": _read_widths(done[width], output["width"]),
                "rate": parse_numbers(done[rate].rename(output["rate"])),
                "loss": done[metric].astype(float),
            }
        )
        found = best_rates(table)
        return [
            rates_by_width(found, rate_label=output["rate"], width_label=output["width"]),
            rates_table(found, output["lines"] or "runs"),
        ]


def _as_sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _read_widths(labels: pd.Series, axis: str) -> pd.Series:
    """The one number in each label. Raises `AnalysisError` where there is none or several."""
    numbers = {label: re.findall(r"\d+(?:\.\d+)?", str(label)) for label in labels.unique()}
    wrong = [repr(label) for label, found in numbers.items() if len(found) != 1]
    if wrong:
        raise AnalysisError(f"widths are labels with one number, such as 'w64'; {axis} has {', '.join(wrong[:5])}")
    return labels.map(lambda label: float(numbers[label][0])).astype(float)
