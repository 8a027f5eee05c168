"""Scaling laws that a study's report fits to its own runs, and what follows from them. Nothing is fitted here.

A law is declared once and named by the outputs that use it, so that all of them mean one fit:

    law = JointLaw(where={"loss": "LM"})
    kd = DistillationLaw(where={"loss": "KD"}, supervised=law)
    outputs = (law, ComputeOptimal(law=law), HoldOut(law=law, where={"size": "w256", "tokens": "21M"}), kd)

`where` maps axes to a label or a tuple of labels and selects the arms with one of them on every axis named; an empty
one selects all. A branch of a WSD trunk counts as a run of its own tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Any, Literal

from pdstudy.core.identity import declared
from pdstudy.core.validation import Problem

Split = Literal["validation", "test"]

Labels = Mapping[str, Any]
"""Axis to a label or a tuple of labels."""

Size = Literal["non_embedding", "total"]
"""Which parameters N counts."""


@declared
class JointLaw:
    """Loss over parameters N and tokens D, L(N, D): fitted to the selected runs, with bands, the test of lack of fit
    and what is not identified.

    `law` is Hoffmann's E + A N^-alpha + B D^-beta (`hoffmann`), that with alpha = beta (`tied`), Busbridge's with the
    power gamma over the sum (`gamma`), Kaplan's (`kaplan`), or the one of them that predicts the largest fifth of the
    runs best (`auto`). `metric` "recalibrated" is the loss after one temperature on the logits.
    """

    where: Labels = field(default_factory=dict)
    law: Literal["hoffmann", "tied", "gamma", "kaplan", "auto"] = "hoffmann"
    size: Size = "non_embedding"
    metric: Literal["loss", "recalibrated", "bits_per_byte"] = "loss"
    split: Split = "test"
    title: str = "Loss against size and tokens"

    def axes(self) -> dict[str, str]:
        return {}

    def selections(self) -> dict[str, Labels]:
        return {"where": self.where}

    def check(self) -> Iterator[Problem]:
        yield from _check_labels(self.where)


@declared
class IsoFlop:
    """Loss against size at equal training FLOPs, and the best size of each budget where it is interior.

    `budgets` are FLOPs of training, those of the runs' own networks with their heads; without any they are found: those
    at which three sizes or more have a run, or else a grid of factor two over the runs' range. Where a size has no run
    at a budget its loss is interpolated between two of its runs, never beyond them.
    """

    where: Labels = field(default_factory=dict)
    budgets: tuple[float, ...] = ()
    size: Size = "non_embedding"
    metric: Literal["loss", "recalibrated", "bits_per_byte"] = "loss"
    split: Split = "test"
    title: str = "Loss at equal compute"

    def axes(self) -> dict[str, str]:
        return {}

    def selections(self) -> dict[str, Labels]:
        return {"where": self.where}

    def check(self) -> Iterator[Problem]:
        yield from _check_labels(self.where)
        yield from _check_budgets(self.budgets)


@declared
class ComputeOptimal:
    """Best size N* and tokens D* against training FLOPs, from a law and from profiles at equal compute beside it, with
    the exponents' intervals and published ones.

    `budgets` as in `IsoFlop`.
    """

    law: JointLaw
    budgets: tuple[float, ...] = ()
    title: str = "Compute-optimal size and tokens"

    def axes(self) -> dict[str, str]:
        return {}

    def selections(self) -> dict[str, Labels]:
        return {"law.where": self.law.where}

    def check(self) -> Iterator[Problem]:
        yield from _check_budgets(self.budgets)


@declared
class DistillationLaw:
    """Loss of a student against its size, its tokens and its teacher's loss, L_S(N, D, L_T), in Busbridge et al.'s form
    (2025, eq. 8), fitted to the selected runs that have a teacher.

    L_T is the teacher's own held-out loss on the split. L_M, the loss of the same student without a teacher, is what
    the law `supervised` predicts, whose uncertainty is carried; a single run would enter with its noise at a high
    power. Size, metric and split are those of `supervised`. Predictions, the best teacher loss and the crossover are
    published; most coefficients of the law lie on a ridge.
    """

    supervised: JointLaw
    where: Labels = field(default_factory=dict)
    title: str = "Loss of students against their teacher's"

    def axes(self) -> dict[str, str]:
        return {}

    def selections(self) -> dict[str, Labels]:
        return {"where": self.where, "supervised.where": self.supervised.where}

    def check(self) -> Iterator[Problem]:
        yield from _check_labels(self.where)


@declared
class DistilOrTrain:
    """Whether a student is better distilled or trained: the tokens at which the two are equal, by teacher and size, and
    the best loss for each of `budgets` (FLOPs) where the teacher is free, its inference is paid, its pre-training, or
    both.

    Without budgets they are a grid of factor four, from the cheapest student to four times the dearest run without a
    teacher.
    """

    law: DistillationLaw
    budgets: tuple[float, ...] = ()
    title: str = "Distil or train"

    def axes(self) -> dict[str, str]:
        return {}

    def selections(self) -> dict[str, Labels]:
        return {f"law.{field}": labels for field, labels in self.law.selections().items()}

    def check(self) -> Iterator[Problem]:
        yield from _check_budgets(self.budgets)


@declared
class HoldOut:
    """Runs that a law must predict: left out of its fit wherever the page uses it, predicted with 95 % intervals, and
    compared once they are done.

    To be declared before these runs are made; until then the page shows the predictions alone.
    """

    law: JointLaw | DistillationLaw
    where: Labels
    title: str = "Held-out runs"

    def axes(self) -> dict[str, str]:
        return {}

    def selections(self) -> dict[str, Labels]:
        return {"where": self.where, **{f"law.{at}": labels for at, labels in self.law.selections().items()}}

    def check(self) -> Iterator[Problem]:
        if not self.where:
            yield Problem("where", dict(self.where), "labels of the runs that are held out, by axis")
        yield from _check_labels(self.where)


@declared
class TransferCheck:
    """Best learning rate against width: by a parabola in ln of the rate through the lowest loss and its neighbours,
    with its drift from the smallest width in steps of root two.

    `rate` is an axis whose labels are the rates; `width` one whose labels hold one number each, such as "w64"; a line
    per level of `lines`, such as the parametrisation.
    """

    rate: str
    width: str
    lines: str | None = None
    split: Split = "validation"
    title: str = "Best rate against width"

    def axes(self) -> dict[str, str]:
        return {"rate": self.rate, "width": self.width, **({} if self.lines is None else {"lines": self.lines})}

    def selections(self) -> dict[str, Labels]:
        return {}


LawOutput = JointLaw | IsoFlop | ComputeOptimal | DistillationLaw | DistilOrTrain | HoldOut | TransferCheck


def _check_labels(where: Labels) -> Iterator[Problem]:
    for axis, labels in where.items():
        if not (isinstance(labels, str) or (labels and isinstance(labels, tuple | list))):
            yield Problem(f"where[{axis!r}]", labels, "a label or a tuple of labels")


def _check_budgets(budgets: tuple[float, ...]) -> Iterator[Problem]:
    if budgets and min(budgets) <= 0:
        yield Problem("budgets", budgets, "numbers of FLOPs above 0")
