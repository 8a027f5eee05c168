"""How the share of distillation moves over training, and from token to token: declared, with their formulas.

Alpha of a step is `KD.alpha` times `factor(x)`, x = steps done / steps of the run; alpha of a token is that times the
token rule's weight. End points and periods that the paper does not print are parameters.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, TypeAlias

from pdstudy.core.identity import declared
from pdstudy.core.validation import Problem


@declared
class Steady:
    """1 throughout."""

    def factor(self, x: float) -> float:
        return 1.0


@declared
class LinearMix:
    """From `first` to `last` in a line: the paper's Linear Dec (its Table 5) is LinearMix(first=1, last=0)."""

    first: float
    last: float

    def check(self) -> Iterator[Problem]:
        yield from _shares(self, "first", "last")

    def factor(self, x: float) -> float:
        return self.first + (self.last - self.first) * x


@declared
class CosineMix:
    """From `first` to `last` along half a cosine."""

    first: float
    last: float

    def check(self) -> Iterator[Problem]:
        yield from _shares(self, "first", "last")

    def factor(self, x: float) -> float:
        return self.last + (self.first - self.last) * 0.5 * (1 + math.cos(math.pi * x))


@declared
class PeriodicMix:
    """`cycles` equal cycles, each at 1 for its first `on` share and at `low` for the rest: the paper's Period."""

    cycles: int
    on: float = 0.5
    low: float = 0.0

    def check(self) -> Iterator[Problem]:
        yield from _shares(self, "on", "low")
        if self.cycles < 1:
            yield Problem("cycles", self.cycles, "1 or more")

    def factor(self, x: float) -> float:
        # Rounded, or a step on a boundary would fall to either side of it, from cycle to cycle.
        return 1.0 if round(x * self.cycles % 1, 9) % 1 < self.on else self.low


@declared
class WSDMix:
    """Up in a line over the first `warmup` of training, 1, down to 0 over the last `decay`: the paper's WSD-alpha."""

    warmup: float = 0.0
    decay: float
    shape: Literal["linear", "cosine", "1-sqrt", "exponential"] = "cosine"

    def check(self) -> Iterator[Problem]:
        yield from _shares(self, "warmup", "decay")
        if self.warmup + self.decay > 1:
            yield Problem("decay", self.decay, f"at most 1 - warmup = {1 - self.warmup:g}")

    def factor(self, x: float) -> float:
        if x < self.warmup:
            return x / self.warmup
        if x < 1 - self.decay or self.decay == 0:
            return 1.0
        return decayed(self.shape, (x - (1 - self.decay)) / self.decay)


@declared
class OnData:
    """1 - `share` shape(x): the shape is the data's, as in the paper's WSD-beta: OnData(shape=WSDMix(...))."""

    shape: Curve
    share: float = 1.0

    def check(self) -> Iterator[Problem]:
        yield from _shares(self, "share")

    def factor(self, x: float) -> float:
        return 1 - self.share * self.shape.factor(x)


@declared
class Until:
    """1 up to the share `stop` of training, 0 from there on."""

    stop: float

    def check(self) -> Iterator[Problem]:
        yield from _shares(self, "stop")

    def factor(self, x: float) -> float:
        return 1.0 if x < self.stop else 0.0


Curve: TypeAlias = Steady | LinearMix | CosineMix | PeriodicMix | WSDMix | Until


Mix: TypeAlias = Curve | OnData


def absent(mix: Mix) -> bool:
    """True where the factor is 0 throughout, so that nothing is distilled: the run is the LM run."""
    if isinstance(mix, Until):
        return mix.stop == 0
    if isinstance(mix, LinearMix | CosineMix):
        return mix.first == mix.last == 0
    return isinstance(mix, PeriodicMix) and mix.on == mix.low == 0


def decayed(shape: str, u: float) -> float:
    """What is left at the share `u` of a decay to 0: linear 1 - u, cosine, 1 - sqrt(u), exponential 0.5^(10 u)."""
    if shape == "linear":
        return 1 - u
    if shape == "cosine":
        return 0.5 * (1 + math.cos(math.pi * u))
    if shape == "1-sqrt":
        return 1 - math.sqrt(u)
    return float(0.5 ** (10 * u))


@declared
class Everywhere:
    """All tokens alike."""


@declared
class ByEntropy:
    """min(1, H(p) / `full`): tokens of which the teacher is unsure lean on it more (Bridge-Garden, arXiv 2605.26246,
    has full = log V)."""

    full: float

    def check(self) -> Iterator[Problem]:
        if self.full <= 0:
            yield Problem("full", self.full, "above 0 (nats)")


@declared
class ByConfidence:
    """1 - max p: tokens of which the teacher is sure lean on the data (Bridge-Garden)."""


@declared
class Routed:
    """No distillation on the `share` of tokens whose teacher entropy is lowest, full distillation on the others.

    Goyal et al. 2025 (arXiv 2509.01649) drop 15 %. The threshold is the quantile of the run's own slice of the store,
    to a bin of 1/64 nat: tokens of the bin that it lies in are all left to the data.
    """

    share: float = 0.15

    def check(self) -> Iterator[Problem]:
        if not 0 < self.share < 1:
            yield Problem("share", self.share, "between 0 and 1")


TokenRule: TypeAlias = Everywhere | ByEntropy | ByConfidence | Routed


def _shares(mix: object, *names: str) -> Iterator[Problem]:
    for name in names:
        if not 0 <= getattr(mix, name) <= 1:
            yield Problem(name, getattr(mix, name), "a share, 0 to 1")
