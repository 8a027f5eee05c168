"""Scores that a study's arms are compared on, each in its unit.

A finding may hold by one and not by another: an objective that bends its target moves the student's confidence, and so
its loss, more than its ranking of ids, and what distilled pre-training gains may lie out of domain.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pdstudy.analysis.data.runs import other_splits
from pdstudy.analysis.data.sequence_scores import FIELDS
from pdstudy.analysis.data.study_record import Record


@dataclass(frozen=True)
class Metric:
    """A score that arms are compared on.

    `score` is a column of `load_runs`, after the split's name where it is one of an evaluation; `split` that of another
    corpus, None: the output's own. `scale` makes its unit of the column's.
    """

    title: str
    score: str
    unit: str
    lower_is_better: bool = True
    scale: float = 1.0
    by_split: bool = True
    split: str | None = None

    def column(self, split: str) -> str:
        return f"{self.split or split}_{self.score}" if self.by_split else self.score

    def name(self, split: str) -> str:
        return f"{(self.split or split).replace('_', ' ')} {self.title}" if self.by_split else self.title

    @property
    def sequence_field(self) -> str | None:
        """Its name in `load_sequences`; None for one that is no mean over sequences."""
        return self.score if self.by_split and self.score in FIELDS else None


METRICS = {
    "loss": Metric("loss", "loss", "nats/token"),
    "recalibrated": Metric("loss, temperature-scaled", "recalibrated", "nats/token"),
    "accuracy": Metric("top-1", "accuracy", "points", lower_is_better=False, scale=100),
    "accuracy_top5": Metric("top-5", "accuracy_top5", "points", lower_is_better=False, scale=100),
    "ece": Metric("calibration error", "ece", "points", scale=100),
    "agreement": Metric("agreement with the teacher", "agreement", "points", False, scale=100, by_split=False),
    "tasks": Metric("tasks, accuracy", "tasks.mean", "points", False, scale=100, by_split=False),
    "gold_bits": Metric("gold answers", "tasks.mean.bits_per_byte", "bits/byte", by_split=False),
}
"""Metrics of every study, in the order of a table of verdicts."""


def list_metrics(record: Record) -> dict[str, Metric]:
    """`METRICS`, and loss and top-1 on text of other corpora that the study evaluates on."""
    others = {
        f"{split}_{name}": replace(METRICS[name], split=split)
        for split in other_splits(record)
        for name in ("loss", "accuracy")
    }
    return METRICS | others
