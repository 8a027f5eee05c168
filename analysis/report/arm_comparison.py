"""A study's arms against its baseline, matched on every axis that the baseline does not name, on every metric."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from pdstudy.analysis.compare.comparison import Comparison
from pdstudy.analysis.compare.family import adjust
from pdstudy.analysis.compare.gains import compare_gains
from pdstudy.analysis.compare.noise_floor import Noise, measure_noise
from pdstudy.analysis.compare.seeds import compare
from pdstudy.analysis.data.sequence_scores import SequenceScores
from pdstudy.analysis.data.study_record import Record, axis_column
from pdstudy.analysis.errors import AnalysisError
from pdstudy.analysis.report.compared_metrics import list_metrics
from pdstudy.core.run_state import TRAINED

COMPARING = ("Compare", "BesidePaper", "PaperTable", "GainAndKept", "GainBySize")
"""Outputs that say something of an arm against another."""


class ArmComparisons:
    """The comparisons of one page. Verdicts on a metric are adjusted for all of the page's comparisons on that metric,
    whatever output shows them; each metric is a family of its own."""

    def __init__(
        self,
        runs: pd.DataFrame,
        record: Record,
        sequences: Callable[[str], Mapping[str, SequenceScores]] = lambda split: {},
    ) -> None:
        """`runs` is the table of `load_runs`; `sequences` gives what `load_sequences` does for a split."""
        self._runs = runs
        self._record = record
        self._sequences = sequences
        self.metrics = list_metrics(record)
        """By name: what arms are compared on."""
        outputs = [o for o in record["outputs"] if o["is"] in COMPARING]
        self.references: list[tuple[str, str | None]] = list(
            dict.fromkeys((o.get("split", "test"), o.get("against")) for o in outputs)
        )
        """Split and arm compared with (None: the baseline) of the page's outputs."""
        self._families: dict[tuple[str, str], dict[str | None, tuple[Comparison, str] | AnalysisError]] = {}

    def find(self, split: str, score: str, against: str | None = None) -> tuple[Comparison, str]:
        """All arms against the baseline or the arm `against` on one of `metrics`, and the strata left out for want of a
        shared seed, as text.

        Raises:
            AnalysisError: the study names no baseline, or no arm shares a finished seed with it yet.
        """
        if (split, score) not in self._families:
            wanted = dict.fromkeys([a for s, a in self.references if s == split] + [against])
            self._families[split, score] = self._compare_all(split, score, list(wanted))
        found = self._families[split, score][against]
        if isinstance(found, AnalysisError):
            raise found
        return found

    def _compare_all(
        self, split: str, score: str, references: Sequence[str | None]
    ) -> dict[str | None, tuple[Comparison, str] | AnalysisError]:
        found: dict[str | None, tuple[Comparison, str] | AnalysisError] = {}
        for against in references:
            try:
                found[against] = compare_arms(
                    self._runs, self._record, split, score, against, self._by_run(split, score)
                )
            except AnalysisError as error:
                found[against] = error
        made = {against: each for against, each in found.items() if not isinstance(each, AnalysisError)}
        adjusted = adjust([comparison for comparison, _ in made.values()])
        return found | {a: (c, left) for (a, (_, left)), c in zip(made.items(), adjusted, strict=True)}

    def _by_run(self, split: str, score: str) -> Mapping[str, SequenceScores]:
        metric = self.metrics[score]
        return {} if metric.sequence_field is None else self._sequences(metric.split or split)

    def by_metric(self, split: str, against: str | None = None) -> dict[str, Comparison]:
        """The comparisons on every metric that the study's runs have, by name of `metrics`."""
        found = {}
        for score in self.measured(split):
            with contextlib.suppress(AnalysisError):
                found[score] = self.find(split, score, against)[0]
        return found

    def measured(self, split: str) -> list[str]:
        """Names of `metrics` that runs of the study have."""
        columns = {score: metric.column(split) for score, metric in self.metrics.items()}
        return [s for s, column in columns.items() if column in self._runs and self._runs[column].notna().any()]

    def gain_differences(self, split: str, score: str, axis: str, against: str | None = None) -> Comparison:
        """Whether gains over the baseline (or the arm `against`) differ between levels of an axis, of finished runs. A
        family of its own.

        Raises:
            AnalysisError: the study names no baseline, or no arm has gains at two levels.
        """
        metric = self.metrics[score]
        rows, within, name = _tabulate(self._runs, self._record, split, score, self._by_run(split, score))
        rows = rows[rows["state"].isin(TRAINED) & rows[name].notna()]
        over = axis_column(axis)
        sizes = rows.groupby(over, sort=False)["non_embedding"].agg(["min", "max"]).astype(float)
        apart = (sizes["min"] == sizes["max"]).all() and sizes["min"].nunique() == len(sizes)
        return compare_gains(
            rows,
            metric=name,
            baseline=against or "/".join(self._record["baseline"].values()),
            over=over,
            within=[w for w in within if w != over],
            sizes=dict(sizes["min"]) if apart else None,
            lower_is_better=metric.lower_is_better,
            text="by_sequence" if rows["by_sequence"].notna().any() else None,
        )

    def noise(self, split: str, score: str, twins: pd.Series | None = None) -> dict[tuple[object, ...], Noise]:
        """The noise floor of each stratum, of finished runs; `twins` as in `label_twins`.

        Raises:
            AnalysisError: the study names no baseline.
        """
        rows, within, name = _tabulate(self._runs, self._record, split, score, self._by_run(split, score))
        rows = rows.assign(twins=twins) if twins is not None else rows
        rows = rows[rows["state"].isin(TRAINED) & rows[name].notna()]
        text = "by_sequence" if rows["by_sequence"].notna().any() else None
        reference = "/".join(self._record["baseline"].values())
        strata = rows.groupby(within, sort=False) if within else [((), rows)]
        return {
            stratum: measure_noise(part, name, baseline=reference, text=text, twins=None if twins is None else "twins")
            for stratum, part in strata
        }

    def gains(self, split: str) -> pd.DataFrame:
        """One row per arm of each stratum: `difference`, `low`, `high` of the loss as gains (baseline minus arm)."""
        frame = self.find(split, "loss")[0].to_frame()
        names = ("difference", "low", "high", "family_low", "family_high")
        turned = ("difference", "high", "low", "family_high", "family_low")
        return frame.assign(**{name: -frame[other] for name, other in zip(names, turned, strict=True)})


def compare_arms(
    runs: pd.DataFrame,
    record: Record,
    split: str,
    score: str = "loss",
    against: str | None = None,
    sequences: Mapping[str, SequenceScores] | None = None,
) -> tuple[Comparison, str]:
    """All arms against the baseline or the arm `against`, and the strata left out for want of a shared seed, as text.

    `runs` is the table of `load_runs`; `score` one of `list_metrics`; `sequences` what `load_sequences` gives for its
    split. The comparison is in the metric's unit.

    Raises:
        AnalysisError: the study names no baseline, or no arm shares a finished seed with it yet.
    """
    rows, within, metric = _tabulate(runs, record, split, score, sequences or {})
    reference = against or "/".join(record["baseline"].values())
    kept, missing = [], []
    for stratum, every in rows.groupby(within, sort=False) if within else [((), rows)]:
        part = every[every["state"].isin(TRAINED) & every[metric].notna()]
        seeds = set(part.loc[part["arm"] == reference, "seed"])
        fits = part[(part["arm"] == reference) | part["seed"].isin(seeds)]
        if fits["arm"].nunique() > 1:
            kept.append(fits)
        else:
            missing.append(" ".join(map(str, stratum)) or "all")
    if not kept:
        raise AnalysisError("no arm shares a finished seed with its baseline yet")
    table = pd.concat(kept)[[*within, "arm", "seed", metric, "by_sequence"]]
    text = "by_sequence" if table["by_sequence"].notna().any() else None
    comparison = compare(
        table,
        metric=metric,
        baseline=reference,
        within=within,
        lower_is_better=list_metrics(record)[score].lower_is_better,
        text=text,
    )
    return comparison, ", ".join(missing)


def _tabulate(
    runs: pd.DataFrame, record: Record, split: str, score: str, sequences: Mapping[str, SequenceScores]
) -> tuple[pd.DataFrame, list[str], str]:
    """The runs with their `arm`, the metric in its unit and `by_sequence`; the columns of strata; the metric's column.
    Raises `AnalysisError` for a study without a baseline."""
    baseline = record["baseline"]
    if not baseline:
        raise AnalysisError("the study names no baseline")
    within = [axis_column(a) for a in record["axes"] if a not in baseline]
    named = [axis_column(a) for a in baseline]
    measured = list_metrics(record)[score]
    metric = measured.name(split)
    rows = runs.assign(**{metric: measured.scale * runs[measured.column(split)].astype(float)})
    rows = rows.assign(arm=rows[named].agg("/".join, axis=1))
    field = measured.sequence_field
    known = {} if field is None else {run: measured.scale * scores[field] for run, scores in sequences.items()}
    arrays = [known.get(run) for run in rows["run"]]
    rows["by_sequence"] = pd.Series(arrays, rows.index, dtype=object)
    return rows, within, metric
