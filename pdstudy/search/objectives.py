"""Objectives and constraints of a search: numbers of a trial's run, the smaller the better."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pdstudy.config.run import Run
from pdstudy.core.origin import HasOrigin
from pdstudy.core.validation import Problem
from pdstudy.plan.cost import training_flops

LOSSES = ("loss", "recalibrated", "bits_per_byte")
"""Columns of evals.jsonl that `Loss` may name."""


MEASURES = ("gap", "ece")
"""Measures that `Calibration` may name."""


class Quantity(ABC):
    """A number of a trial; a frozen dataclass, whose fields are part of the search's identity."""

    DESCRIBED = "a Quantity: Loss(), Calibration(), Compute(), SecondsPerToken()"
    """The objectives that messages name as allowed where one belongs."""

    @property
    def recalibrates(self) -> bool:
        """Whether it needs the recalibrated loss, which takes a text of two sequences or more."""
        return False

    def check(self) -> Iterator[Problem]:
        return iter(())

    @property
    @abstractmethod
    def label(self) -> str:
        """The text of a figure's axis, with the unit."""

    @abstractmethod
    def value(self, run: Run, row: Mapping[str, Any]) -> float:
        """The number for a run at its whole length. `row` is its newest row of evals.jsonl for the search's validation
        slice, with `train_seconds`, the seconds that its `tokens` took."""


@dataclass(frozen=True)
class Loss(Quantity):
    """Loss on the search's validation slice, nats per token: raw (`loss`), or after the one-parameter recalibration of
    its temperature (`recalibrated`); or in `bits_per_byte`."""

    column: str = "loss"

    @property
    def label(self) -> str:
        named = {"loss": "validation loss (nats/token)", "recalibrated": "recalibrated validation loss (nats/token)"}
        return named.get(self.column, "validation bits per byte")

    @property
    def recalibrates(self) -> bool:
        return self.column == "recalibrated"

    def check(self) -> Iterator[Problem]:
        if self.column not in LOSSES:
            yield Problem("column", self.column, f"one of {', '.join(LOSSES)}")

    def value(self, run: Run, row: Mapping[str, Any]) -> float:
        return float(row[self.column])


@dataclass(frozen=True)
class Calibration(Quantity):
    """The error of a student's probabilities on the search's validation slice.

    `gap`: nats per token that the recalibration of its temperature gains, raw minus recalibrated loss, about 0 where
    the student is calibrated. `ece`: the expected calibration error of its most probable ids, a share.
    """

    measure: str = "gap"

    @property
    def label(self) -> str:
        return "calibration error" if self.measure == "ece" else "gain of recalibration (nats/token)"

    @property
    def recalibrates(self) -> bool:
        return self.measure == "gap"

    def check(self) -> Iterator[Problem]:
        if self.measure not in MEASURES:
            yield Problem("measure", self.measure, f"one of {', '.join(MEASURES)}")

    def value(self, run: Run, row: Mapping[str, Any]) -> float:
        return float(row["ece"] if self.measure == "ece" else row["loss"] - row["recalibrated"])


@dataclass(frozen=True)
class Compute(Quantity):
    """FLOPs of the student's whole training, those of a teacher that runs in the step included."""

    @property
    def label(self) -> str:
        return "training compute (FLOPs)"

    def value(self, run: Run, row: Mapping[str, Any]) -> float:
        return training_flops(run)


@dataclass(frozen=True)
class SecondsPerToken(Quantity):
    """Measured wall-clock time of training per token, on whatever the run was placed."""

    @property
    def label(self) -> str:
        return "training time (s/token)"

    def value(self, run: Run, row: Mapping[str, Any]) -> float:
        return float(row["train_seconds"]) / float(row["tokens"])


@dataclass(frozen=True)
class AtMost(HasOrigin):
    """A constraint: the mean of a quantity over a trial's seeds is to be no more than a bound. Trials beyond it rank
    behind all that keep it, by how far they are off."""

    quantity: Quantity
    bound: float

    DESCRIBED = "AtMost(QUANTITY, BOUND)"

    @property
    def name(self) -> str:
        return f"{self.quantity} at most {self.bound:g}"
