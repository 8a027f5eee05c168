"""Strategy of a search: the sampler of trials, the pruner that stops some early, the comparison at its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pdstudy.config.evaluation import Evaluation, split_of
from pdstudy.core.origin import HasOrigin
from pdstudy.core.validation import Problem


@dataclass(frozen=True)
class TPE(HasOrigin):
    """Tree-structured Parzen estimators over all fields jointly, conditions included; optuna's `TPESampler`."""

    startup: int = 10


@dataclass(frozen=True)
class GP(HasOrigin):
    """A Gaussian process with noise; optuna's `GPSampler`. For some ten continuous fields and a hundred trials. It
    imports torch, and knows nothing of trials that were pruned."""

    startup: int = 10


@dataclass(frozen=True)
class Random:
    """Every trial drawn from the space on its own."""


Sampler = TPE | GP | Random


Reached = tuple[float, float]
"""A trial's excess over the constraints, summed, and its objective: less is better, the former first."""


@dataclass(frozen=True)
class Halving(HasOrigin):
    """Asynchronous successive halving: after each of `rungs` (tokens of training) only the best `keep` of all trials
    that came so far go on, compared at equal tokens.

    Each rung is an ordinary run of that length. With a WSD schedule runs of one trial share their stable part. Trials
    that are worse than the cut by no more than `band` (nats) go on, too: seeds alone make such differences. Measure it:
    the standard deviation, over seeds, of the difference between two runs.

    Trials are judged as they come, so the first ones go on easily, and with several at a time it depends on their
    order; what was decided is kept. Under constraints those that keep them come first, so that trials beyond a bound
    do not raise the cut for the others.
    """

    rungs: tuple[int, ...]
    keep: float = 1 / 3
    band: float = 0.0

    def check(self) -> Iterator[Problem]:
        if not 0 < self.keep <= 1:
            yield Problem("keep", self.keep, "a share, above 0 to 1")
        if self.band < 0:
            yield Problem("band", self.band, "nats, 0 or more")

    def goes_on(self, reached: Reached, others: list[Reached]) -> bool:
        """`others`: what the other trials reached at this rung."""
        ranked = sorted([reached, *others])
        beyond, value = ranked[max(1, round(self.keep * len(ranked))) - 1]
        return reached <= (beyond, value + self.band)


@dataclass(frozen=True)
class Final(HasOrigin):
    """The comparison that makes a search credible: the `best` trials on `seeds` that the search has not seen, beside
    controls, scored on a test slice. A trial that was best for its seed's luck loses that luck here.

    `controls` are arms by label: fields of the base, and what they are set to. All arms are compared with each control,
    paired by seed; the first is the baseline.
    """

    controls: Mapping[str, Mapping[str, Any]]
    evaluations: tuple[Evaluation, ...]
    best: int = 3
    seeds: tuple[int, ...] = (10, 11, 12, 13, 14)

    def check(self) -> Iterator[Problem]:
        if self.best < 1:
            yield Problem("best", self.best, "1 or more")
        if not self.controls:
            yield Problem("controls", self.controls, "at least one arm to compare with")
        for label, fields in self.controls.items():
            named = isinstance(fields, Mapping) and all(isinstance(path, str) for path in (label, *fields))
            if not named:
                yield Problem(f"controls[{label!r}]", fields, "a mapping from fields of the base to their values")
            elif label.startswith("trial "):
                allowed = "a label that does not begin with 'trial ', as those of the best trials do"
                yield Problem(f"controls[{label!r}]", label, allowed)
        if all(split_of(e) != "test" for e in self.evaluations):
            yield Problem("evaluations", self.evaluations, "a test slice among them")
